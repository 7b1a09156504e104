"""The fan-out of a night: everything once, at the pace of the quota, continued anywhere, lost messages again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date

import pytest

from tests.support.factories import serving_days
from tests.support.nights import Queue, accounts_of, everything_once
from tests.unit.conftest import Household
from worker.domain.measures.readings import ONE_DAY, Series
from worker.errors import WorkerError
from worker.runtime.due import build_fan_out
from worker.sync.due import FanOut, Night

NIGHT = Night(date(2024, 7, 25))
CATCH_UP = "catch-up:2024-07-25T14"


@pytest.fixture
def queue(household: Household) -> Queue:
    for number in range(10, 15):
        household.add(number)
    return Queue(household)


def one_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.sync.claims._PAGE_SIZE", 1)


def test_a_night_publishes_each_series_of_each_account_once(queue: Queue) -> None:
    assert queue.fan_out().feed(NIGHT)
    assert queue.published == everything_once(queue)
    assert queue.fan_out().fed(NIGHT)


def test_a_second_run_of_the_same_night_publishes_nothing_at_any_time(queue: Queue) -> None:
    queue.fan_out().feed(NIGHT)
    assert queue.fan_out().feed(NIGHT)
    queue.household.redis.delete(f"{queue.household.prefix}cursor:{NIGHT.run}")  # Even if it must start over.
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
    first, _, second, _ = published = [job["account_id"] for job in queue.waiting]
    assert published == [account for account in (first, second) for _ in Series]
    ids = sorted(accounts_of(queue))
    assert ids[(ids.index(first) + 1) % len(ids)] == second  # The round is in the order of ids.
    assert not fan_out.feed(NIGHT)  # As many still wait.
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
        FanOut(
            claims=whole.claims, progress=whole.progress, publish=dying, queue_length=queue.length, most_waiting=1000
        ).feed(NIGHT)
    assert whole.feed(NIGHT)
    assert queue.published == everything_once(queue)


def test_an_account_that_came_while_the_night_was_fed_is_found_by_the_mending(queue: Queue) -> None:
    queue.fan_out().feed(NIGHT)
    queue.household.add(33)
    queue.fan_out().publish_missing(NIGHT)
    assert queue.published == everything_once(queue)


def test_mending_publishes_what_lost_its_claim_and_nothing_that_is_in_flight_or_done(queue: Queue) -> None:
    queue.fan_out().feed(NIGHT)
    queue.work(4)
    lost_job = queue.waiting.pop()
    assert queue.fan_out().publish_missing(NIGHT) == 0
    queue.household.claims.release_claim(
        lost_job["account_id"], str(lost_job["claim"]), lost_job["run_id"]
    )  # As the end of its lifetime would.
    assert queue.fan_out().publish_missing(NIGHT) == 1
    queue.work()
    assert queue.published == everything_once(queue) + Counter([(lost_job["account_id"], lost_job["series"])])
    assert queue.fan_out().publish_missing(NIGHT) == 0


def test_a_night_that_is_whole_is_closed_and_costs_no_further_look(queue: Queue) -> None:
    queue.fan_out().feed(NIGHT)
    queue.work()
    queue.fan_out().publish_missing(NIGHT)
    queue.household.add(33)
    assert queue.fan_out().publish_missing(NIGHT) == 0
    assert queue.fan_out().feed(NIGHT)
    assert queue.waiting == []


def test_a_history_that_loads_through_the_night_does_not_make_it_repeat(queue: Queue) -> None:
    queue.fan_out().feed(NIGHT)
    queue.work(9)  # One still waits, so the night stays open.
    for account in accounts_of(queue):
        while job := queue.household.claims.claim_backfill(account):
            queue.household.run(job)
            assert queue.fan_out().publish_missing(NIGHT) == 0
    assert queue.published == everything_once(queue)


def test_what_fails_all_day_is_tried_five_times_and_the_others_once(queue: Queue) -> None:
    queue.household.supplier.curve = WorkerError("a bug of ours")
    queue.fan_out().feed(NIGHT)
    for _ in range(10):
        queue.work()
        queue.fan_out().publish_missing(NIGHT)
    assert {series: number for (_, series), number in queue.published.items()} == {"daily": 1, "load_curve": 5}


def test_a_catch_up_asks_once_an_hour_for_what_lacks_yesterday(queue: Queue) -> None:
    queue.fan_out().feed(NIGHT)
    queue.work()
    queue.published.clear()
    first, *others = accounts_of(queue)
    queue.household.supplier.daily = serving_days({date(2024, 7, 24): 5000})
    queue.household.run(queue.household.claims.manual_look_back(first, Series.DAILY))
    queue.household.supplier.daily = None  # For the others it is late.
    assert queue.fan_out().catch_up(CATCH_UP) == 9
    queue.work()
    assert queue.fan_out().catch_up(CATCH_UP) == 0  # Nothing new came, but this hour has asked.
    assert queue.fan_out().catch_up("catch-up:2024-07-25T15") == 9
    assert queue.published[first, "daily"] == 0
    assert {queue.published[account, "daily"] for account in others} == {2}


def test_a_catch_up_does_not_make_an_open_night_repeat(queue: Queue) -> None:
    queue.fan_out().feed(NIGHT)
    queue.work(9)
    queue.fan_out().catch_up(CATCH_UP)
    queue.work()
    published = queue.published.copy()
    queue.fan_out().publish_missing(NIGHT)
    assert queue.published == published


@pytest.mark.parametrize("per_hour, most", [(None, 2000), (1000, 166), (10_000, 1666), (60, 20)])
def test_as_much_waits_as_the_quota_lets_through_in_ten_minutes(
    household: Household, per_hour: int | None, most: int
) -> None:
    fan_out = build_fan_out(
        claims=household.claims,
        progress=household.progress,
        publish=lambda *_: True,
        queue_length=lambda name: 0,
        calls_per_hour=per_hour,
        held=household.incidents.is_open,
        policy=None,
    )
    assert fan_out.most_waiting == most
