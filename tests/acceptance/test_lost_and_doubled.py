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
    QUICKLY,
    House,
    open_house,
    until,
)
from worker.domain.consent.accounts import AccountState
from worker.domain.measures.readings import Series

SECRET = "canary-of-a-secret"
SLOW = {"path": "mesure_synchrone_auto", "delay_s": 0.3, "count": None}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Without a worker: each test starts its own.  What is lost is looked for every second."""
    settings = {"PRETEND_NOW": "2024-07-25T09:00+02:00", "ENEDIS_CLIENT_SECRET": SECRET, "HISTORY_LOAD_DAYS": "14"}
    with open_house(tmp_path_factory.mktemp("lost"), **settings, **NO_QUOTA, **QUICK_HEALING) as house:
        house.start_simulator()
        yield house


@pytest.fixture(autouse=True)
def _from_the_start(house: House) -> Iterator[None]:
    house.redis.flushall()
    for account in house.inside.registry.list():
        house.inside.registry.set_state(account.id, AccountState.PAUSED, now=house.inside.now())
    yield
    if house.runs("beat"):
        house.stop("beat")  # in order, for the sake of its schedule file
    if house.runs("worker"):
        house.kill("worker")
    house.simulator("DELETE", "faults")


def lose(house: House, queue: str) -> int:
    """Empty a queue by hand; how many messages were in it."""
    key = QUEUE_PREFIX + queue
    lost = house.redis.llen(key)
    house.redis.delete(key)
    return int(lost)


def test_a_worker_killed_in_the_middle_of_a_backfill_costs_repeats_alone(house: House) -> None:
    meter = "40000000000001"
    house.simulator("POST", "faults", SLOW)
    house.start_worker(*QUICKLY)
    house.start_beat()
    account = house.add(meter)
    left_behind = []
    for series, wanted in ((Series.DAILY, 365), (Series.LOAD_CURVE, 7)):
        days_done = partial(house.inside.history.days, account, series)
        until(lambda days_done=days_done, wanted=wanted: days_done()[0] >= wanted, "the window before the kill")
        house.kill("worker")
        assert not house.loaded(account, Series.LOAD_CURVE)
        left_behind += house.messages()
        house.start_worker(*QUICKLY)
    house.wait_loaded(account)
    assert house.content(account) == house.truth(meter).content()
    assert left_behind  # what a killed worker held is there to be seen, and names nobody
    for message in left_behind:
        assert SECRET not in message
        assert "eyJ" not in message
        assert not METER_NUMBER.search(message)
    until(lambda: house.inside.history.loaded_until(account, Series.DAILY), "the end of the history")


def test_a_backfill_whose_message_is_lost_is_begun_by_the_reconciler(house: House) -> None:
    meter = "40000000000002"
    account = house.add(meter)
    assert lose(house, "control") == 1
    house.start_worker(*QUICKLY)
    house.start_beat()
    house.wait_loaded(account)
    assert house.content(account) == house.truth(meter).content()


def test_a_backfill_that_loses_a_message_on_its_way_goes_on(house: House) -> None:
    meter = "40000000000003"
    account = house.add(meter)
    house.start_worker(*QUICKLY, "-Q", "control")
    until(lambda: house.redis.llen(QUEUE_PREFIX + "first_screen"), "the first window's message")
    house.stop("worker")
    assert lose(house, "first_screen") == 1
    house.start_worker(*QUICKLY)
    house.start_beat()
    house.wait_loaded(account)
    assert house.content(account) == house.truth(meter).content()


def test_a_night_whose_messages_are_lost_is_mended(house: House) -> None:
    meters = "40000000000004", "40000000000005"
    accounts = [house.add(meter) for meter in meters]
    for account in accounts:
        house.load_here(account)
    lose(house, "control")
    for meter in meters:
        house.switch(meter, corrections=[{"day": "2024-07-20", "wh": 5000}])

    house.start_worker(*QUICKLY, "-Q", "control")
    house.send("tasks.schedule.nightly_sync")
    until(lambda: house.redis.llen(QUEUE_PREFIX + "nightly") == 4, "the publishing of the night")
    house.stop("worker")
    assert lose(house, "nightly") == 4
    house.start_worker(*QUICKLY)
    house.start_beat()
    for account, meter in zip(accounts, meters, strict=True):
        until(lambda account=account: house.has_run(account, "nightly:2024-07-25"), "the mended night")
        assert house.content(account) == house.truth(meter).content()


def test_every_message_delivered_twice_gives_the_same_store(house: House) -> None:
    meter = "40000000000006"
    log = house.start_worker(*QUICKLY, app="worker.drill.doubling_worker")
    account = house.add(meter)
    house.wait_loaded(account)
    until(lambda: not house.messages(), "the end of the doubled messages")
    assert house.content(account) == house.truth(meter).content()
    assert log.read_text().count("window stored") >= 2 * 5
    before = house.revisions(account)
    house.night(account)
    until(lambda: not house.messages(), "the end of the doubled messages")
    assert house.revisions(account) == before


def test_no_log_of_all_this_names_a_meter_or_a_secret(house: House) -> None:
    logs = house.logs()
    assert SECRET not in logs
    assert "eyJ" not in logs
    assert not METER_NUMBER.search(logs)
    outcomes = [
        outcome.message
        for account in house.inside.registry.list()
        for outcome in house.inside.registry.outcomes(account.id).values()
    ]
    assert len(outcomes) == 2 * 6
    assert not METER_NUMBER.search(" ".join(outcomes))
    assert SECRET not in " ".join(outcomes)
