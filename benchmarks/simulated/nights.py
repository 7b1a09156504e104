"""The nights of a simulated week: the real fan-out with a deque in place of the broker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

from benchmarks.simulated.ages import AccountIds, Ages
from benchmarks.simulated.clock import SimulatedClock
from benchmarks.simulated.lanes import Lane, QueuedWindow, Workers
from worker.domain.fleet.outcomes import AnswerClass, Call
from worker.domain.fleet.policy import FleetPolicy, look_back
from worker.domain.measures.messages import NIGHTLY
from worker.domain.measures.readings import Series
from worker.runtime.process import Runtime
from worker.sync.due import FanOut, Night, night_progress

BEGINS_AT: Final = 8 * 60 + 30  # Minutes of the day in Paris.
VALUES_OUT_AT: Final = 8  # Hour of the day at which yesterday's values are out and simulated days begin.
_BATCH: Final = 2_000


@dataclass(frozen=True, slots=True)
class Backlog:
    """Accounts of one series whose turn has not been served, and the nights that the oldest of them has waited.

    A turn waits from its night on, or from when its window was requeued.
    """

    waiting: int
    accounts: int
    oldest_nights: int


@dataclass(eq=False)
class Nights:
    """The fan-out's nights and the windows in flight.

    ``in_flight`` holds windows that are published and not recorded as done, as claims do for real workers.
    ``requeued_nights`` holds, by account and series, the last night in which an outage or a refusal dropped a window.
    """

    clock: SimulatedClock
    workers: Workers
    runtime: Runtime
    policy: FleetPolicy
    ids: AccountIds
    ages: dict[Series, Ages]
    fan_out: FanOut = field(init=False)
    newest: date = date.min
    complete: date = date.min
    fed: bool = True
    in_flight: set[tuple[str, Series]] = field(default_factory=set)
    requeued_nights: dict[tuple[int, Series], int] = field(default_factory=dict)
    _finished: list[tuple[QueuedWindow, date, Call]] = field(default_factory=list)

    @property
    def lane(self) -> Lane:
        return self.workers.lanes[NIGHTLY]

    def feed(self) -> None:
        """Do what ``nightly_sync`` does every few seconds: begin a night at its hour, and publish more of it.

        The real task publishes whenever the queue has space; half of the queue is enough for this clock.
        """
        local = self.clock.local()
        if local.date() > self.newest and local.hour * 60 + local.minute >= BEGINS_AT:
            self.newest, self.fed = local.date(), False
        if self.fed or len(self.lane.queue) > self.fan_out.most_waiting // 2 or self.fan_out.is_held():
            return
        self.flush()
        self.fed = self.fan_out.feed(Night(self.newest))

    def publish_missing(self) -> None:
        """Do what ``resume_night`` does every minute; while windows of the night wait, none can be lost."""
        night = Night(self.newest)
        if self.fed and self.complete != self.newest and not self.lane.queue:
            self.flush()
            self.fan_out.publish_missing(night)
            if night_progress(self.runtime.progress, night).complete:
                self.complete = self.newest

    def publish(self, pairs: Sequence[tuple[str, Series]], run: str) -> int:
        due = [pair for pair in pairs if pair not in self.in_flight]
        self.in_flight.update(due)
        night, today = date.fromisoformat(run.partition(":")[2]), self.clock.local().date()
        for account_id, series in due:
            index = self.ids.index_of(account_id)
            self.workers.enqueue(self.lane, QueuedWindow(account_id, series, look_back(today, series), night, index))
        return len(due)

    def still_due(self, item: QueuedWindow) -> bool:
        """Return whether the window is still due, for the newest night, as ``ClaimPolicy.refresh_window`` does."""
        item.night = self.newest
        item.window = look_back(self.clock.local().date(), item.series)
        if self.ages[item.series].last_nights[item.context] < self.newest.toordinal():
            return True
        self.in_flight.discard((item.account_id, item.series))
        return False

    def finish_window(self, item: QueuedWindow) -> None:
        """Record a window as the result recorder does, in batches of some thousand windows."""
        local = self.clock.local()
        today = local.date()
        values_out = local.hour >= VALUES_OUT_AT
        assert item.night is not None
        night = max(item.night, today) if values_out else item.night  # The next night need not ask again.
        newest_day = today.toordinal() - (1 if values_out else 2)
        self.ages[item.series].record_look_back(item.context, night, today, newest_day)
        call = Call(self.clock.now(), item.window, AnswerClass.DATA, NIGHTLY)
        self._finished.append((item, night, call))
        if len(self._finished) >= _BATCH:
            self.flush()

    def drop_window(self, item: QueuedWindow, after_us: int) -> None:
        pair = (item.account_id, item.series)
        self.requeued_nights[item.context, item.series] = self.newest.toordinal()
        if after_us:
            self.clock.schedule_at(self.clock.us + after_us, self.in_flight.discard, pair)
        else:
            self.in_flight.discard(pair)

    def flush(self) -> None:
        """Write the finished windows to Redis; only then they are no longer in flight."""
        if not self._finished:
            return
        with self.runtime.progress.batch() as batch:
            for item, night, call in self._finished:
                batch.record_night(item.account_id, item.series, night, call)
        self.in_flight.difference_update((item.account_id, item.series) for item, _, _ in self._finished)
        self._finished.clear()

    # -- Results

    def backlog(self, series: Series, last: date) -> Backlog:
        """Return the backlog at the end of the night of ``last``, without the week's new accounts."""
        waiting = accounts = oldest = 0
        end, every = last.toordinal(), timedelta(days=self.policy.every(series))
        for index, last_night in enumerate(self.ages[series].last_nights):
            accounts += bool(last_night)
            if not last_night or last_night >= end:
                continue
            night = date.fromordinal(last_night)
            turn = self.policy.last_turn(self.ids[index], series, night + every).toordinal()  # The next turn.
            if turn <= end:
                waiting += 1
                since = max(turn, self.requeued_nights.get((index, series), 0))
                oldest = max(oldest, end - since + 1)
        return Backlog(waiting, accounts, oldest)
