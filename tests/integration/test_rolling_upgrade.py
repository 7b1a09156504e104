"""Workers of 0.2.0 and of this version at one queue for a night, with one registry and one measure store.

The registry was made and filled by 0.2.0, whose worker runs on while `releve migrate` of this version brings it here.
The supplier fails now and then. During the night one household connects while only the old worker runs, another one
while both do, and a further account is added by hand.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drill.expected_documents import Truth
from simulator.application import create_app as create_simulator
from simulator.switches import CLIENT_ID, CLIENT_SECRET, SimulatorOptions
from tests.support.connect_service import PUBLIC, ConnectService
from tests.support.former_release import extract_code, set_up
from tests.support.servers import fresh_database
from tests.support.simulators import run_in_background
from tests.support.system import BIN, QUICK_START, ROOT, System, open_system
from tests.support.waiting import until
from worker.domain.series import USUAL_SERIES
from worker.domain.windows import ONE_DAY, DateWindow
from worker.stores.encryption import generate_key

pytestmark = [pytest.mark.sockets, pytest.mark.rest]

BEFORE, NIGHT = "2024-07-24T09:00:00+02:00", "2024-07-25T09:00:00+02:00"
METERS: Final = [f"3000164000{number:04d}" for number in range(12)]
WITH_THE_OLD, WITH_BOTH = "30001640009901", "30001640009902"
BY_HAND: Final = [f"3000164001{number:04d}" for number in range(5)]
ASKED_TONIGHT: Final = {*METERS, WITH_THE_OLD}  # The history of the others has the last days.
MEASURES: Final = "/mesure_synchrone_auto/"
FAULTS: Final[list[dict[str, Any]]] = [
    {"status": 503, "body": "<html>503</html>", "skip": 3, "count": 2},
    {"status": 429, "body": "{}", "headers": {"Retry-After": "1"}, "skip": 8, "count": 1},
    {"status": 500, "body": "<html>500</html>", "skip": 12, "count": 2},
]


@dataclass
class Listener:
    """The simulator's application, which notes what windows it was asked for and answered."""

    app: ASGIApp
    answered: list[str] = field(default_factory=list)
    refused: Counter[int] = field(default_factory=Counter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def note(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["path"].startswith(MEASURES):
                if message["status"] == 200:
                    self.answered.append(f"{scope['path'].removeprefix(MEASURES)}?{scope['query_string'].decode()}")
                else:
                    self.refused[message["status"]] += 1
            await send(message)

        await self.app(scope, receive, note if scope["type"] == "http" else send)


@dataclass
class Night:
    """A night that is over. ``logs``: of the old worker, then ours. ``loaded``: the windows asked for before it."""

    system: System
    supplier: Listener
    accounts: dict[str, str]
    logs: list[str]
    loaded: set[str]
    asked: Counter[str]


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[str]:
    with fresh_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Night]:
    folder = tmp_path_factory.mktemp("rolling")
    code = extract_code(folder / "former")
    settings = {
        "REGISTRY_URL": database,
        "MEASURES_URL": database,
        "TOKEN_KEYS": generate_key(),
        "ENEDIS_CLIENT_ID": CLIENT_ID,
        "ENEDIS_CLIENT_SECRET": CLIENT_SECRET,
        "PUBLIC_URL": PUBLIC,
        "HISTORY_LOAD_DAYS": "7",
        "CALLS_PER_SECOND": "0",
        "CALLS_PER_HOUR": "0",
        "RECONCILE_EVERY_S": "1",
    }
    with open_system(folder, **settings, PRETEND_NOW=BEFORE) as system:
        simulator = create_simulator(SimulatorOptions(pretend_now=datetime.fromisoformat(BEFORE)))
        supplier = Listener(simulator)
        with run_in_background(supplier, urlsplit(system.settings["ENEDIS_URL"]).port or 0):
            accounts = set_up(code, system.environment(), METERS)
            loaded = {*supplier.answered}
            supplier.answered.clear()
            system.settings["PRETEND_NOW"] = NIGHT
            system.simulator("POST", "clock", {"now": NIGHT})
            logs = [start_worker(system, "old", code)]
            system.releve("migrate")
            service = ConnectService(system.parts, system.parts.create_app(), system.settings["ENEDIS_URL"])
            connect(service, WITH_THE_OLD)
            logs.append(start_worker(system, "new"))
            for fault in FAULTS:
                system.simulator("POST", "faults", {"path": MEASURES, **fault})
            system.start_night()
            connect(service, WITH_BOTH)
            for meter in BY_HAND:
                system.add_account(meter)
            accounts |= {
                one.usage_point_id or "": one.id for one in system.parts.stores.registry.accounts.list_accounts()
            }
            until(lambda: not still_open(system, accounts), lambda: str(still_open(system, accounts)), 120)
            told = [log.read_text() for log in logs]
            yield Night(system, supplier, accounts, told, loaded, Counter(supplier.answered))


def start_worker(system: System, name: str, code: Path = ROOT) -> Path:
    command = [BIN / "celery", "-A", "worker", "--workdir", code, "worker", "-l", "INFO", "-c", "4", "-n", f"{name}@%h"]
    log = system.start_process(name, [*command, *QUICK_START], code=code)
    until(lambda: " ready." in log.read_text(), log.read_text)
    return log


def connect(service: ConnectService, meter: str) -> None:
    """Let a household connect a meter by its invitation, and a worker conclude it."""
    browser = service.browser()
    way_back = service.begin(browser, meter)
    assert browser.get(way_back).status_code == 202
    answer = until(lambda: answer if (answer := browser.get(way_back)).status_code != 202 else None, "the connection")
    assert answer.status_code in (200, 303), answer.text


def still_open(system: System, accounts: Mapping[str, str]) -> list[str]:
    """Do what beat would do, and return which meters wait for values, and the messages that do."""
    system.send_task("tasks.nightly.resume_backfills")
    time.sleep(0.5)
    waiting = [
        meter
        for meter, account in accounts.items()
        if not all(system.loaded(account, series) for series in USUAL_SERIES)
        or (meter in ASKED_TONIGHT and not system.has_run(account, f"nightly:{NIGHT[:10]}"))
    ]
    return waiting + system.messages()


def test_both_versions_store_windows_and_the_old_one_concludes_a_consent(night: Night) -> None:
    assert all(log.count("outcome=stored") > 5 for log in night.logs)
    assert "consent given" in night.logs[0]
    assert night.supplier.refused == {503: 2, 429: 1, 500: 2}


def test_all_is_stored_that_the_meters_measured_and_nothing_twice(night: Night) -> None:
    url, history = night.system.settings["ENEDIS_URL"], night.system.parts.sync.history
    assert {*METERS, WITH_THE_OLD, WITH_BOTH, *BY_HAND} == {*night.accounts}
    for meter, account in night.accounts.items():
        windows = [window for series in USUAL_SERIES if (window := history.wanted_window(series))]
        if meter in METERS:  # Their history was loaded the day before, from one day earlier on.
            windows = [DateWindow(window.start - ONE_DAY, window.end) for window in windows]
        assert night.system.content(account) == Truth.fetch(url, meter, *windows).expected_loads(), meter


def test_no_window_is_asked_for_more_than_twice(night: Night) -> None:
    """Except in a history that is still being loaded while both run: a later account's, of either version.

    0.2.0 knows only the windows that its own worker has stored. Of such a history it asks again for those that ours has
    stored, until its own worker also runs the last step.
    """
    loaded_before = tuple(f"pointId={meter}&" for meter in METERS)
    times = {window: number for window, number in night.asked.items() if any(one in window for one in loaded_before)}
    assert len(times) >= len(METERS) and max(times.values()) <= 2


def test_what_the_old_version_had_loaded_is_not_asked_for_again(night: Night) -> None:
    assert night.loaded and not night.loaded & night.asked.keys()


def test_neither_refuses_a_task_of_the_other_or_fails(night: Night) -> None:
    for log in night.logs:
        assert re.findall(r".*(?:Traceback|discarded|unexpected|decrypted|ERROR|CRITICAL).*", log) == []


def test_the_status_tells_that_all_is_loaded_and_nothing_failed(night: Night) -> None:
    rows = night.system.query_rows("status", "--all")
    told = {(row["state"], series["loaded"], series["error"]) for row in rows for series in row["series"].values()}
    assert len(rows) == len(night.accounts) and told == {("ready", True, None)}
