"""Workers killed, messages lost and doubled: the store comes out the same, and nothing in it twice."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests.support.system import (
    METER_NUMBER,
    NO_QUOTA,
    QUEUE_PREFIX,
    QUICK_HEALING,
    QUICK_START,
    System,
    open_system,
    until,
)
from worker.domain.account import AccountState
from worker.domain.series import Series

SECRET = "canary-of-a-secret"
# How the simulator's tokens begin: '{"alg":' in base64. Its first three letters alone stand in sealed bytes by chance.
TOKEN = "eyJhbGciOi"
SLOW = {"path": "mesure_synchrone_auto", "delay_s": 0.3, "count": None}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Yield a system without a worker, since each test starts its own; lost work is looked for every second."""
    settings = {"PRETEND_NOW": "2024-07-25T09:00+02:00", "ENEDIS_CLIENT_SECRET": SECRET, "HISTORY_LOAD_DAYS": "14"}
    with open_system(tmp_path_factory.mktemp("lost"), **settings, **NO_QUOTA, **QUICK_HEALING) as system:
        system.serve_simulator()
        yield system


@pytest.fixture(autouse=True)
def _from_the_start(system: System) -> Iterator[None]:
    system.redis.flushall()
    for account in system.parts.stores.registry.accounts.list_accounts():
        system.parts.stores.registry.accounts.set_state(account.id, AccountState.PAUSED, now=system.parts.stores.now())
    yield
    if system.is_running("beat"):
        system.stop("beat")  # An ordered stop keeps its schedule file whole.
    if system.is_running("worker"):
        system.kill("worker")
    system.simulator("DELETE", "faults")


def delete_messages(system: System, queue: str) -> int:
    """Delete all messages of a queue and return their number."""
    key = QUEUE_PREFIX + queue
    count = system.redis.llen(key)
    system.redis.delete(key)
    return int(count)


def test_a_worker_killed_in_the_middle_of_a_backfill_and_a_lost_message_cost_repeats_alone(system: System) -> None:
    """The reconciler begins the backfill of the second meter, whose message is lost while no worker runs."""
    meter, meter_of_lost = "40000000000001", "40000000000002"
    system.simulator("POST", "faults", SLOW)
    system.start_worker(*QUICK_START)
    system.start_beat()
    account = system.add_account(meter)
    left_messages = []
    for series, wanted in ((Series.DAILY, 365), (Series.LOAD_CURVE, 7)):
        days_done = partial(system.parts.sync.history.count_days, account, series)
        until(lambda days_done=days_done, wanted=wanted: days_done()[0] >= wanted, "the window before the kill")
        system.kill("worker")
        assert not system.loaded(account, Series.LOAD_CURVE)
        left_messages += system.messages()
        if series is Series.LOAD_CURVE:
            account_of_lost = system.add_account(meter_of_lost)
            assert any(account_of_lost in message for message in system.messages())
            delete_messages(system, "control")  # With those of beat.
            assert not any(account_of_lost in message for message in system.messages())
        system.start_worker(*QUICK_START)
    for loading, number in ((account, meter), (account_of_lost, meter_of_lost)):
        system.wait_loaded(loading)
        assert system.content(loading) == system.truth(number).expected_loads()
    assert left_messages  # The messages of a killed worker are still in Redis, and must name nobody.
    for message in left_messages:
        assert SECRET not in message
        assert TOKEN not in message
        assert not METER_NUMBER.search(message)


def test_a_backfill_that_loses_a_message_on_its_way_goes_on(system: System) -> None:
    meter = "40000000000003"
    account = system.add_account(meter)
    system.start_worker(*QUICK_START, "-Q", "control")
    until(lambda: system.redis.llen(QUEUE_PREFIX + "first_screen"), "the first window's message")
    system.stop("worker")
    assert delete_messages(system, "first_screen") == 1
    system.start_worker(*QUICK_START)
    system.start_beat()
    system.wait_loaded(account)
    assert system.content(account) == system.truth(meter).expected_loads()


def test_a_night_whose_messages_are_lost_is_mended(system: System) -> None:
    meters = "40000000000004", "40000000000005"
    accounts = [system.add_account(meter) for meter in meters]
    for account in accounts:
        system.load_history_inline(account)
    delete_messages(system, "control")
    for meter in meters:
        system.switch(meter, corrections=[{"day": "2024-07-20", "wh": 5000}])

    system.start_worker(*QUICK_START, "-Q", "control")
    system.send_task("tasks.nightly.nightly_sync")
    until(lambda: system.redis.llen(QUEUE_PREFIX + "nightly") == 4, "the publishing of the night")
    system.stop("worker")
    assert delete_messages(system, "nightly") == 4
    system.start_worker(*QUICK_START)
    system.start_beat()
    for account, meter in zip(accounts, meters, strict=True):
        until(lambda account=account: system.has_run(account, "nightly:2024-07-25"), "the mended night")
        assert system.content(account) == system.truth(meter).expected_loads()


def test_every_message_delivered_twice_gives_the_same_store(system: System) -> None:
    meter = "40000000000006"
    log = system.start_worker(*QUICK_START, app="drill.crash_worker", DRILL_TWICE="1")
    account = system.add_account(meter)
    system.wait_loaded(account)
    until(lambda: not system.messages(), "the end of the doubled messages")
    assert system.content(account) == system.truth(meter).expected_loads()
    assert log.read_text().count("window stored") >= 2 * 5
    before = system.revisions(account)
    system.run_night(account)
    until(lambda: not system.messages(), "the end of the doubled messages")
    assert system.revisions(account) == before


def test_no_log_of_all_this_names_a_meter_or_a_secret(system: System) -> None:
    logs = system.logs()
    assert SECRET not in logs
    assert "eyJ" not in logs
    assert not METER_NUMBER.search(logs)
    outcomes = [
        outcome.message
        for account in system.parts.stores.registry.accounts.list_accounts()
        for outcome in system.parts.stores.registry.outcomes.load(account.id).values()
    ]
    assert len(outcomes) == 2 * len(system.parts.stores.registry.accounts.list_accounts()) > 0
    assert not METER_NUMBER.search(" ".join(outcomes))
    assert SECRET not in " ".join(outcomes)
