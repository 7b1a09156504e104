"""What is due: each lane's windows, in which order, how many at once, and that nothing is published twice."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest

from tasks import pipeline
from tests.support.factories import serving_days
from tests.support.parts import use_parts
from tests.support.registries import record_outcome
from tests.support.window_runs import days
from tests.unit.conftest import Household
from worker.domain.account import AccountState
from worker.domain.completeness import COMPLETE, DayMark, DayState
from worker.domain.messages import WindowJob
from worker.domain.schedule import FleetPolicy, night_start
from worker.domain.series import USUAL_SERIES, Series, SeriesSwitch
from worker.domain.windows import ONE_DAY, PARIS
from worker.errors import StoreUnavailable, SupplierUnavailable
from worker.stores.registry.due import DueTable
from worker.sync.claims import NIGHTLY_LANE, most_waiting, queue_of
from worker.sync.due import MOST_HISTORIES, DueWindows

DAY = timedelta(days=1)
# Six windows may be in flight for each call an hour, but 20 at least.
SMALL = 120


@dataclass
class DueQueue:
    """Published windows that no worker has taken yet; ``published`` and ``asked`` count (account, series)."""

    household: Household
    waiting: deque[tuple[WindowJob, str]] = field(default_factory=deque)
    published: Counter[tuple[str, str]] = field(default_factory=Counter)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)

    def publish(self, jobs: Sequence[WindowJob]) -> int:
        """Publish windows as ``tasks.pipeline.publish`` does, and return their number."""
        for job in jobs:
            self.waiting.append((job, queue_of(job)))
            self.published[job["account_id"], job["series"]] += 1
        return len(jobs)

    def feed_night(self, before: datetime, **options: Any) -> bool:
        """Publish what is due of a night, and return whether more is."""
        jobs, more = self.due(**options).claim_night(before)
        self.publish(jobs)
        return more

    def feed_catch_up(self, since: datetime, before: datetime, **options: Any) -> bool:
        jobs, more = self.due(**options).claim_catch_up(since, before)
        self.publish(jobs)
        return more

    def feed_histories(self, **options: Any) -> int:
        due = self.due(**options)
        return sum(self.publish(due.claim_next_of_history(*history)) for history in due.list_histories())

    def due(self, **options: Any) -> DueWindows:
        return self.household.due_windows(**options)

    def queues(self) -> Counter[str]:
        return Counter(queue for _, queue in self.waiting)

    def work(self, most: int = 10_000) -> None:
        """Handle messages as ``tasks.pipeline.fetch`` and the steps after it do."""
        for _ in range(min(most, len(self.waiting))):
            self.handle(self.waiting.popleft()[0])

    def handle(self, message: WindowJob) -> None:
        job = self.household.claims.confirm(message)
        if job is not None:
            self.asked[job["account_id"], job["series"]] += 1
            self.household.run(job)


def everything_once(accounts: list[str]) -> Counter[tuple[str, str]]:
    return Counter((account, series.value) for account in accounts for series in USUAL_SERIES)


@pytest.fixture
def queue(household: Household) -> DueQueue:
    return DueQueue(household)


@pytest.fixture
def accounts(household: Household) -> list[str]:
    return sorted(household.add(number) for number in range(11, 41))


def feed_until_done(queue: DueQueue, before: datetime, work: int = 10_000, **options: object) -> None:
    """Feed a night and handle its messages until nothing is left to do."""
    for _ in range(200):
        more = queue.feed_night(before, **options)
        queue.work(work)
        if not more and not queue.waiting:
            return
    raise AssertionError("the night finds no end")


def test_a_night_asks_each_series_of_each_active_account_once(queue: DueQueue, accounts: list[str]) -> None:
    queue.household.registry.accounts.set_state(accounts[0], AccountState.PAUSED, now=queue.household.at)
    before = queue.household.at
    for _ in range(3):
        feed_until_done(queue, before, calls_per_hour=SMALL)
    assert queue.asked == queue.published == everything_once(accounts[1:])
    queue.household.at += DAY
    feed_until_done(queue, queue.household.at)
    assert queue.asked == everything_once(accounts[1:]) + everything_once(accounts[1:]), "the next night asks again"


@pytest.mark.parametrize("calls_per_hour, most", [(None, 2_000), (60, 20), (1_200, 200), (10_000, 1_666)])
def test_as_much_is_in_flight_as_the_quota_lets_through_in_ten_minutes(calls_per_hour: int | None, most: int) -> None:
    assert most_waiting(calls_per_hour) == most


def test_no_more_is_published_while_enough_is_in_flight_and_the_rest_comes_later(
    queue: DueQueue, accounts: list[str]
) -> None:
    assert queue.feed_night(queue.household.at, calls_per_hour=SMALL)
    for _ in range(5):
        queue.feed_night(queue.household.at, calls_per_hour=SMALL)
    assert len(queue.waiting) == most_waiting(SMALL) == 20
    queue.work(5)
    assert queue.feed_night(queue.household.at + timedelta(seconds=1), calls_per_hour=SMALL)
    assert len(queue.waiting) <= 20
    feed_until_done(queue, queue.household.at, calls_per_hour=SMALL)
    assert queue.asked == everything_once(accounts)


def test_two_feeders_publish_nothing_twice(queue: DueQueue, accounts: list[str]) -> None:
    first = queue.due()
    list_nightly = first.table.list_nightly

    def list_while_the_other_feeds(*args: object) -> object:
        rows = list_nightly(*args)  # type: ignore[arg-type]
        queue.publish(second.claim_night(queue.household.at).jobs)
        queue.work(7)
        return rows

    second = replace(first, table=DueTable(queue.household.registry.database))
    object.__setattr__(first.table, "list_nightly", list_while_the_other_feeds)
    queue.publish(first.claim_night(queue.household.at).jobs)
    queue.work()
    assert queue.asked == everything_once(accounts)


def test_a_lost_redis_loses_no_account_s_turn(queue: DueQueue, accounts: list[str]) -> None:
    queue.feed_night(queue.household.at)
    queue.work(17)
    asked = queue.asked.copy()
    queue.household.lose_redis()
    queue.waiting.clear()
    feed_until_done(queue, queue.household.at)
    assert queue.asked == everything_once(accounts)
    assert all(queue.asked[pair] == 1 for pair in asked), "what was asked before is not asked again"


def test_a_lost_message_is_published_again_when_the_broker_does_not_have_it(
    household: Household, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = DueQueue(household)
    queue.feed_night(household.at)
    published = len(queue.waiting)
    lost = [queue.waiting.popleft() for _ in range(7)]
    words = {str(job["claim"]).partition("/")[2] for job, _ in queue.waiting}
    object.__setattr__(household.claims, "words_in_broker", lambda: words)
    assert household.claims.drop_lost(NIGHTLY_LANE) == 0, "young claims may be on their way"
    monkeypatch.setattr("worker.sync.claims.LOST_AFTER_S", 0.0)
    queue.feed_night(household.at)
    assert len(queue.waiting) == published - 7, "a night alone looks for no lost message"
    assert household.claims.drop_lost(NIGHTLY_LANE) == 7
    queue.feed_night(household.at)
    assert len(queue.waiting) == published
    queue.work()
    for job, _ in lost:
        queue.handle(job)  # They come late, from a broker that found them again.
    assert queue.asked == everything_once(accounts)


def test_nothing_is_published_while_the_gate_is_closed(queue: DueQueue, accounts: list[str]) -> None:
    closed = queue.due(closed_for_s=lambda: 1.0)
    assert closed.claim_night(queue.household.at) == ([], False)
    assert (closed.list_histories(), closed.claim_repairs()) == ([], [])


def test_a_broker_that_is_away_leaves_everything_due(
    queue: DueQueue, accounts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Chain:
        def __init__(self, job: WindowJob) -> None:
            self._job = job

        def apply_async(self) -> None:
            if len(queue.waiting) == 5:
                raise StoreUnavailable("no broker")
            queue.publish([self._job])

    monkeypatch.setattr(pipeline, "window_chain", Chain)
    use_parts(monkeypatch, queue.household)
    with pytest.raises(StoreUnavailable):
        pipeline.publish(queue.due().claim_night(queue.household.at).jobs)
    assert len(queue.household.claims.in_flight("nightly")) == 5
    feed_until_done(queue, queue.household.at)
    assert queue.asked == everything_once(accounts)


def test_a_failing_account_is_tried_in_a_tenth_of_the_room_and_blocks_nobody(queue: DueQueue) -> None:
    household = queue.household
    failing = {household.add(number) for number in range(11, 41)}
    households_of_others = [household.add(number) for number in range(41, 51)]

    def run(job: WindowJob) -> None:
        if job["account_id"] in failing:
            household.results.record_failure(job, SupplierUnavailable("down"))
        else:
            household.window_sync.sync_window(job)

    object.__setattr__(household, "run", run)
    feed_until_done(queue, household.at, calls_per_hour=SMALL)
    assert queue.asked == everything_once([*failing, *households_of_others])
    household.at += timedelta(minutes=5)
    queue.asked.clear()
    queue.feed_night(household.at - timedelta(minutes=5), calls_per_hour=SMALL)
    assert len(queue.waiting) == 2, "a tenth of 20"
    queue.work()
    assert {account for account, _ in queue.asked} <= failing


def test_a_new_account_is_asked_first_and_counts_as_never_asked(queue: DueQueue, accounts: list[str]) -> None:
    household = queue.household
    feed_until_done(queue, household.at)
    household.at += DAY
    new = household.add(99)
    assert household.registry.outcomes.load(new) == {}
    queue.feed_night(household.at, calls_per_hour=SMALL)
    assert next(job["account_id"] for job, _ in queue.waiting if job["series"] == "daily") == new
    assert next(job["account_id"] for job, _ in queue.waiting if job["series"] == "load_curve") == new


def test_a_policy_shares_the_fleet_over_its_nights_the_longest_unasked_first(
    queue: DueQueue, accounts: list[str]
) -> None:
    household, asked_by_night = queue.household, []
    household.registry.policies.apply(FleetPolicy(1, 3), household.at.date(), household.at, {})
    for _ in range(6):
        queue.asked.clear()
        feed_until_done(queue, household.at)
        asked_by_night.append({account for account, series in queue.asked if series == "load_curve"})
        assert len([1 for _, series in queue.asked if series == "daily"]) == 30
        household.at += DAY
    assert [len(asked) for asked in asked_by_night] == [10] * 6
    for place in range(4):
        assert set.union(*asked_by_night[place : place + 3]) == set(accounts), "each one in three nights in a row"


def test_a_curve_that_is_not_collected_is_asked_for_once_a_week(queue: DueQueue) -> None:
    household = queue.household
    account = household.add()
    household.supplier.daily = serving_days(days("2024-06-20", *[5000] * 60))
    marks = [household.at.date() - place * ONE_DAY for place in range(1, 12)]
    for series, mark in ((Series.DAILY, COMPLETE), (Series.LOAD_CURVE, DayMark(DayState.LATE))):
        record_marks(household, account, series, dict.fromkeys(marks, mark))
    nights = []
    for night in range(15):
        queue.asked.clear()
        feed_until_done(queue, household.at)
        nights += [night] * queue.asked[account, "load_curve"]
        assert queue.asked[account, "daily"] == 1
        household.at += DAY
    assert nights == [0, 7, 14]


def record_marks(household: Household, account: str, series: Series, marks: dict[date, DayMark]) -> None:
    record_outcome(household.registry, account, "r", series=series, now=household.at, stored=True, days=marks)


def test_a_catch_up_asks_once_an_hour_for_what_lacks_yesterday(queue: DueQueue) -> None:
    household = queue.household
    household.supplier.daily = serving_days(days("2024-07-24", 5000))
    account, since = household.add(), household.at
    feed_until_done(queue, since)
    household.at += timedelta(hours=6)
    hour = household.at.replace(minute=0)
    for _ in range(3):
        queue.feed_catch_up(since, hour)
        queue.work()
    assert queue.asked == {(account, "daily"): 1, (account, "load_curve"): 2}, "the daily value was there"
    household.at += timedelta(hours=1)
    queue.feed_catch_up(since, household.at.replace(minute=0))
    queue.work()
    assert queue.asked[account, "load_curve"] == 3
    assert queue.household.registry.outcomes.load(account)[Series.DAILY].last_day == date(2024, 7, 24)


def test_histories_go_on_in_their_lanes_and_a_full_one_holds_up_no_other(queue: DueQueue, accounts: list[str]) -> None:
    due = queue.due(calls_per_hour=SMALL)
    assert queue.feed_histories(calls_per_hour=SMALL) == 40
    assert queue.queues() == {"first_screen": 20, "backfill": 20}
    assert queue.feed_histories(calls_per_hour=SMALL) == 0
    assert not any(due.has_history_room(series) for series in USUAL_SERIES)
    first = [job["account_id"] for job, name in queue.waiting if name == "first_screen"]
    queue.household.at += timedelta(minutes=1)
    queue.work()
    assert queue.feed_histories(calls_per_hour=SMALL) == 40
    second = [job["account_id"] for job, name in queue.waiting if name == "first_screen"]
    assert set(first) | set(second) == set(accounts), "those that waited go before those that have begun"


def test_a_loaded_history_is_not_due_until_a_gap_opens(queue: DueQueue) -> None:
    household = queue.household
    account = household.add()
    household.backfill(account)
    assert [household.histories(series) for series in USUAL_SERIES] == [[], []]
    feed_until_done(queue, household.at)
    assert [household.histories(series) for series in USUAL_SERIES] == [[], []]
    household.at += 60 * DAY
    feed_until_done(queue, household.at)
    assert [[row.account_id for row in household.histories(series)] for series in USUAL_SERIES] == [
        [account],
        [account],
    ]
    household.backfill(account)
    assert all(household.history.missing_windows(account, series) == [] for series in USUAL_SERIES)


def test_histories_are_begun_so_many_at_once(queue: DueQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.sync.due.MOST_HISTORIES", 4)
    for number in range(11, 21):
        queue.household.add(number)
    assert MOST_HISTORIES == 500
    assert queue.feed_histories() == 2 * 4


def test_open_days_are_asked_for_again_within_their_share(queue: DueQueue) -> None:
    household = queue.household
    day, late = date(2024, 7, 10), DayMark(DayState.LATE, 0, 1)
    for number in range(11, 61):
        record_marks(household, household.add(number), Series.DAILY, {day: late, day + 3 * ONE_DAY: late})
    due = queue.due(calls_per_hour=SMALL)
    assert [queue.publish(due.claim_repairs()) for _ in range(2)] == [20, 0], "a tenth of an hour's quota, 20 at least"
    job, name = queue.waiting[0]
    assert (name, job["start"], job["end"]) == ("repair", "2024-07-10", "2024-07-14")


@pytest.mark.parametrize(
    ("now", "start"),
    [("2024-07-25T08:29", "2024-07-24"), ("2024-07-25T08:30", "2024-07-25"), ("2024-07-26T00:10", "2024-07-25")],
)
def test_a_night_lasts_until_the_next_begins(now: str, start: str) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=PARIS)
    expected = datetime.combine(date.fromisoformat(start), time(8, 30), PARIS)
    assert night_start(moment, time(8, 30)) == expected


def test_a_further_series_takes_no_room_from_the_usual_ones(queue: DueQueue, accounts: list[str]) -> None:
    registry = queue.household.registry
    registry.outcomes.switch(accounts[0], Series.REGISTERS, SeriesSwitch.ON, queue.household.at)
    due = queue.due(calls_per_hour=SMALL).claim_night(queue.household.at)
    assert len(due.jobs) == most_waiting(SMALL) and due.more
    asked = Counter(job["series"] for job in due.jobs)
    assert asked == {"registers": 1, "load_curve": 10, "daily": 9}


def test_the_room_of_a_lane_is_shared_by_its_histories(queue: DueQueue, accounts: list[str]) -> None:
    registry = queue.household.registry
    for account_id in accounts:
        registry.outcomes.switch(account_id, Series.MAX_POWER, SeriesSwitch.ON, queue.household.at)
    begun = Counter(series for _, series in queue.due(calls_per_hour=SMALL).list_histories())
    assert begun == {Series.DAILY: 20, Series.MAX_POWER: 5, Series.LOAD_CURVE: 15}
