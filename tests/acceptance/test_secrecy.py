"""Secrets, tokens, meter numbers and readings are marked texts, and a search looks for the marks in all we write.

A system with its most detailed logs runs through good and bad cases: windows stored, refusals, faults, malformed
answers, a store that can't be reached, unknown messages.
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
from tests.support.factories import window_job
from tests.support.redis_recorder import RedisTraffic, record_traffic
from tests.support.system import BIN, NO_QUOTA, QUICK_START, System, until
from tests.support.waiting import DEADLINE_S
from worker.domain.series import Series
from worker.domain.windows import DateWindow
from worker.logs import written_forms
from worker.stores.child_processes import free_port
from worker.stores.encryption import generate_key

GOOD, REFUSED, SILENT, ODD = "98765432109801", "98765432109802", "98765432109803", "98765432109804"
METERS = (GOOD, REFUSED, SILENT, ODD)
YESTERDAY, WATT_HOURS = "2024-07-24", 739193918
WINDOW = DateWindow(date(2024, 7, 24), date(2024, 7, 25))
PAYLOAD = "canary of a payload"
FLOWER = "canary-flower-password"
SECRETS = {
    "ENEDIS_CLIENT_SECRET": "canary/client+secret",
    "SESSION_KEY": "canary-session-key-0123456789abcdef",
    "WEBHOOK_SECRET": "canary-webhook-secret-of-some-length",
    "FLOWER_PASSWORD": FLOWER,
}
REDIS_PASSWORD, COUCH_PASSWORD = "canary-redis-password", "canary-couch-password"


@dataclass
class Traces:
    """All texts that the system wrote, and the marks that must not be in them."""

    system: System
    traffic: RedisTraffic
    marks: dict[str, str]
    readings: dict[str, str]
    flower: dict[str, str] = field(default_factory=dict)
    metrics: str = ""

    def find(self, text: str, *, readings: bool = True) -> set[str]:
        """Return the names of the marks that are in ``text``, in any of the forms they may be written in."""
        marks = {**self.marks, **(self.readings if readings else {})}
        return {name for name, mark in marks.items() if any(form in text for form in written_forms(mark))}


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traces]:
    with ExitStack() as opened:
        url = opened.enter_context(servers.redis_server())
        with redis.Redis.from_url(url) as client:
            client.config_set("requirepass", REDIS_PASSWORD)
        url = url.replace("://", f"://:{REDIS_PASSWORD}@")
        settings = {
            "PRESET": "enedis-v4",
            "PRETEND_NOW": "2024-07-25T09:00+02:00",
            "HISTORY_LOAD_DAYS": "7",
            "TOKEN_KEYS": generate_key(),
            "LOG_LEVEL": "DEBUG",
            "METRICS_PORT": str(free_port()),
            **NO_QUOTA,
            **SECRETS,
        }
        system = System(tmp_path_factory.mktemp("secrecy"), url, settings, opened)
        marks = {**SECRETS, "TOKEN_KEYS": settings["TOKEN_KEYS"], "REDIS": REDIS_PASSWORD, "COUCH": COUCH_PASSWORD}
        marks |= {f"meter {meter[-1]}": meter for meter in METERS} | {"payload": PAYLOAD}
        with record_traffic(url) as traffic:
            traces = Traces(system, traffic, marks, {})
            good = run_ordinary_cases(traces)
            run_unreachable_store(traces, good)
        yield traces


def run_ordinary_cases(traces: Traces) -> str:
    """Sync one home well and three that the supplier fails in different ways; record the pages of Flower."""
    system = traces.system
    system.start_simulator()
    tokens = {meter: consent(traces, meter) for meter in METERS}
    ask_flower = start_flower(system)
    log = system.start_worker(*QUICK_START, "-E")
    until(lambda: ask_flower("api/workers?refresh=1") not in ("", "{}"), "the worker in Flower")
    system.switch(GOOD, corrections=[{"day": YESTERDAY, "wh": WATT_HOURS}])
    system.switch(REFUSED, refusal="ADAM-DC-0008")
    odd_body = {"usage_point_id": ODD, "said": PAYLOAD}
    system.simulator(
        "POST", "faults", {"path": "", "usage_point": SILENT, "count": None, "status": 500, "body": odd_body}
    )
    system.simulator("POST", "faults", {"path": "", "usage_point": ODD, "count": None, "status": 200, "body": odd_body})
    accounts = {meter: system.add_account(meter, "--token-file", str(file)) for meter, file in tokens.items()}
    system.wait_loaded(accounts[GOOD])
    until(lambda: task_state(system, accounts[REFUSED]).get("state") == "failed", "the refusal")
    until(lambda: task_state(system, accounts[ODD]).get("state") == "failed", "the malformed answer")
    until(lambda: "SupplierFault" in log.read_text(), "the silent supplier")
    traces.readings |= measured_values(system)
    old_message = {
        **window_job(WINDOW, Series.DAILY, accounts[GOOD]),
        "readings_of_old": list(traces.readings.values()),
    }
    for task in ("tests.unknown", "tasks.pipeline.filter_known"):  # As from workers of another version.
        system.publisher.send_task(task, args=[old_message], argsrepr="(…)")
    until(lambda: log.read_text().count("was discarded") == 1, "the message that nobody knows")
    until(lambda: "unexpected KeyError" in log.read_text(), "the message that does not fit")
    until(lambda: "SupplierFault" in ask_flower("api/tasks?limit=1000"), "the failures in Flower")
    traces.flower = {
        page: ask_flower(page) for page in ("api/tasks?limit=1000", "api/workers?refresh=1", "tasks", "metrics")
    }
    traces.flower |= {uuid: ask_flower(f"task/{uuid}") for uuid in json.loads(traces.flower["api/tasks?limit=1000"])}
    traces.metrics = requests.get(
        f"http://127.0.0.1:{system.settings['METRICS_PORT']}/metrics", timeout=DEADLINE_S
    ).text
    system.stop("worker")
    system.stop("flower")
    return accounts[GOOD]


def run_unreachable_store(traces: Traces, account: str) -> None:
    """Run a worker with JSON logs, a measure store that can't be reached and a task that logs secrets."""
    system = traces.system
    store = f"couchdb+http://releve:{COUCH_PASSWORD}@127.0.0.1:{free_port()}/"
    log = system.start_worker(*QUICK_START, app="tests.acceptance.leaking", LOG_FORMAT="json", MEASURES_URL=store)
    system.send_task("tasks.nightly.sync_account", account, "by-hand:20240725T090000")
    until(lambda: "StoreUnavailable" in log.read_text(), "the store that is not there")
    system.send_task(
        "tests.leak", [f"RELEVE_{name}" for name in (*SECRETS, "TOKEN_KEYS", "REDIS_URL", "MEASURES_URL")], True
    )
    until(lambda: "said it all" in log.read_text(), "the careless task")
    system.stop("worker")


def start_flower(system: System) -> Any:
    port = free_port()
    system.start_process("flower", [BIN / "celery", "-A", "worker", "flower", f"--port={port}"])

    def ask(path: str) -> str:
        try:
            answer = requests.get(f"http://127.0.0.1:{port}/{path}", auth=("releve", FLOWER), timeout=DEADLINE_S)
        except requests.ConnectionError:
            return ""
        assert answer.ok, f"{path}: {answer.status_code}"
        return answer.text

    until(lambda: ask("metrics"), "Flower's start")
    return ask


def consent(traces: Traces, meter: str) -> Any:
    """Return the file of a holder's token answer, and add its tokens to the marks."""
    file = traces.system.grant_consent(meter)
    answer = json.loads(file.read_text())
    traces.marks |= {f"{name} {meter[-1]}": answer[name] for name in ("access_token", "refresh_token")}
    return file


def task_state(system: System, account: str) -> Mapping[str, str]:
    return system.parts.stores.windows.task_state(account, Series.DAILY.value)


def measured_values(system: System) -> dict[str, str]:
    """Return the corrected day, as sent and as stored, and each step of its curve."""
    truth = system.simulator("GET", f"truth/{GOOD}?start={YESTERDAY}&end=2024-07-25")
    watts = {
        text for row in truth["load_curve"] if len(text := str(round(float(row[2])))) >= 8
    }  # Long enough to be unique.
    assert len(watts) > 20
    return {"the day in Wh": str(WATT_HOURS), "the day in kWh": f"{WATT_HOURS / 1000:.3f}"} | {w: w for w in watts}


def test_no_log_has_a_mark_in_it(traces: Traces) -> None:
    files = sorted((traces.system.folder / "logs").iterdir())
    assert {file.stem.partition("-")[2] for file in files} == {"simulator", "flower", "worker"}
    assert {file.name: marks for file in files if (marks := traces.find(file.read_text()))} == {}
    text = traces.system.logs()
    for event in (
        "window stored",
        "ConsentRevoked",
        "WrongShape",
        "SupplierFault",
        "StoreUnavailable",
        "DEBUG",
    ):
        assert event in text, f"the test has not lived through {event}"


def test_no_message_event_or_note_in_redis_has_one_and_readings_travel_packed_in_tasks_alone(traces: Traces) -> None:
    traffic = traces.traffic
    assert [text for text in traffic.commands if traces.find(text)] == []
    assert [text for text in traffic.events if traces.find(text)] == []
    with_readings = [text for text in traffic.tasks if "739193918" in text or "739193.918" in text]
    assert [text for text in traffic.tasks if traces.find(text, readings=False)] == []
    assert with_readings, "no message with readings was overheard"
    assert any("task-succeeded" in text for text in traffic.events)
    assert any("SupplierFault" in text for text in traffic.events)
    assert not any("celery-task-meta" in text for text in traffic.commands)  # There are no results.


def test_between_the_steps_of_a_window_readings_are_sealed(traces: Traces) -> None:
    own_messages = [text for text in traces.traffic.tasks if "readings_of_old" not in text]  # Not those of this test.
    assert [text for text in own_messages if traces.find(text)] == []
    assert sum('"sealed": "AgAAAA' in text for text in own_messages) >= 3 * 4


def test_flower_and_the_metrics_show_none(traces: Traces) -> None:
    assert len(traces.flower) > 10
    assert {page: marks for page, text in traces.flower.items() if (marks := traces.find(text))} == {}
    assert "ConsentRevoked" in traces.flower["api/tasks?limit=1000"]
    assert traces.metrics.count("\nreleve_") > 10
    assert traces.find(traces.metrics) == set()


def test_what_the_registry_and_the_state_tell_of_failures_has_none(traces: Traces) -> None:
    parts = traces.system.parts
    texts = [repr(account) for account in parts.stores.registry.accounts.list_accounts()]
    outcomes = [
        outcome
        for account in parts.stores.registry.accounts.list_accounts()
        for outcome in parts.stores.registry.outcomes.load(account.id).values()
    ]
    assert sum(outcome.code is not None for outcome in outcomes) >= 2
    texts += [f"{outcome!r} {outcome.message}" for outcome in outcomes]
    assert [text for text in texts if traces.find(text)] == []


def test_a_windows_lines_have_one_run_and_the_whole_backfill_one_chain(traces: Traces) -> None:
    (stored, *_) = [line for line in traces.system.logs().splitlines() if "window stored" in line]
    run, chain = (re.search(rf" {name}=(\S+)", stored)[1] for name in ("run", "chain"))  # type: ignore[index]
    lines = [line for line in traces.system.logs().splitlines() if f"run={run}" in line and f"chain={chain}" in line]
    assert {"tasks.pipeline.fetch", "tasks.pipeline.store"} <= {
        match[1] for line in lines if (match := re.search(r" task=(\S+)", line))
    }
    all_stored = [line for line in traces.system.logs().splitlines() if "window stored" in line]
    assert len({re.search(r" run=(\S+)", line)[1] for line in all_stored}) == len(all_stored) == 4  # type: ignore[index]
    assert all(f"chain={chain}" in line for line in all_stored)


def test_a_json_log_is_json_from_its_first_line_to_its_last(traces: Traces) -> None:
    file = max((traces.system.folder / "logs").iterdir(), key=lambda path: int(path.name.partition("-")[0]))
    celerys_own = "worker: Warm shutdown"  # Celery prints it past the logging.
    lines = [json.loads(line) for line in file.read_text().splitlines() if line and not line.startswith(celerys_own)]
    failed = [line for line in lines if "StoreUnavailable" in line["message"]]
    assert failed
    assert {"time", "level", "logger", "message", "task", "run", "chain"} <= failed[0].keys()
    assert [line["said"] for line in lines if "said" in line] != []


def test_the_search_finds_what_is_said_past_the_last_defence(traces: Traces) -> None:
    """Prove that the search works: without it the tests above would prove nothing."""
    system = traces.system
    before = system.logs()
    log = system.start_worker(*QUICK_START, app="tests.acceptance.leaking", LOG_FORMAT="json")
    system.send_task("tests.leak", [f"RELEVE_{name}" for name in SECRETS], False)
    until(lambda: "said it all" in log.read_text(), "the careless task")
    system.stop("worker")
    text = log.read_text()
    log.unlink()
    assert traces.find(text) == set(SECRETS)
    assert system.logs() == before
