"""A night among others: killed anywhere, fed twice at once, held, taken over, fair, in little memory."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.factories import NOW, serving_days
from tests.support.nights import Queue, accounts_of, everything_once
from tests.unit.conftest import Household
from worker.domain.consent.accounts import Account, AccountState
from worker.domain.fleet.policy import FleetPolicy
from worker.domain.fleet.rounds import Round
from worker.domain.measures.readings import ONE_DAY, Series
from worker.sync.claims import ClaimPolicy
from worker.sync.due import FanOut, Night

NIGHT = Night(date(2024, 7, 25))
NEXT = Night(date(2024, 7, 26))
TOUCHES = ("claim", "count_attempt", "get_cursor", "move_cursor", "put_cursor", "last_nights")


class Killed(BaseException):
    """The end of a process as by kill -9: no clean-up runs."""


class NightCrash:
    """A crash at the n-th call to Redis or to the queue, before or after it was done."""

    def __init__(self, queue: Queue) -> None:
        self.left: int | None = None
        for name in TOUCHES:
            setattr(queue.household.progress, name, self._touching(getattr(queue.household.progress, name)))
        queue.waiting = self._list = _Waiting(self.touch)

    def touch(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.left = None
                raise Killed

    def _touching(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def touched(*args: Any, **kwargs: Any) -> Any:
            self.touch()
            answer = call(*args, **kwargs)
            self.touch()
            return answer

        return touched


class _Waiting(list[Any]):
    def __init__(self, touch: Callable[[], None]) -> None:
        super().__init__()
        self._touch = touch

    def append(self, item: Any) -> None:
        self._touch()
        super().append(item)
        self._touch()


@pytest.fixture
def queue(household: Household, monkeypatch: pytest.MonkeyPatch) -> Queue:
    monkeypatch.setattr("worker.sync.claims._PAGE_SIZE", 2)
    for number in range(10, 17):
        household.add(number)
    return Queue(household, all_steps=False)


def delete_lost_claims(queue: Queue, night: Night) -> None:
    """Delete the claims that no message has, as ``publish_missing`` does with a broker that lists its messages."""
    claimed = {(job["account_id"], job["series"]) for job in queue.waiting}
    for account in accounts_of(queue):
        for series in Series:
            if (account, series.value) not in claimed:
                queue.household.redis.delete(f"{queue.household.prefix}inflight:{account}:{series}:nightly")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 90), min_size=1, max_size=6), st.integers(1, 9))
def test_killed_anywhere_a_night_publishes_everything_once(queue: Any, kills: list[int], most: int) -> None:
    queue = Queue(replace(queue.household, prefix=f"test-{uuid4().hex}:"), all_steps=False)
    crash_point = NightCrash(queue)
    fan_out = queue.fan_out(1000, most_accounts=most)
    for crash_point.left in kills:
        try:
            fan_out.feed(NIGHT)
        except Killed:
            continue
    crash_point.left = None
    while not fan_out.feed(NIGHT):
        pass
    published = Counter((job["account_id"], job["series"]) for job in queue.waiting)
    assert max(published.values()) == 1
    delete_lost_claims(queue, NIGHT)
    for _ in range(8 // most + 3):  # One call examines some accounts, and a round needs several.
        fan_out.publish_missing(NIGHT)
    assert Counter((job["account_id"], job["series"]) for job in queue.waiting) == everything_once(queue)
    queue.work()
    fan_out.publish_missing(NIGHT)
    assert queue.asked == everything_once(queue)
    queue.household.lose_redis()


def test_two_beats_that_feed_one_night_publish_everything_once(queue: Queue) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: queue.fan_out().feed(NIGHT), range(4)))
    assert queue.published == everything_once(queue)


def test_nothing_is_published_while_it_is_held_and_all_of_it_afterwards(queue: Queue) -> None:
    is_held = [False]
    fan_out = queue.fan_out(4, is_held=lambda: is_held[0])
    assert not fan_out.feed(NIGHT)
    first = len(queue.waiting)
    queue.work()
    is_held[0] = True
    assert not fan_out.feed(NIGHT)
    assert (fan_out.publish_missing(NIGHT), len(queue.waiting)) == (0, 0)
    is_held[0] = False
    while not fan_out.feed(NIGHT):
        queue.work()
    assert queue.published == everything_once(queue) and first == 4


# -- A night that is not complete when the next one begins


def left_of_first_night(queue: Queue, done: int, waiting: int) -> list[str]:
    """Feed the night until so many accounts are done and so many wait; return all, those without a turn first."""
    fan_out = queue.fan_out(2 * waiting)
    for _ in range(done):
        fan_out.feed(NIGHT)
        queue.work(2)
    fan_out.feed(NIGHT)
    assert len(queue.waiting) == 2 * waiting
    place = Round.parse(queue.household.progress.get_cursor(NIGHT.run))
    assert place is not None
    accounts = sorted(accounts_of(queue))
    return [account for account in accounts if account > place.after] + [
        account for account in accounts if account <= place.after
    ]


def test_the_next_night_takes_over_what_is_left_first_and_nothing_twice(queue: Queue) -> None:
    order = left_of_first_night(queue, done=2, waiting=2)
    late_ids, done, in_flight = order[:3], order[3:5], order[5:]
    assert {job["account_id"] for job in queue.waiting} == set(in_flight)
    queue.published.clear()
    queue.asked.clear()
    queue.household.at += ONE_DAY
    assert queue.fan_out().feed(NEXT)
    assert [job["account_id"] for job in queue.waiting[4::2]] == [*late_ids, *done]
    assert queue.fan_out().feed(NIGHT) and queue.fan_out().publish_missing(NIGHT) == 0  # The old night ends.
    queue.work()
    assert queue.asked == everything_once(queue)
    queue.fan_out().publish_missing(NEXT)
    assert queue.waiting == []
    assert [note and note.night for note in queue.household.progress.last_nights([*everything_once(queue)])] == [
        NEXT.date
    ] * 14


def test_what_the_old_night_asked_for_after_midnight_and_had_counts_for_the_new_one(queue: Queue) -> None:
    left_of_first_night(queue, done=0, waiting=1)
    queue.household.at += timedelta(hours=20)
    yesterday = queue.household.claims.today() - ONE_DAY
    assert yesterday == NIGHT.date
    queue.household.supplier.daily = serving_days({yesterday: 5000})
    asked = queue.waiting[0]["account_id"]
    queue.all_steps = True
    queue.work()
    assert {window.end for _, window in queue.household.supplier.asked} == {NEXT.date}
    queue.published.clear()
    queue.fan_out().feed(NEXT)
    assert queue.published[asked, "daily"] == 0
    assert queue.published[asked, "load_curve"] == 1  # Yesterday's reading had not come.


def test_a_message_that_came_twice_or_too_late_asks_nothing(queue: Queue) -> None:
    queue.fan_out().feed(NIGHT)
    twice = queue.waiting[0]
    queue.work()
    queue.asked.clear()
    queue.waiting.append(twice)
    queue.work()
    assert not queue.asked


def test_a_message_whose_claim_ran_out_is_asked_unless_another_has_it(queue: Queue) -> None:
    fan_out = queue.fan_out()
    fan_out.feed(NIGHT)
    late_job, *others = queue.waiting
    queue.waiting[:] = []
    delete_lost_claims(queue, NIGHT)
    queue.household.at += timedelta(minutes=20)
    assert fan_out.publish_missing(NIGHT) == 14
    assert queue.household.claims.refresh_window(late_job) is None
    for job in queue.waiting:
        queue.household.claims.release_claim(job["account_id"], str(job["claim"]), job["run_id"])
    queue.waiting[:] = others
    queue.work()
    assert set(queue.asked.values()) == {1} and len(queue.asked) == 13


def test_a_night_of_a_date_to_come_keeps_none_that_is_here_from_running(queue: Queue) -> None:
    by_hand = Night(date(2030, 1, 1))
    assert queue.fan_out().feed(by_hand)
    queue.work()
    queue.asked.clear()
    assert queue.fan_out().feed(NIGHT)
    queue.work()
    assert queue.asked == everything_once(queue)
    assert queue.fan_out().publish_missing(NIGHT) == 0
    assert queue.household.progress.get_cursor(NIGHT.run) == "~complete"


# -- Fairness


def test_where_every_night_ends_early_all_get_as_many_turns(queue: Queue) -> None:
    for number in range(9):
        night = Night(NIGHT.date + number * ONE_DAY)
        queue.fan_out(6).feed(night)  # Three accounts are asked, then the night is over.
        queue.work()
        queue.household.at += ONE_DAY
    turns = {account: queue.asked[account, "daily"] for account in accounts_of(queue)}
    assert sum(turns.values()) == 9 * 3
    assert max(turns.values()) - min(turns.values()) <= 1


def test_where_every_night_is_whole_nobody_is_always_last(queue: Queue) -> None:
    last, first = set(), set()
    for number in range(12):
        night = Night(NIGHT.date + number * ONE_DAY)
        assert queue.fan_out().feed(night)
        first.add(queue.waiting[0]["account_id"])
        last.add(queue.waiting[-1]["account_id"])
        queue.work()
        queue.household.at += ONE_DAY
    assert len(first) >= 3 and len(last) >= 3  # Seven random ids are not evenly spread.


def test_a_policy_says_whose_turn_it_is(queue: Queue) -> None:
    policy = FleetPolicy(daily_every=1, curve_every=3)
    for number in range(3):
        night = Night(NIGHT.date + number * ONE_DAY)
        fan_out = queue.fan_out(policy=policy)
        assert fan_out.feed(night)
        queue.work()
        fan_out.publish_missing(night)
        assert queue.household.progress.get_cursor(night.run) == "~complete"
        queue.household.at += ONE_DAY
    for account in accounts_of(queue):
        assert (queue.asked[account, "daily"], queue.asked[account, "load_curve"]) == (3, 1)


def test_a_catch_up_waits_for_the_end_of_the_feeding_and_stops_where_enough_waits(queue: Queue) -> None:
    run = "catch-up:2024-07-25T14"
    fan_out = queue.fan_out(4)
    assert not fan_out.feed(NIGHT)
    queue.work()
    assert fan_out.catch_up(run) == 0 and fan_out.caught_up(run)  # The night itself will ask.
    while not fan_out.feed(NIGHT):
        queue.work()
    queue.work()
    queue.asked.clear()
    assert fan_out.catch_up(run) == 4 and not fan_out.caught_up(run)
    while not fan_out.caught_up(run):
        queue.work()
        fan_out.catch_up(run)
    queue.work()
    assert queue.asked == everything_once(queue)


# -- Memory


class Weighed(Account):
    """An account that a weak set can hold."""


class EndlessRegistry:
    """A registry of ``size`` accounts that exist only while a page holds them."""

    def __init__(self, size: int) -> None:
        self.size, self.most_alive, self.longest_page = size, 0, 0
        self.alive: weakref.WeakSet[Account] = weakref.WeakSet()

    def page_active(self, after: str | None, limit: int, *, until: str | None = None) -> list[Account]:
        first = int(after[1:]) + 1 if after and after[1:].isdigit() else 0
        last = self.size if until is None else 0  # A night that begins before the first account has no second lap.
        page = [Weighed(f"k{n:09d}", AccountState.READY, "enedis", NOW) for n in range(first, min(first + limit, last))]
        self.alive.update(page)
        self.most_alive = max(self.most_alive, len(self.alive))
        self.longest_page = max(self.longest_page, len(page))
        return page


@pytest.mark.parametrize("size", [1_000, 4_000])
def test_a_feeder_holds_two_pages_however_many_accounts_there_are(household: Household, size: int) -> None:
    registry: Any = EndlessRegistry(size)
    household.progress.move_cursor(NIGHT.run, None, str(Round.beginning("k")), 60)
    claims: ClaimPolicy = replace(household.claims, registry=registry)
    published = Counter[str]()

    def publish(pairs: Sequence[tuple[str, Series]], run: str) -> int:
        published.update(series.value for _, series in pairs)
        return len(pairs)

    assert FanOut(
        claims=claims, progress=household.progress, publish=publish, queue_length=lambda name: 0, most_waiting=1000
    ).feed(NIGHT)
    assert published == {"daily": size, "load_curve": size}
    assert registry.most_alive <= 2 * registry.longest_page <= 1000
