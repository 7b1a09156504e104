"""Workers on a simulated clock: a few agents for each queue, which do what a task does with a window.

An agent is a thread with a message.  It takes a permit from the real ledger, sends its call at the permit's time, and
handles a failure as ``tasks.base.WindowTask`` does: with a countdown, or with the real result recorder.
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
from benchmarks.simulated.waiting_time import WaitingTime
from tasks.base import SHORTEST_COUNTDOWN_S
from worker.domain.fleet.backoff import LONGEST_DELAY_S, MAX_RETRIES, retry_delay_s
from worker.domain.fleet.lanes import current_quota_lane, enter_lane
from worker.domain.measures.messages import NIGHTLY, WindowJob, new_run_id, window_of
from worker.domain.measures.readings import DateWindow, Series
from worker.errors import IncidentOpen, RateLimited, SupplierUnavailable, WorkerError
from worker.quota.ledger import MAX_WAIT_S, QuotaLedger
from worker.sync.attempts import ATTEMPT_COST, attempts_run
from worker.sync.incidents import Incidents
from worker.sync.results import ResultRecorder

CALL_US: Final = 400_000
_BEHIND_S: Final = 0.01
_LONGEST_S: Final = 1.2 * LONGEST_DELAY_S  # Of a countdown in ``tasks.base``.


@dataclass(slots=True, eq=False)
class QueuedWindow:
    """A window in a queue; ``context`` is what its owner needs at its end."""

    account_id: str
    series: Series
    window: DateWindow
    night: date | None = None
    context: Any = None
    retries: int = 0


@dataclass(eq=False)
class Lane:
    """A queue and its agents.

    ``idle`` agents have nothing to do.  Until ``asleep_until_us`` none may ask for a permit, since one was refused.
    ``finish_window`` is called at a window's end, ``drop_window`` when it is given up and due again after some µs.
    """

    name: str
    idle: int
    finish_window: Callable[[QueuedWindow], None]
    drop_window: Callable[[QueuedWindow, int], None]
    still_due: Callable[[QueuedWindow], bool] = lambda item: True
    queue: deque[QueuedWindow] = field(default_factory=deque)
    asleep_until_us: int = 0


class Workers:
    """The agents of all lanes, with the real ledger, incidents and result recorder."""

    def __init__(
        self,
        clock: SimulatedClock,
        ledger: QuotaLedger,
        supplier: Supplier,
        incidents: Incidents,
        recorder: ResultRecorder,
    ) -> None:
        self.clock, self.ledger, self.supplier = clock, ledger, supplier
        self.incidents, self.recorder = incidents, recorder
        self.lanes: Mapping[str, Lane] = {}
        self.waiting_time = WaitingTime(clock)
        self.answers_matter: Callable[[int], bool] = lambda at_us: True
        self.counts: Counter[str] = Counter()
        self._random = Random(6).random
        self.gate_closed_at_us = -(1 << 60)  # When a refusal closed the gate last.

    def enqueue(self, lane: Lane, item: QueuedWindow, *, first: bool = False) -> None:
        (lane.queue.appendleft if first else lane.queue.append)(item)
        self.waiting_time.add()
        self._wake(lane)

    def _wake(self, lane: Lane) -> None:
        if lane.idle and lane.queue and self.clock.us >= lane.asleep_until_us:
            lane.idle -= 1
            self.clock.schedule_at(self.clock.us, self._take_window, lane)

    def to_job(self, lane: Lane, item: QueuedWindow) -> WindowJob:
        claim = f"{item.series}/{NIGHTLY}:{item.night}" if item.night else f"{item.series}/{lane.name}"
        return WindowJob(
            account_id=item.account_id,
            series=item.series.value,
            start=item.window.start.isoformat(),
            end=item.window.end.isoformat(),
            run_id=new_run_id(self.clock.now()),
            claim=claim,
        )

    # -- One window

    def _take_window(self, lane: Lane) -> None:
        """Take a permit for the next window and schedule its call.

        When the ledger refuses a permit, the whole lane sleeps until the time it names; after a permit for later, the
        lane sleeps until then.  Real workers ask the ledger all the time, which gives the same permits for more
        requests (``benchmarks/quota.py``).
        """
        enter_lane(lane.name)
        while self.clock.us >= lane.asleep_until_us and (item := self._next(lane)):
            if self.incidents.is_held(item.series):
                self._hold(lane, item)
                continue
            decision = self.ledger.try_permit(API, MAX_WAIT_S)
            self.counts["asked"] += 1
            if decision.permit is not None:
                self.waiting_time.remove()
                at_us = self.clock.us + round(decision.wait_s * SECOND_US)
                self.clock.schedule_at(at_us, self._send, lane, item, decision.permit, self.clock.us)
                self._sleep(lane, decision.wait_s + _BEHIND_S if decision.wait_s else 0.0)
                return
            if decision.retry_in_s > _LONGEST_S:
                self.waiting_time.remove()
                self._give_up(lane, item, RateLimited("no permit in time", retry_after_s=decision.retry_in_s))
                continue
            lane.queue.appendleft(item)
            self._sleep(lane, max(decision.retry_in_s, 0.001))
        lane.idle += 1

    def _sleep(self, lane: Lane, seconds: float) -> None:
        """Let no agent of the lane ask for a permit meanwhile."""
        lane.asleep_until_us = self.clock.us + math.ceil(seconds * SECOND_US)
        self.clock.schedule_at(lane.asleep_until_us, self._wake, lane)

    def _next(self, lane: Lane) -> QueuedWindow | None:
        while lane.queue:
            item = lane.queue.popleft()
            if lane.still_due(item):
                return item
            self.counts["not due any more"] += 1
            self.waiting_time.remove()
        return None

    def _send(self, lane: Lane, item: QueuedWindow, permit: str, taken_us: int) -> None:
        if self.gate_closed_at_us >= taken_us:  # As the ledger's ``take_permit`` does after its sleep.
            self.ledger.release_permit(permit)
            self.counts["given back"] += 1
            self._retry(lane, item, RateLimited("gate closed", retry_after_s=self.ledger.closed_for_s()))
            self._take_window(lane)
            return
        enter_lane(lane.name)
        error = self.supplier.answer(self.clock.us, current_quota_lane())
        self.clock.schedule_at(self.clock.us + CALL_US, self._end, lane, item, permit, error)

    def _end(self, lane: Lane, item: QueuedWindow, permit: str, error: WorkerError | None) -> None:
        if error is None:
            if item.retries:
                self._clear_attempts(item)
            if self.answers_matter(self.clock.us):  # Far from an incident an answer has no effect.
                self.incidents.record_answer(self.to_job(lane, item), usable=True)
            lane.finish_window(item)
        else:
            if isinstance(error, RateLimited):
                self.close_gate(error, permit)
            self.incidents.record_failure(self.to_job(lane, item), error)
            self._retry(lane, item, error)
        self._take_window(lane)

    def close_gate(self, error: RateLimited, permit: str) -> None:
        """Close the gate, as the supplier session does after a refusal."""
        self.ledger.close_gate(error.retry_after_s or 60.0, permit)
        self.gate_closed_at_us = self.clock.us
        self.counts["gate closed by"] += 1

    # -- Failures

    def _retry(self, lane: Lane, item: QueuedWindow, error: WorkerError) -> None:
        wait_s = error.retry_after_s if isinstance(error, RateLimited | SupplierUnavailable) else None
        delay_s = retry_delay_s(item.retries, wait_s, self._random)
        retries_used_up = item.retries >= MAX_RETRIES and not isinstance(error, RateLimited)
        if delay_s > _LONGEST_S or retries_used_up:
            self._give_up(lane, item, error)
            return
        item.retries += 1
        self.clock.schedule_after(max(delay_s, SHORTEST_COUNTDOWN_S), self._requeue, lane, item)

    def _requeue(self, lane: Lane, item: QueuedWindow) -> None:
        self.enqueue(lane, item, first=True)

    def _hold(self, lane: Lane, item: QueuedWindow) -> None:
        self.waiting_time.remove()
        try:
            self.incidents.raise_if_held(self.to_job(lane, item))
        except IncidentOpen as error:
            self.counts["held"] += 1
            self._give_up(lane, item, error)
            return
        raise AssertionError("held, and yet admitted")

    def _give_up(self, lane: Lane, item: QueuedWindow, error: WorkerError) -> None:
        """Record the failure with the real recorder, and drop the window for as long as its claim would be kept."""
        origin = self.to_job(lane, item)
        run = attempts_run(self.clock.now())
        self.recorder.progress.count_attempt(
            item.account_id, item.series.value, window_of(origin), run=run, times=ATTEMPT_COST
        )  # As when it was published.
        self.recorder.record_failure(origin, error)
        self.counts["given up for now"] += not isinstance(error, IncidentOpen)
        wait_s = getattr(error, "retry_after_s", None) or 0.0
        is_held = self.incidents.is_held(item.series)
        item.retries = 0
        after_us = 0 if is_held else round(wait_s * SECOND_US)
        if after_us:  # It still counts as waiting until then.
            self.waiting_time.add()
            self.clock.schedule_at(self.clock.us + after_us, self.waiting_time.remove)
        lane.drop_window(item, after_us)

    def _clear_attempts(self, item: QueuedWindow) -> None:
        run = attempts_run(self.clock.now())
        self.recorder.progress.clear_attempts(item.account_id, item.series.value, item.window, run=run)
