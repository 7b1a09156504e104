"""Other work of a simulated week that uses the quota: new homes, old histories, repairs of open days."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random
from typing import Final

from benchmarks.fleet_seed import CURVE_DAYS, add_accounts
from benchmarks.simulated.ages import AccountIds, Ages
from benchmarks.simulated.clock import HOUR_US, SECOND_US, SimulatedClock, paris_us
from benchmarks.simulated.lanes import Lane, QueuedWindow, Workers
from worker.domain.measures.readings import ONE_DAY, DateWindow, Series
from worker.domain.measures.windows import MAX_WINDOW_DAYS, plan_history, split_window
from worker.runtime.process import Runtime

FIRST_HOUR, LAST_HOUR = 8, 20  # People connect their meters between these hours.
REPAIRED_A_DAY: Final = 0.01  # Share of the accounts with an open day to repair.


@dataclass(slots=True, eq=False)
class Home:
    """A household whose history is loaded; ``windows_left`` are its windows to fetch, the next one last."""

    account_id: str
    arrived_us: int
    windows_left: list[tuple[Series, DateWindow]]
    ready_us: int = 0


@dataclass(eq=False)
class Homes:
    """All homes whose history is loaded in the week, and the repairs.

    ``waiting_homes`` have their totals and wait for their curves; ``most_waiting`` is the limit of the fan-out.
    """

    clock: SimulatedClock
    workers: Workers
    runtime: Runtime
    ids: AccountIds
    ages: dict[Series, Ages]
    most_waiting: int
    waiting_homes: deque[Home]
    accounts: int = 0  # Accounts in the registry, and the number of the next meter.
    new_homes: list[Home] = field(default_factory=list)
    dropped: list[QueuedWindow] = field(default_factory=list)
    calls_done: int = 0
    _random: Random = field(default_factory=lambda: Random(66))

    # -- Arrivals

    def schedule_arrivals(self, ids: Sequence[str], first_day: date, days: int) -> None:
        """Schedule arrivals evenly over the hours in which people are awake."""
        for account_id in ids:
            day = first_day + timedelta(days=self._random.randrange(days))
            hour = FIRST_HOUR + (LAST_HOUR - FIRST_HOUR) * self._random.random()
            self.clock.schedule_at(paris_us(day, hour), self._arrive, account_id)

    def _arrive(self, account_id: str) -> None:
        add_accounts(self.runtime, [account_id], self.clock.now(), self.accounts)
        self.accounts += 1
        today = self.clock.local().date()
        home = Home(account_id, self.clock.us, [*curve_windows(today), *_windows(today, Series.DAILY)])
        self.new_homes.append(home)
        self._enqueue_next(home)

    def _enqueue_next(self, home: Home) -> None:
        if home.windows_left:
            series, window = home.windows_left.pop()
            lane = "first_screen" if series is Series.DAILY else "backfill"
            self.workers.enqueue(self.workers.lanes[lane], QueuedWindow(home.account_id, series, window, context=home))

    def finish_window(self, item: QueuedWindow) -> None:
        """Mark a window of history as done and start the next one, as ``tasks.backfill`` does."""
        home: Home = item.context
        self.calls_done += 1
        self.runtime.progress.mark_done(item.account_id, item.series, item.window)
        if item.window.end > self.clock.local().date() - ONE_DAY:  # The newest window comes first.
            self.ages[item.series].record_day(self.ids.index_of(item.account_id), item.window.end.toordinal() - 1)
        if not home.ready_us and all(series is not Series.DAILY for series, _ in home.windows_left):
            home.ready_us = self.clock.us
        self._enqueue_next(home)

    # -- Open days

    def schedule_repairs(self, hours: int) -> None:
        """Schedule repairs of random days, the same number each hour."""
        for hour in range(hours):
            self.clock.schedule_at(self.clock.us + hour * HOUR_US + HOUR_US // 2, self._open_days)

    def _open_days(self) -> None:
        expected = self.accounts * REPAIRED_A_DAY / 24
        count = int(expected) + (self._random.random() < expected % 1)
        day = self.clock.local().date() - timedelta(days=10)
        for _ in range(count):
            index = self._random.randrange(len(self.ids))
            item = QueuedWindow(self.ids[index], self._random.choice(list(Series)), DateWindow(day, day + ONE_DAY))
            self.workers.enqueue(self.workers.lanes["repair"], item)

    def count_repair(self, item: QueuedWindow) -> None:
        self.calls_done += 1

    # -- Dropped and waiting windows

    def drop_window(self, item: QueuedWindow, after_us: int) -> None:
        """Keep a window for the reconciler, which finds it when its claim is over."""
        self.clock.schedule_at(self.clock.us + max(after_us, SECOND_US), self.dropped.append, item)

    @property
    def waiting(self) -> bool:
        return bool(self.dropped or self.waiting_homes)

    def publish_waiting(self) -> None:
        """Publish what waits, as the reconciler does each minute."""
        dropped, self.dropped = self.dropped, []
        for item in dropped:
            self.workers.enqueue(self._lane_of(item), item)
        capacity = self.most_waiting - len(self.workers.lanes["backfill"].queue)
        for _ in range(min(capacity, len(self.waiting_homes))):
            self._enqueue_next(self.waiting_homes.popleft())

    def _lane_of(self, item: QueuedWindow) -> Lane:
        if item.context is None:
            return self.workers.lanes["repair"]
        return self.workers.lanes["first_screen" if item.series is Series.DAILY else "backfill"]


def curve_windows(today: date) -> list[tuple[Series, DateWindow]]:
    """Return the windows of a load curve's history, oldest first: the next one stands last."""
    return _windows(today, Series.LOAD_CURVE)


def _windows(today: date, series: Series) -> list[tuple[Series, DateWindow]]:
    history = plan_history(today, series, CURVE_DAYS)
    assert history is not None
    return [(series, window) for window in split_window(history, MAX_WINDOW_DAYS[series])]


def started_homes(ids: Iterable[str], today: date, begin_us: int) -> deque[Home]:
    return deque(Home(account_id, begin_us, curve_windows(today), begin_us) for account_id in ids)
