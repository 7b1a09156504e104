"""A first sync through the queue into CouchDB, within the supplier's quota, and then a night without changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.system import QUICK_START, System, open_system
from worker.domain.series import Doctype

FIRST, SECOND = "12345678901299", "20123456789012"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, couchdb_url: str) -> Iterator[System]:
    """Yield a system on the morning after the spring clock change, with a supplier that counts calls."""
    folder = tmp_path_factory.mktemp("first-sync")
    settings = {"MEASURES_URL": couchdb_url, "PRETEND_NOW": "2024-04-01T09:00+02:00"}
    with open_system(folder, **settings) as system:
        system.start_simulator("--per-second", "5", "--per-hour", "1000")
        system.start_worker(*QUICK_START)
        yield system


@pytest.fixture(scope="module")
def first(system: System) -> str:
    account = system.add_account(FIRST)
    system.wait_loaded(account)
    return account


def test_a_first_sync_brings_what_the_meter_measured_and_its_totals(system: System, first: str) -> None:
    assert system.content(first) == system.truth(FIRST).expected_loads()


def test_the_status_tells_a_loaded_history(system: System, first: str) -> None:
    row = system.query("status", first)
    progress = {name: (series["loaded"], series["done"], series["total"]) for name, series in row["series"].items()}
    assert progress == {"daily": (True, 1095, 1095), "load_curve": (True, 28, 28)}
    assert {series["last_day"] for series in row["series"].values()} == {"2024-03-31"}
    assert (row["state"], {series["error"] for series in row["series"].values()}) == ("ready", {None})


def test_a_second_night_writes_nothing(system: System, first: str) -> None:
    before = system.revisions(first)
    for _ in range(2):
        run = system.run_night(first)
        assert system.revisions(first) == before, run


def test_a_second_account_gets_its_own_measures_and_leaves_the_first_alone(system: System, first: str) -> None:
    before = system.revisions(first)
    second = system.add_account(SECOND)
    assert "Traceback" not in system.releve("sync", "--history", second, "--wait").err
    assert system.content(second) == system.truth(SECOND).expected_loads()
    system.switch(SECOND, corrections=[{"day": "2024-03-30", "wh": 4321}])
    assert system.query("sync", "--all", "--wait") == {"ok": True, "accounts": sorted([first, second])}
    assert system.content(second) == system.truth(SECOND).expected_loads()
    assert system.content(second)[Doctype.DAY]["2024-03-30"] == 4.321
    assert system.revisions(first) == before


def test_the_supplier_refused_nothing_and_was_asked_no_more_than_needed(system: System, first: str) -> None:
    report = system.report()
    assert report["refusals"] == 0
    assert set(report["by_status"]) == {"200"}
    assert report["max_in_any_second"] <= 5
    history, nights, by_hand = 3 + 4, 2 * 2, 2
    assert report["by_usage_point"] == {FIRST: history + nights + by_hand, SECOND: history + by_hand}
    assert report["tokens"] == {"client_credentials": 1}
