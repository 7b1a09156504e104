"""Workers on a simulated clock: a few agents for each queue, which do what a task does with a window.

An agent is a thread with a message.  It asks the real ledger, sends its call when the permit says, and does with a
failure what ``tasks.base.WindowTask`` does: a countdown, or the real journal.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from random import Random
from typing import Any, Final

from benchmarks.simulated.clock import SECOND_US, SimulatedClock
from benchmarks.simulated.supplier import API, Supplier
from benchmarks.simulated.waiting import Waiting
from tasks.base import MAX_RETRIES, SHORTEST_COUNTDOWN_S
from worker.domain.fleet.backoff import LONGEST_DELAY_S, retry_delay_s
from worker.domain.fleet.lanes import current_quota_lane, enter_lane
from worker.domain.measures.messages import NIGHTLY, WindowJob, window_of
from worker.domain.measures.readings import DateWindow, Series
from worker.errors import IncidentOpen, RateLimited, SupplierUnavailable, WorkerError
from worker.quota.ledger import MAX_WAIT_S, QuotaLedger
from worker.sync.claims import new_run_id
from worker.sync.incidents import Incidents
from worker.sync.results import TRY, ResultRecorder, attempts_run

CALL_US: Final = 400_000
_BEHIND_S: Final = 0.01
_LONGEST_S: Final = 1.2 * LONGEST_DELAY_S  # of a countdown, in ``tasks.base``


@dataclass(slots=True, eq=False)
class Work:
    """A window in a queue; ``about``: what its owner has to know at its end."""

    account_id: str
    series: Series
    window: DateWindow
    night: date | None = None
    about: Any = None
    retries: int = 0


@dataclass(eq=False)
class Lane:
    """``idle`` agents have nothing to do; until ``asleep_until_us`` none may ask, for one was sent away.

    ``done`` at a window's end; ``dropped`` where it is given up, to be due again after some µs.
    """

    name: str
    idle: int
    done: Callable[[Work], None]
    dropped: Callable[[Work, int], None]
    still_due: Callable[[Work], bool] = lambda work: True
    queue: deque[Work] = field(default_factory=deque)
    asleep_until_us: int = 0


class Workers:
    def __init__(
        self,
        clock: SimulatedClock,
        ledger: QuotaLedger,
        supplier: Supplier,
        incidents: Incidents,
        journal: ResultRecorder,
    ) -> None:
        self.clock, self.ledger, self.supplier = clock, ledger, supplier
        self.incidents, self.journal = incidents, journal
        self.lanes: Mapping[str, Lane] = {}
        self.waiting = Waiting(clock)
        self.watched: Callable[[int], bool] = lambda at_us: True
        self.tally: Counter[str] = Counter()
        self._luck = Random(6).random
        self.shut_us = -(1 << 60)  # when a refusal closed the gate last

    def put(self, lane: Lane, work: Work, *, first: bool = False) -> None:
        (lane.queue.appendleft if first else lane.queue.append)(work)
        self.waiting.more()
        self._wake(lane)

    def _wake(self, lane: Lane) -> None:
        if lane.idle and lane.queue and self.clock.us >= lane.asleep_until_us:
            lane.idle -= 1
            self.clock.at(self.clock.us, self._ask, lane)

    def origin(self, lane: Lane, work: Work) -> WindowJob:
        claim = f"{work.series}/{NIGHTLY}:{work.night}" if work.night else f"{work.series}/{lane.name}"
        return WindowJob(
            account_id=work.account_id,
            series=work.series.value,
            start=work.window.start.isoformat(),
            end=work.window.end.isoformat(),
            run_id=new_run_id(self.clock.now()),
            claim=claim,
        )

    # -- one window

    def _ask(self, lane: Lane) -> None:
        """Whoever is sent away comes again when the ledger says, and the others of the lane behind it.

        And who has booked ahead goes before the next asks.  In a fleet all of them ask all the time: the same permits
        for more questions (``benchmarks/quota.py``).
        """
        enter_lane(lane.name)
        while self.clock.us >= lane.asleep_until_us and (work := self._next(lane)):
            if self.incidents.is_held(work.series):
                self._hold(lane, work)
                continue
            decision = self.ledger.take(API, MAX_WAIT_S)
            self.tally["asked"] += 1
            if decision.permit is not None:
                self.waiting.less()
                at_us = self.clock.us + round(decision.wait_s * SECOND_US)
                self.clock.at(at_us, self._send, lane, work, decision.permit, self.clock.us)
                self._sleep(lane, decision.wait_s + _BEHIND_S if decision.wait_s else 0.0)
                return
            if decision.come_again_s > _LONGEST_S:
                self.waiting.less()
                self._give_up(lane, work, RateLimited("no permit in time", retry_after_s=decision.come_again_s))
                continue
            lane.queue.appendleft(work)
            self._sleep(lane, max(decision.come_again_s, 0.001))
        lane.idle += 1

    def _sleep(self, lane: Lane, seconds: float) -> None:
        """Nobody of the lane asks meanwhile."""
        lane.asleep_until_us = self.clock.us + math.ceil(seconds * SECOND_US)
        self.clock.at(lane.asleep_until_us, self._wake, lane)

    def _next(self, lane: Lane) -> Work | None:
        while lane.queue:
            work = lane.queue.popleft()
            if lane.still_due(work):
                return work
            self.tally["not due any more"] += 1
            self.waiting.less()
        return None

    def _send(self, lane: Lane, work: Work, permit: str, taken_us: int) -> None:
        if self.shut_us >= taken_us:  # as the ledger's ``enter`` does after its sleep
            self.ledger.give_back(permit)
            self.tally["given back"] += 1
            self._again(lane, work, RateLimited("gate closed", retry_after_s=self.ledger.closed_for_s()))
            self._ask(lane)
            return
        enter_lane(lane.name)
        error = self.supplier.answer(self.clock.us, current_quota_lane())
        self.clock.at(self.clock.us + CALL_US, self._end, lane, work, permit, error)

    def _end(self, lane: Lane, work: Work, permit: str, error: WorkerError | None) -> None:
        if error is None:
            if work.retries:
                self._forget_tries(work)
            if self.watched(self.clock.us):  # long before an incident nothing is learnt from an answer
                self.incidents.answered(self.origin(lane, work), usable=True)
            lane.done(work)
        else:
            if isinstance(error, RateLimited):
                self.close(error, permit)
            self.incidents.failed(self.origin(lane, work), error)
            self._again(lane, work, error)
        self._ask(lane)

    def close(self, error: RateLimited, permit: str) -> None:
        """What the session does with a refusal."""
        self.ledger.close(error.retry_after_s or 60.0, permit)
        self.shut_us = self.clock.us
        self.tally["gate closed by"] += 1

    # -- what did not come about

    def _again(self, lane: Lane, work: Work, error: WorkerError) -> None:
        asked_s = error.retry_after_s if isinstance(error, RateLimited | SupplierUnavailable) else None
        delay_s = retry_delay_s(work.retries, asked_s, self._luck)
        tried_enough = work.retries >= MAX_RETRIES and not isinstance(error, RateLimited)
        if delay_s > _LONGEST_S or tried_enough:
            self._give_up(lane, work, error)
            return
        work.retries += 1
        self.clock.after(max(delay_s, SHORTEST_COUNTDOWN_S), self._come_again, lane, work)

    def _come_again(self, lane: Lane, work: Work) -> None:
        self.put(lane, work, first=True)

    def _hold(self, lane: Lane, work: Work) -> None:
        self.waiting.less()
        try:
            self.incidents.admit(self.origin(lane, work))
        except IncidentOpen as error:
            self.tally["held"] += 1
            self._give_up(lane, work, error)
            return
        raise AssertionError("held, and yet admitted")

    def _give_up(self, lane: Lane, work: Work, error: WorkerError) -> None:
        """By the real journal; how long the claim is kept then, this does as that."""
        origin = self.origin(lane, work)
        run = attempts_run(self.clock.now())
        self.journal.state.count_attempt(
            work.account_id, work.series.value, window_of(origin), run=run, times=TRY
        )  # as when it was published
        self.journal.failed(origin, error)
        self.tally["given up for now"] += not isinstance(error, IncidentOpen)
        wait_s = getattr(error, "retry_after_s", None) or 0.0
        held = self.incidents.is_held(work.series)
        work.retries = 0
        after_us = 0 if held else round(wait_s * SECOND_US)
        if after_us:  # it waits all the same
            self.waiting.more()
            self.clock.at(self.clock.us + after_us, self.waiting.less)
        lane.dropped(work, after_us)

    def _forget_tries(self, work: Work) -> None:
        run = attempts_run(self.clock.now())
        self.journal.state.clear_attempts(work.account_id, work.series.value, work.window, run=run)
