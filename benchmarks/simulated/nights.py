"""The nights of a simulated week: the real fan-out, with a deque in place of the broker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

from benchmarks.simulated.ages import Ages, Ids
from benchmarks.simulated.clock import SimulatedClock
from benchmarks.simulated.lanes import Lane, Work, Workers
from worker.domain.fleet.outcomes import AnswerClass, Call
from worker.domain.fleet.policy import FleetPolicy, look_back
from worker.domain.measures.messages import NIGHTLY
from worker.domain.measures.readings import Series
from worker.runtime.process import Runtime
from worker.sync.due import FanOut, Night, night_progress

BEGINS_AT: Final = 8 * 60 + 30  # minutes of the day, in Paris
OUT_AT: Final = 8  # o'clock: yesterday's values; the simulated days begin then too
_BATCH: Final = 2_000


@dataclass(frozen=True, slots=True)
class Backlog:
    """Accounts of one series with a turn that nobody has served, and for how many nights the oldest has waited.

    A turn waits from its night on, or from when its window was given back.
    """

    waiting: int
    accounts: int
    oldest_nights: int


@dataclass(eq=False)
class Nights:
    """``in_flight``: published and not noted as done; what claims are for real workers.

    ``given_back``: the last night in which an outage or a refusal ended a window of this place unasked.
    """

    clock: SimulatedClock
    workers: Workers
    runtime: Runtime
    policy: FleetPolicy
    ids: Ids
    ages: dict[Series, Ages]
    fan_out: FanOut = field(init=False)
    newest: date = date.min
    complete: date = date.min
    fed: bool = True
    in_flight: set[tuple[str, Series]] = field(default_factory=set)
    given_back: dict[tuple[int, Series], int] = field(default_factory=dict)
    _ended: list[tuple[Work, date, Call]] = field(default_factory=list)

    @property
    def lane(self) -> Lane:
        return self.workers.lanes[NIGHTLY]

    def more(self) -> None:
        """What ``nightly_sync`` does every few seconds: a night at its hour, and more of it where there is room.

        A real one looks whenever there is any room; half of it is as much as is asked for meanwhile.
        """
        local = self.clock.local()
        if local.date() > self.newest and local.hour * 60 + local.minute >= BEGINS_AT:
            self.newest, self.fed = local.date(), False
        if self.fed or len(self.lane.queue) > self.fan_out.most_waiting // 2 or self.fan_out.held():
            return
        self.flush()
        self.fed = self.fan_out.feed(Night(self.newest))

    def mend(self) -> None:
        """What ``resume_night`` does every minute; while some of it waits, nothing can be lost."""
        night = Night(self.newest)
        if self.fed and self.complete != self.newest and not self.lane.queue:
            self.flush()
            self.fan_out.mend(night)
            if night_progress(self.runtime.state, night).complete:
                self.complete = self.newest

    def publish(self, pairs: Sequence[tuple[str, Series]], run: str) -> int:
        due = [pair for pair in pairs if pair not in self.in_flight]
        self.in_flight.update(due)
        night, today = date.fromisoformat(run.partition(":")[2]), self.clock.local().date()
        for account_id, series in due:
            place = self.ids.place(account_id)
            self.workers.put(self.lane, Work(account_id, series, look_back(today, series), night, place))
        return len(due)

    def still_due(self, work: Work) -> bool:
        """As ``Dispatcher.as_of_now``: it serves the newest night."""
        work.night = self.newest
        work.window = look_back(self.clock.local().date(), work.series)
        if self.ages[work.series].noted[work.about] < self.newest.toordinal():
            return True
        self.in_flight.discard((work.account_id, work.series))
        return False

    def done(self, work: Work) -> None:
        """As the journal notes it, some thousand windows together."""
        local = self.clock.local()
        today = local.date()
        out = local.hour >= OUT_AT
        assert work.night is not None
        night = max(work.night, today) if out else work.night  # the next one need not ask again
        newest_day = today.toordinal() - (1 if out else 2)
        self.ages[work.series].looked_back(work.about, night, today, newest_day)
        call = Call(self.clock.now(), work.window, AnswerClass.DATA, NIGHTLY)
        self._ended.append((work, night, call))
        if len(self._ended) >= _BATCH:
            self.flush()

    def dropped(self, work: Work, after_us: int) -> None:
        pair = (work.account_id, work.series)
        self.given_back[work.about, work.series] = self.newest.toordinal()
        if after_us:
            self.clock.at(self.clock.us + after_us, self.in_flight.discard, pair)
        else:
            self.in_flight.discard(pair)

    def flush(self) -> None:
        """Write what has ended to Redis; only then it is no more in flight."""
        if not self._ended:
            return
        with self.runtime.state.together() as notes:
            for work, night, call in self._ended:
                notes.note_night(work.account_id, work.series, night, call)
        self.in_flight.difference_update((work.account_id, work.series) for work, _, _ in self._ended)
        self._ended.clear()

    # -- the end

    def backlog(self, series: Series, last: date) -> Backlog:
        """At the end of the night of ``last``; without the accounts that came meanwhile."""
        waiting = accounts = oldest = 0
        end, every = last.toordinal(), timedelta(days=self.policy.every(series))
        for place, noted in enumerate(self.ages[series].noted):
            accounts += bool(noted)
            if not noted or noted >= end:
                continue
            night = date.fromordinal(noted)
            turn = self.policy.last_turn(self.ids[place], series, night + every).toordinal()  # the next one
            if turn <= end:
                waiting += 1
                since = max(turn, self.given_back.get((place, series), 0))
                oldest = max(oldest, end - since + 1)
        return Backlog(waiting, accounts, oldest)
