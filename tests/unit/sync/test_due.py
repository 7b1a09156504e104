"""A night's fan-out: everything once, paced, resumed and mended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import pytest

from tests.support.factories import serving_days
from tests.support.nights import Queue, accounts_of, everything_once
from tests.unit.conftest import Household
from worker.domain.measures.readings import ONE_DAY, Series
from worker.errors import WorkerError
from worker.stores.redis.progress import ProgressStore
from worker.sync.claims import ClaimPolicy
from worker.sync.due import FanOut, Night

NIGHT = Night(date(2024, 7, 25))
CATCH_UP = "catch-up:2024-07-25T14"


@pytest.fixture
def queue(household: Household) -> Queue:
    for number in range(10, 15):
        household.add(number)
    return Queue(household)


def one_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.sync.claims._PAGE", 1)


def test_a_night_publishes_each_series_of_each_account_once(queue: Queue) -> None:
    assert queue.fan_out().feed(NIGHT)
    assert queue.published == everything_once(queue)
    assert queue.fan_out().fed(NIGHT)


def test_a_second_run_of_the_same_night_publishes_nothing_at_any_time(queue: Queue) -> None:
    queue.fan_out().feed(NIGHT)
    assert queue.fan_out().feed(NIGHT)
    queue.household.redis.delete(f"{queue.household.prefix}cursor:{NIGHT.run}")  # even where it must start over
    queue.fan_out().feed(NIGHT)
    queue.work()
    queue.household.redis.delete(f"{queue.household.prefix}cursor:{NIGHT.run}")
    queue.fan_out().feed(NIGHT)
    assert queue.waiting == []
    assert queue.published == everything_once(queue)


def test_the_next_night_is_another_one(queue: Queue) -> None:
    queue.fan_out().feed(NIGHT)
    queue.work()
    queue.household.at += ONE_DAY
    queue.fan_out().feed(Night(date(2024, 7, 26)))
    assert set(queue.published.values()) == {2}


def test_no_more_is_published_while_enough_waits_and_the_rest_comes_later(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_a_page(monkeypatch)
    fan_out = queue.fan_out(most_waiting=4)
    assert not fan_out.feed(NIGHT)
    first, _, second, _ = published = [origin["account_id"] for origin in queue.waiting]
    assert published == [account for account in (first, second) for _ in Series]
    ids = sorted(accounts_of(queue))
    assert ids[(ids.index(first) + 1) % len(ids)] == second  # a round in the order of ids
    assert not fan_out.feed(NIGHT)  # still as many
    assert len(queue.waiting) == 4
    longest = 0
    for _ in range(20):
        queue.work(2)
        done = fan_out.feed(NIGHT)
        longest = max(longest, len(queue.waiting))
        if done:
            break
    assert longest <= 4 + len(Series) - 1
    assert queue.published == everything_once(queue)


def test_a_fan_out_killed_between_two_accounts_goes_on_from_there(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_a_page(monkeypatch)

    class Killed(BaseException):
        pass

    def dying(pairs: Sequence[tuple[str, Series]], run: str) -> int:
        if len(queue.waiting) < 4:
            return queue.publish(pairs, run)
        queue.publish(pairs[:1], run)
        raise Killed

    whole = queue.fan_out()
    with pytest.raises(Killed):
        FanOut(whole.dispatcher, whole.state, dying, queue.length, 1000).feed(NIGHT)
    assert whole.feed(NIGHT)
    assert queue.published == everything_once(queue)


def test_an_account_that_came_while_the_night_was_fed_is_found_by_the_mending(queue: Queue) -> None:
    queue.fan_out().feed(NIGHT)
    queue.household.add(33)
    queue.fan_out().mend(NIGHT)
    assert queue.published == everything_once(queue)


def test_mending_publishes_what_lost_its_claim_and_nothing_that_is_in_flight_or_done(queue: Queue) -> None:
    queue.fan_out().feed(NIGHT)
    queue.work(4)
    lost = queue.waiting.pop()
    assert queue.fan_out().mend(NIGHT) == 0
    queue.household.dispatcher.release(lost["account_id"], str(lost["claim"]), lost["run_id"])  # as its expiry would
    assert queue.fan_out().mend(NIGHT) == 1
    queue.work()
    assert queue.published == everything_once(queue) + Counter([(lost["account_id"], lost["series"])])
    assert queue.fan_out().mend(NIGHT) == 0


def test_a_night_that_is_whole_is_closed_and_costs_no_further_look(queue: Queue) -> None:
    queue.fan_out().feed(NIGHT)
    queue.work()
    queue.fan_out().mend(NIGHT)
    queue.household.add(33)
    assert queue.fan_out().mend(NIGHT) == 0
    assert queue.fan_out().feed(NIGHT)
    assert queue.waiting == []


def test_a_history_that_loads_through_the_night_does_not_make_it_repeat(queue: Queue) -> None:
    queue.fan_out().feed(NIGHT)
    queue.work(9)  # one still waits, so the night stays open
    for account in accounts_of(queue):
        while origin := queue.household.dispatcher.claim_backfill(account):
            queue.household.run(origin)
            assert queue.fan_out().mend(NIGHT) == 0
    assert queue.published == everything_once(queue)


def test_what_fails_all_day_is_tried_five_times_and_the_others_once(queue: Queue) -> None:
    queue.household.supplier.curve = WorkerError("a bug of ours")
    queue.fan_out().feed(NIGHT)
    for _ in range(10):
        queue.work()
        queue.fan_out().mend(NIGHT)
    assert {series: number for (_, series), number in queue.published.items()} == {"daily": 1, "load_curve": 5}


def test_a_catch_up_asks_once_an_hour_for_what_lacks_yesterday(queue: Queue) -> None:
    queue.fan_out().feed(NIGHT)
    queue.work()
    queue.published.clear()
    first, *others = accounts_of(queue)
    queue.household.supplier.daily = serving_days({date(2024, 7, 24): 5000})
    queue.household.run(queue.household.dispatcher.look_back_now(first, Series.DAILY))
    queue.household.supplier.daily = None  # for the others it is late
    assert queue.fan_out().catch_up(CATCH_UP) == 9
    queue.work()
    assert queue.fan_out().catch_up(CATCH_UP) == 0  # nothing new came, but this hour has asked
    assert queue.fan_out().catch_up("catch-up:2024-07-25T15") == 9
    assert queue.published[first, "daily"] == 0
    assert {queue.published[account, "daily"] for account in others} == {2}


def test_a_catch_up_does_not_make_an_open_night_repeat(queue: Queue) -> None:
    queue.fan_out().feed(NIGHT)
    queue.work(9)
    queue.fan_out().catch_up(CATCH_UP)
    queue.work()
    published = queue.published.copy()
    queue.fan_out().mend(NIGHT)
    assert queue.published == published


@pytest.mark.parametrize("per_hour, most", [(None, 2000), (1000, 166), (10_000, 1666), (60, 20)])
def test_as_much_waits_as_the_quota_lets_through_in_ten_minutes(
    household: Household, per_hour: int | None, most: int
) -> None:
    @dataclass
    class House:
        dispatcher: ClaimPolicy
        state: ProgressStore
        calls_per_hour: int | None

    house = House(household.dispatcher, household.state, per_hour)
    assert FanOut.of(house, lambda *_: True, lambda name: 0).most_waiting == most
