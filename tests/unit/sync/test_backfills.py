"""Histories taken up again: what the queues have room for, first screens first, everybody in turn."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.unit.conftest import Household
from worker.domain.measures.readings import DateWindow, Series
from worker.sync.backfills import Capacity, Resumption


class House:
    """The queues, and a worker that turns a started history into its next window."""

    def __init__(self, household: Household, most: int) -> None:
        self.household, self.most = household, most
        self.waiting: Counter[str] = Counter()
        self.started: list[str] = []
        self.held = False

    def turn(self, **options: int) -> int:
        house = self.household
        return Resumption(
            house.dispatcher, house.state, self.start, self.waiting.__getitem__, self.most, lambda: self.held, **options
        ).run()

    def start(self, account_id: str) -> None:
        self.started.append(account_id)
        self.waiting["control"] += 1


@pytest.fixture
def accounts(household: Household, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("worker.sync.claims._PAGE", 2)
    return sorted(household.add(number) for number in range(10, 19))


def all_done(household: Household, account_id: str, series: Series) -> None:
    wanted = household.history.wanted(series)
    assert wanted is not None
    household.state.replace_done(account_id, series, [wanted])


def test_no_more_is_started_than_may_wait_and_each_turn_goes_on_from_the_last(
    household: Household, accounts: list[str]
) -> None:
    house = House(household, most=4)
    assert house.turn() == 4
    assert house.turn() == 0  # nobody took them up yet
    house.waiting.clear()
    assert house.turn() == 4
    house.waiting.clear()
    assert house.turn() == 1
    assert house.started == accounts
    house.waiting.clear()
    assert house.turn() == 4  # around again: what is still due has lost its message
    assert house.started[-4:] == accounts[:4]


def test_what_is_in_flight_or_loaded_is_not_started(household: Household, accounts: list[str]) -> None:
    house = House(household, most=100)
    assert household.dispatcher.claim_backfill(accounts[0])
    for series in Series:
        all_done(household, accounts[1], series)
    house.turn()
    assert house.started == accounts[2:]


def test_a_full_history_queue_holds_up_no_first_screen_and_the_other_way_round(
    household: Household, accounts: list[str]
) -> None:
    for account in accounts[::2]:
        all_done(household, account, Series.DAILY)
    for queue, expected in (("backfill", accounts[1::2]), ("first_screen", accounts[::2])):
        house = House(household, most=50)
        house.waiting[queue] = 50
        house.turn()
        assert house.started == expected


def test_nothing_is_started_while_it_is_held(household: Household, accounts: list[str]) -> None:
    house = House(household, most=100)
    house.held = True
    assert house.turn() == 0
    house.held = False
    assert house.turn() == len(accounts)


def test_a_turn_looks_at_so_many_accounts_and_no_more(household: Household, accounts: list[str]) -> None:
    house = House(household, most=100)
    assert house.turn(most_accounts=3) == 4  # whole pages
    house.waiting.clear()
    assert house.turn() == 5


def test_a_curve_that_finds_its_queue_full_waits_and_costs_no_try(household: Household) -> None:
    account = household.add()
    waiting = {"first_screen": 0, "backfill": 20}
    room = Capacity(waiting.__getitem__, 20)
    first = household.dispatcher.claim_backfill(account, room)
    assert first is not None and first["series"] == Series.DAILY
    household.dispatcher.release(account, "account/backfill", first["run_id"])
    all_done(household, account, Series.DAILY)
    for _ in range(30):
        assert household.dispatcher.claim_backfill(account, room) is None
    waiting["backfill"] = 19
    origin = household.dispatcher.claim_backfill(account, room)
    assert origin is not None
    window = DateWindow.parse(f"{origin['start']}/{origin['end']}")
    assert household.state.attempts(account, "load_curve", window, run="2024-07-25") == 4
