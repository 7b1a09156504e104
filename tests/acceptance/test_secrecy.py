"""Secrets, tokens, meter numbers and readings with marks of their own, and a search for the marks wherever we write.

A house at its most talkative lives through good and bad: windows stored, refusals, faults, malformed answers, a
store that can't be reached, messages that nobody understands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest
import redis
import requests

from tests.support import servers
from tests.support.factories import origin
from tests.support.redis_recorder import Overheard, overhear
from tests.support.system import BIN, NO_QUOTA, QUICKLY, House, until
from worker.domain.measures.readings import DateWindow, Series
from worker.logs import forms_of
from worker.stores.encryption import new_key
from worker.stores.redis.child_processes import free_port

GOOD, REFUSED, SILENT, ODD = "98765432109801", "98765432109802", "98765432109803", "98765432109804"
METERS = (GOOD, REFUSED, SILENT, ODD)
YESTERDAY, WATT_HOURS = "2024-07-24", 739193918
WINDOW = DateWindow(date(2024, 7, 24), date(2024, 7, 25))
PAYLOAD = "canary of a payload"
FLOWER = "canary-flower-password"
SECRETS = {
    "ENEDIS_CLIENT_SECRET": "canary/client+secret",
    "SESSION_KEY": "canary-session-key-0123456789abcdef",
    "OPERATOR_PASSWORD": "canary-operator-password",
    "WEBHOOK_SECRET": "canary-webhook-secret",
    "FLOWER_PASSWORD": FLOWER,
}
REDIS_PASSWORD, COUCH_PASSWORD = "canary-redis-password", "canary-couch-password"


@dataclass
class Seen:
    """All that was written anywhere, and the marks that must not be in it."""

    house: House
    heard: Overheard
    marks: dict[str, str]
    readings: dict[str, str]
    flower: dict[str, str] = field(default_factory=dict)
    metrics: str = ""

    def find(self, text: str, *, readings: bool = True) -> set[str]:
        """The names of the marks that ``text`` has in it, in whatever way they are written."""
        marks = {**self.marks, **(self.readings if readings else {})}
        return {name for name, mark in marks.items() if any(form in text for form in forms_of(mark))}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with ExitStack() as opened:
        url = opened.enter_context(servers.redis_server())
        with redis.Redis.from_url(url) as client:
            client.config_set("requirepass", REDIS_PASSWORD)
        url = url.replace("://", f"://:{REDIS_PASSWORD}@")
        settings = {
            "PRESET": "enedis-v4",
            "PRETEND_NOW": "2024-07-25T09:00+02:00",
            "HISTORY_LOAD_DAYS": "7",
            "TOKEN_KEYS": new_key(),
            "LOG_LEVEL": "DEBUG",
            "METRICS_PORT": str(free_port()),
            **NO_QUOTA,
            **SECRETS,
        }
        house = House(tmp_path_factory.mktemp("secrecy"), url, settings, opened)
        marks = {**SECRETS, "TOKEN_KEYS": settings["TOKEN_KEYS"], "REDIS": REDIS_PASSWORD, "COUCH": COUCH_PASSWORD}
        marks |= {f"meter {meter[-1]}": meter for meter in METERS} | {"payload": PAYLOAD}
        with overhear(url) as heard:
            seen = Seen(house, heard, marks, {})
            good = live_through_the_ordinary(seen)
            live_through_the_unreachable(seen, good)
        yield seen


def live_through_the_ordinary(seen: Seen) -> str:
    """Two homes do well, the supplier fails the others each in its way; what a person could see of it is kept."""
    house = seen.house
    house.start_simulator()
    tokens = {meter: consent(seen, meter) for meter in METERS}
    ask = start_flower(house)
    log = house.start_worker(*QUICKLY, "-E")
    until(lambda: ask("api/workers?refresh=1") not in ("", "{}"), "the worker in Flower")
    house.switch(GOOD, corrections=[{"day": YESTERDAY, "wh": WATT_HOURS}])
    house.switch(REFUSED, refusal="ADAM-DC-0008")
    odd = {"usage_point_id": ODD, "said": PAYLOAD}
    house.simulator("POST", "faults", {"path": "", "usage_point": SILENT, "count": None, "status": 500, "body": odd})
    house.simulator("POST", "faults", {"path": "", "usage_point": ODD, "count": None, "status": 200, "body": odd})
    accounts = {meter: house.add(meter, "--token-file", str(file)) for meter, file in tokens.items()}
    house.wait_loaded(accounts[GOOD])
    until(lambda: note(house, accounts[REFUSED]).get("state") == "failed", "the refusal")
    until(lambda: note(house, accounts[ODD]).get("state") == "failed", "the malformed answer")
    until(lambda: "SupplierUnavailable" in log.read_text(), "the silent supplier")
    seen.readings |= what_was_measured(house)
    old = {**origin(WINDOW, Series.DAILY, accounts[GOOD]), "readings_of_old": list(seen.readings.values())}
    for task in ("tests.unknown", "tasks.pipeline.filter_known"):  # as from workers of another version
        house.publisher.send_task(task, args=[old], argsrepr="(…)")
    until(lambda: log.read_text().count("thrown away") == 1, "the message that nobody knows")
    until(lambda: "unforeseen KeyError" in log.read_text(), "the message that does not fit")
    until(lambda: "SupplierUnavailable" in ask("api/tasks?limit=1000"), "the failures in Flower")
    seen.flower = {page: ask(page) for page in ("api/tasks?limit=1000", "api/workers?refresh=1", "tasks", "metrics")}
    seen.flower |= {uuid: ask(f"task/{uuid}") for uuid in json.loads(seen.flower["api/tasks?limit=1000"])}
    seen.metrics = requests.get(f"http://127.0.0.1:{house.settings['METRICS_PORT']}/metrics", timeout=10).text
    house.stop("worker")
    house.stop("flower")
    return accounts[GOOD]


def live_through_the_unreachable(seen: Seen, account: str) -> None:
    """The same in JSON, with a store that is not there, and with a task that tells what it should not."""
    house = seen.house
    store = f"couchdb+http://releve:{COUCH_PASSWORD}@127.0.0.1:{free_port()}/"
    log = house.start_worker(*QUICKLY, app="tests.acceptance.leaking", LOG_FORMAT="json", MEASURES_URL=store)
    house.send("tasks.schedule.sync_account", account, "by-hand:20240725T090000")
    until(lambda: "StoreUnavailable" in log.read_text(), "the store that is not there")
    house.send("tests.leak", [f"RELEVE_{name}" for name in (*SECRETS, "TOKEN_KEYS", "REDIS_URL", "MEASURES_URL")], True)
    until(lambda: "said it all" in log.read_text(), "the careless task")
    house.stop("worker")


def start_flower(house: House) -> Any:
    port = free_port()
    house._start("flower", [BIN / "celery", "-A", "worker", "flower", f"--port={port}"])

    def ask(path: str) -> str:
        try:
            answer = requests.get(f"http://127.0.0.1:{port}/{path}", auth=("releve", FLOWER), timeout=20)
        except requests.ConnectionError:
            return ""
        assert answer.ok, f"{path}: {answer.status_code}"
        return answer.text

    until(lambda: ask("metrics"), "Flower's start")
    return ask


def consent(seen: Seen, meter: str) -> Any:
    """The answer to the code's exchange; its tokens are marks from now on."""
    file = seen.house.consent(meter)
    answer = json.loads(file.read_text())
    seen.marks |= {f"{name} {meter[-1]}": answer[name] for name in ("access_token", "refresh_token")}
    return file


def note(house: House, account: str) -> Mapping[str, str]:
    return house.inside.state.task_state(account, Series.DAILY.value)


def what_was_measured(house: House) -> dict[str, str]:
    """The corrected day, as sent and as stored, and each step of its curve."""
    found = house.simulator("GET", f"truth/{GOOD}?start={YESTERDAY}&end=2024-07-25")
    watts = {text for row in found["load_curve"] if len(text := str(round(float(row[2])))) >= 8}  # like nothing else
    assert len(watts) > 20
    return {"the day in Wh": str(WATT_HOURS), "the day in kWh": f"{WATT_HOURS / 1000:.3f}"} | {w: w for w in watts}


def test_no_log_has_a_mark_in_it(seen: Seen) -> None:
    files = sorted((seen.house.folder / "logs").iterdir())
    assert {file.stem.partition("-")[2] for file in files} == {"simulator", "flower", "worker"}
    assert {file.name: found for file in files if (found := seen.find(file.read_text()))} == {}
    text = seen.house.logs()
    for told in (
        "window stored",
        "ConsentRevoked",
        "MalformedAnswer",
        "SupplierUnavailable",
        "StoreUnavailable",
        "DEBUG",
    ):
        assert told in text, f"the test has not lived through {told}"


def test_no_message_event_or_note_in_redis_has_one_and_readings_travel_packed_in_tasks_alone(seen: Seen) -> None:
    heard = seen.heard
    assert [text for text in heard.commands if seen.find(text)] == []
    assert [text for text in heard.events if seen.find(text)] == []
    own = [text for text in heard.tasks if "739193918" in text or "739193.918" in text]
    assert [text for text in heard.tasks if seen.find(text, readings=False)] == []
    assert own, "no message with readings was overheard"
    assert any("task-succeeded" in text for text in heard.events)
    assert any("SupplierUnavailable" in text for text in heard.events)
    assert not any("celery-task-meta" in text for text in heard.commands)  # no results at all


def test_flower_and_the_metrics_show_none(seen: Seen) -> None:
    assert len(seen.flower) > 10
    assert {page: found for page, text in seen.flower.items() if (found := seen.find(text))} == {}
    assert "ConsentRevoked" in seen.flower["api/tasks?limit=1000"]
    assert seen.metrics.count("\nreleve_") > 10
    assert seen.find(seen.metrics) == set()


def test_what_the_registry_and_the_state_tell_of_failures_has_none(seen: Seen) -> None:
    inside = seen.house.inside
    told = [repr(account) for account in inside.registry.list()]
    outcomes = [
        outcome for account in inside.registry.list() for outcome in inside.registry.outcomes(account.id).values()
    ]
    assert sum(outcome.code is not None for outcome in outcomes) >= 2
    told += [f"{outcome!r} {outcome.message}" for outcome in outcomes]
    assert [text for text in told if seen.find(text)] == []


def test_a_windows_lines_have_one_run_and_the_whole_backfill_one_chain(seen: Seen) -> None:
    (stored, *_) = [line for line in seen.house.logs().splitlines() if "window stored" in line]
    run, chain = (re.search(rf" {name}=(\S+)", stored)[1] for name in ("run", "chain"))  # type: ignore[index]
    lines = [line for line in seen.house.logs().splitlines() if f"run={run}" in line and f"chain={chain}" in line]
    assert {"tasks.pipeline.fetch", "tasks.pipeline.store"} <= {
        found[1] for line in lines if (found := re.search(r" task=(\S+)", line))
    }
    all_stored = [line for line in seen.house.logs().splitlines() if "window stored" in line]
    assert len({re.search(r" run=(\S+)", line)[1] for line in all_stored}) == len(all_stored) == 4  # type: ignore[index]
    assert all(f"chain={chain}" in line for line in all_stored)


def test_a_json_log_is_json_from_its_first_line_to_its_last(seen: Seen) -> None:
    file = max((seen.house.folder / "logs").iterdir(), key=lambda path: int(path.name.partition("-")[0]))
    celerys_own = "worker: Warm shutdown"  # printed, whatever logging does
    lines = [json.loads(line) for line in file.read_text().splitlines() if line and not line.startswith(celerys_own)]
    failed = [line for line in lines if "StoreUnavailable" in line["message"]]
    assert failed
    assert {"time", "level", "logger", "message", "task", "run", "chain"} <= failed[0].keys()
    assert [line["said"] for line in lines if "said" in line] != []


def test_the_search_finds_what_is_said_past_the_last_defence(seen: Seen) -> None:
    """Without this the rest would prove nothing."""
    house = seen.house
    before = house.logs()
    log = house.start_worker(*QUICKLY, app="tests.acceptance.leaking", LOG_FORMAT="json")
    house.send("tests.leak", [f"RELEVE_{name}" for name in SECRETS], False)
    until(lambda: "said it all" in log.read_text(), "the careless task")
    house.stop("worker")
    text = log.read_text()
    log.unlink()
    assert seen.find(text) == set(SECRETS)
    assert house.logs() == before
