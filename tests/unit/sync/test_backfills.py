"""The start of histories: as many as the queues have capacity for, first screens first, each account in turn."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.unit.conftest import Household
from worker.domain.measures.readings import DateWindow, Series
from worker.sync.backfills import Capacity, Resumption


class Queues:
    """The queues of histories; nothing takes their messages unless a test does."""

    def __init__(self, household: Household, most: int) -> None:
        self.household, self.most = household, most
        self.waiting: Counter[str] = Counter()
        self.started: list[str] = []
        self.incident_open = False

    def turn(self, **options: int) -> int:
        household = self.household
        return Resumption(
            claims=household.claims,
            progress=household.progress,
            publish=self.start,
            queue_length=self.waiting.__getitem__,
            most_waiting=self.most,
            is_held=lambda: self.incident_open,
            **options,
        ).run()

    def start(self, account_id: str) -> None:
        self.started.append(account_id)
        self.waiting["control"] += 1


@pytest.fixture
def accounts(household: Household, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("worker.sync.claims._PAGE_SIZE", 2)
    return sorted(household.add(number) for number in range(10, 19))


def all_done(household: Household, account_id: str, series: Series) -> None:
    wanted = household.history.wanted_window(series)
    assert wanted is not None
    household.progress.replace_done(account_id, series, [wanted])


def test_no_more_is_started_than_may_wait_and_each_turn_goes_on_from_the_last(
    household: Household, accounts: list[str]
) -> None:
    queues = Queues(household, most=4)
    assert queues.turn() == 4
    assert queues.turn() == 0  # No worker took them yet.
    queues.waiting.clear()
    assert queues.turn() == 4
    queues.waiting.clear()
    assert queues.turn() == 1
    assert queues.started == accounts
    queues.waiting.clear()
    assert queues.turn() == 4  # The second round: what is still due has lost its message.
    assert queues.started[-4:] == accounts[:4]


def test_what_is_in_flight_or_loaded_is_not_started(household: Household, accounts: list[str]) -> None:
    queues = Queues(household, most=100)
    assert household.claims.claim_backfill(accounts[0])
    for series in Series:
        all_done(household, accounts[1], series)
    queues.turn()
    assert queues.started == accounts[2:]


def test_a_full_history_queue_holds_up_no_first_screen_and_the_other_way_round(
    household: Household, accounts: list[str]
) -> None:
    for account in accounts[::2]:
        all_done(household, account, Series.DAILY)
    for queue, expected in (("backfill", accounts[1::2]), ("first_screen", accounts[::2])):
        queues = Queues(household, most=50)
        queues.waiting[queue] = 50
        queues.turn()
        assert queues.started == expected


def test_nothing_is_started_while_it_is_held(household: Household, accounts: list[str]) -> None:
    queues = Queues(household, most=100)
    queues.incident_open = True
    assert queues.turn() == 0
    queues.incident_open = False
    assert queues.turn() == len(accounts)


def test_a_turn_looks_at_so_many_accounts_and_no_more(household: Household, accounts: list[str]) -> None:
    queues = Queues(household, most=100)
    assert queues.turn(most_accounts=3) == 4  # Pages are examined as a whole.
    queues.waiting.clear()
    assert queues.turn() == 5


def test_a_curve_that_finds_its_queue_full_waits_and_costs_no_try(household: Household) -> None:
    account = household.add()
    waiting = {"first_screen": 0, "backfill": 20}
    capacity = Capacity(waiting.__getitem__, 20)
    first = household.claims.claim_backfill(account, capacity)
    assert first is not None and first["series"] == Series.DAILY
    household.claims.release_claim(account, "account/backfill", first["run_id"])
    all_done(household, account, Series.DAILY)
    for _ in range(30):
        assert household.claims.claim_backfill(account, capacity) is None
    waiting["backfill"] = 19
    job = household.claims.claim_backfill(account, capacity)
    assert job is not None
    window = DateWindow.parse(f"{job['start']}/{job['end']}")
    assert household.progress.attempts(account, "load_curve", window, run="2024-07-25") == 4
