"""What else wants the quota in a simulated week: new homes, old histories, open days to be asked for again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random
from typing import Final

from benchmarks.fleet_seed import CURVE_DAYS, add_accounts
from benchmarks.simulated.ages import Ages, Ids
from benchmarks.simulated.clock import HOUR_US, SECOND_US, SimulatedClock, paris_us
from benchmarks.simulated.lanes import Lane, Work, Workers
from worker.domain.measures.readings import ONE_DAY, DateWindow, Series
from worker.domain.measures.windows import MAX_WINDOW_DAYS, plan_history, split_window
from worker.runtime.process import Runtime

FIRST_HOUR, LAST_HOUR = 8, 20  # in which people connect their meters
REPAIRED_A_DAY: Final = 0.01  # of the fleet's days


@dataclass(slots=True, eq=False)
class Home:
    """``left``: windows of its history still to be asked for, the next one last."""

    account_id: str
    arrived_us: int
    left: list[tuple[Series, DateWindow]]
    ready_us: int = 0


@dataclass(eq=False)
class Homes:
    """``started_before`` have their totals already and wait for their curves; ``most_waiting`` as in the fan-out."""

    clock: SimulatedClock
    workers: Workers
    runtime: Runtime
    ids: Ids
    ages: dict[Series, Ages]
    most_waiting: int
    started_before: deque[Home]
    accounts: int = 0  # in the registry; and the number of the next meter
    arrived: list[Home] = field(default_factory=list)
    parked: list[Work] = field(default_factory=list)
    calls_done: int = 0
    _luck: Random = field(default_factory=lambda: Random(66))

    # -- arrivals

    def expect(self, ids: Sequence[str], first_day: date, days: int) -> None:
        """They arrive evenly over the hours in which people are awake."""
        for account_id in ids:
            day = first_day + timedelta(days=self._luck.randrange(days))
            hour = FIRST_HOUR + (LAST_HOUR - FIRST_HOUR) * self._luck.random()
            self.clock.at(paris_us(day, hour), self._arrive, account_id)

    def _arrive(self, account_id: str) -> None:
        add_accounts(self.runtime, [account_id], self.clock.now(), self.accounts)
        self.accounts += 1
        today = self.clock.local().date()
        home = Home(account_id, self.clock.us, [*curve_windows(today), *_windows(today, Series.DAILY)])
        self.arrived.append(home)
        self._next(home)

    def _next(self, home: Home) -> None:
        if home.left:
            series, window = home.left.pop()
            lane = "first_screen" if series is Series.DAILY else "backfill"
            self.workers.put(self.workers.lanes[lane], Work(home.account_id, series, window, about=home))

    def done(self, work: Work) -> None:
        """The chain's end starts the next window, as in ``tasks.backfill``."""
        home: Home = work.about
        self.calls_done += 1
        self.runtime.state.mark_done(work.account_id, work.series, work.window)
        if work.window.end > self.clock.local().date() - ONE_DAY:  # the newest window comes first
            self.ages[work.series].reached(self.ids.place(work.account_id), work.window.end.toordinal() - 1)
        if not home.ready_us and all(series is not Series.DAILY for series, _ in home.left):
            home.ready_us = self.clock.us
        self._next(home)

    # -- open days

    def expect_repairs(self, hours: int) -> None:
        """Some days of some accounts, the same number each hour."""
        for hour in range(hours):
            self.clock.at(self.clock.us + hour * HOUR_US + HOUR_US // 2, self._open_days)

    def _open_days(self) -> None:
        expected = self.accounts * REPAIRED_A_DAY / 24
        count = int(expected) + (self._luck.random() < expected % 1)
        day = self.clock.local().date() - timedelta(days=10)
        for _ in range(count):
            place = self._luck.randrange(len(self.ids))
            work = Work(self.ids[place], self._luck.choice(list(Series)), DateWindow(day, day + ONE_DAY))
            self.workers.put(self.workers.lanes["repair"], work)

    def repaired(self, work: Work) -> None:
        self.calls_done += 1

    # -- what waits

    def dropped(self, work: Work, after_us: int) -> None:
        """The reconciler finds it when its claim is over."""
        self.clock.at(self.clock.us + max(after_us, SECOND_US), self.parked.append, work)

    @property
    def waiting(self) -> bool:
        return bool(self.parked or self.started_before)

    def put_waiting(self) -> None:
        """What the reconciler does each minute."""
        again, self.parked = self.parked, []
        for work in again:
            self.workers.put(self._lane_of(work), work)
        room = self.most_waiting - len(self.workers.lanes["backfill"].queue)
        for _ in range(min(room, len(self.started_before))):
            self._next(self.started_before.popleft())

    def _lane_of(self, work: Work) -> Lane:
        if work.about is None:
            return self.workers.lanes["repair"]
        return self.workers.lanes["first_screen" if work.series is Series.DAILY else "backfill"]


def curve_windows(today: date) -> list[tuple[Series, DateWindow]]:
    """Oldest first, for the next one stands last."""
    return _windows(today, Series.LOAD_CURVE)


def _windows(today: date, series: Series) -> list[tuple[Series, DateWindow]]:
    wanted = plan_history(today, series, CURVE_DAYS)
    assert wanted is not None
    return [(series, window) for window in split_window(wanted, MAX_WINDOW_DAYS[series])]


def started(ids: Iterable[str], today: date, begin_us: int) -> deque[Home]:
    return deque(Home(each, begin_us, curve_windows(today), begin_us) for each in ids)
