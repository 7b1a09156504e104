"""Claims on windows: a window that is in flight is not published a second time.

What is due comes from the registry (``worker.sync.due``), never from a message, because a broker may lose or repeat
messages. Publishing a window claims it in Redis; a window that is due but not claimed is published again. A claim ends
when its window is done, when it expires, or when ``drop_lost`` finds that its message is gone.

A job's field ``claim`` consists of the kind of run and the claim's id: ``nightly/1721890000123456``.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, NoReturn

from worker.domain.clock import Clock
from worker.domain.messages import (
    BACKFILL,
    LOOK_BACK,
    LOOK_BACKS,
    REPAIR,
    WindowJob,
    is_backfill,
    is_look_back,
    new_run_id,
    published_at,
    split_claim,
    to_job,
    window_of,
)
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, DateWindow, civil_date, plan_look_back
from worker.errors import StoreUnavailable, WorkerLost
from worker.stores.redis.claims import LOST, ProgressStore, member_of
from worker.stores.redis.heartbeats import ALIVE_S
from worker.stores.registry import Registry
from worker.sync.history import History

# The lane of each kind of run. A history's lane depends on the series: daily values have the lane ``first_screen``,
# because a new account's page shows them first.
NIGHTLY_LANE: Final = "nightly"
REPAIR_LANE: Final = "repair"
HISTORY_LANES: Final = {series: series.description.history_lane.value for series in Series}
LANES: Final = tuple(dict.fromkeys((NIGHTLY_LANE, REPAIR_LANE, *HISTORY_LANES.values())))
_UNLIMITED_BACKLOG: Final = 2_000
# If a claim is older than this, and no message in the broker names the claim, its message is lost. The message of a
# younger claim may still be on its way.
LOST_AFTER_S: Final = 20.0
# If this many workers died in the middle of a step within LOSSES_COUNTED_S, no other worker runs the step.
MOST_LOSSES: Final = 3
LOSSES_COUNTED_S: Final = 3600


def most_waiting(calls_per_hour: int | None, share: int = 6) -> int:
    """Return how many windows of a lane may be in flight.

    This is 1/``share`` of the hourly quota, but at least 20; a fixed number if there is no hourly quota.
    """
    return _UNLIMITED_BACKLOG if calls_per_hour is None else max(20, calls_per_hour // share)


def lane_of(kind: str, series: Series) -> str:
    """Return the lane of a kind of run; its queue has the same name. Raises KeyError for a kind without a lane."""
    if kind == BACKFILL:
        return HISTORY_LANES[series]
    return {**dict.fromkeys(LOOK_BACKS, NIGHTLY_LANE), REPAIR: REPAIR_LANE}[kind]


def queue_of(job: WindowJob) -> str:
    """Return the queue of a window: the lane of its claim, or the repair lane for a window without a claim.

    Windows without a claim were requested by a person or the audit.
    """
    kind, claim = split_claim(job["claim"])
    return lane_of(kind, Series(job["series"])) if claim else REPAIR_LANE


@dataclass(frozen=True, kw_only=True)
class WindowClaims:
    """The claims on windows, and the jobs without a claim that people and probes request.

    ``claim_ttl_s``: seconds after which a claim expires. ``words_in_broker`` returns the words in the arguments of the
    broker's messages, and so each claim that a message names; None if the broker can't tell.
    """

    registry: Registry
    progress: ProgressStore
    history: History
    now: Clock
    claim_ttl_s: int
    words_in_broker: Callable[[], Collection[str] | None] = lambda: None
    is_held: Callable[[Series], bool] = lambda series: False

    def in_flight(self, lane: str) -> Mapping[str, str]:
        """Return the claims of a lane, by account and series (``member_of``); their number is the lane's backlog."""
        return self.progress.claims_in(lane, self.claim_ttl_s)

    def claim(self, kind: str, pairs: Sequence[tuple[str, Series]]) -> dict[tuple[str, Series], str]:
        """Claim pairs of account and series in one lane; return each pair that was free, with the claim for its job."""
        if not pairs:
            return {}
        members = [member_of(account_id, series) for account_id, series in pairs]
        claims = self.progress.claim_windows(lane_of(kind, pairs[0][1]), members, self.claim_ttl_s)
        return {pair: f"{kind}/{claim}" for pair, claim in zip(pairs, claims, strict=True) if claim}

    def to_job(self, account_id: str, series: Series, window: DateWindow, claim: str | None = None) -> WindowJob:
        """Return the job of a window. A job without a claim, such as a person's, never counts as a duplicate."""
        return to_job(account_id, series, window, new_run_id(self.now()), claim)

    def claim_history(self, account_id: str, series: Series) -> WindowJob | None:
        """Claim the next window of a history: the newest of the windows that failed the least often.

        Return None if a window of this history is in flight, an incident holds the series, no more windows may be
        requested today, or the history is complete. If no more may be requested today, the registry notes when the
        history continues.
        """
        if self.is_held(series):
            return None
        known = self.history.load(account_id, series)[series]
        missing, others_at = self.history.reachable_windows(account_id, known)
        is_over = not missing and self.registry.outcomes.set_history_due(account_id, known, others_at)
        self.progress.note_loaded(account_id, series, loaded=is_over and others_at is None)
        if not missing:
            return None
        failures = self.progress.failures(account_id, series)
        window = min(missing, key=lambda window: failures.get(window, 0))
        claim = self.claim(BACKFILL, [(account_id, series)]).get((account_id, series))
        return self.to_job(account_id, series, window, claim) if claim else None

    def confirm(self, job: WindowJob) -> WindowJob | None:
        """Return the job to run now; None if another message has the window's claim, or the window is done.

        A look-back whose message has waited is extended to the present day.
        """
        kind, claim = split_claim(job["claim"])
        if not claim:
            return job
        account_id, series = job["account_id"], Series(job["series"])
        holder = self.progress.claim_of(lane_of(kind, series), member_of(account_id, series))
        if holder is None:
            # The message waited longer than its claim lives, or it is a duplicate for a window that is already done.
            new_claim = (
                None if self._is_done(job) else self.claim(kind, [(account_id, series)]).get((account_id, series))
            )
            if new_claim is None:
                return None
            job = {**job, "claim": new_claim}
        elif holder != claim:
            return None
        elif is_backfill(job) and self._is_done(job):
            # Version 0.2.0 can't see what this version has stored, so it publishes stored windows again.
            self.release([job])
            return None
        if not is_look_back(job):
            return job
        window = plan_look_back(civil_date(self.now()), series, window_of(job).start - ONE_DAY)
        return to_job(account_id, series, window, job["run_id"], job["claim"])

    def release(self, jobs: Sequence[WindowJob]) -> None:
        """Release the claims that these jobs still hold."""
        by_lane: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for job in jobs:
            kind, claim = split_claim(job["claim"])
            if claim:
                series = Series(job["series"])
                by_lane[lane_of(kind, series)][member_of(job["account_id"], series)] = claim
        for lane, claims in by_lane.items():
            self.progress.release_claims(lane, claims)

    def drop_lost(self, *lanes: str) -> int:
        """Drop the claims whose message is lost, for example in a crash of the broker; return their number."""
        old = {lane: self.progress.claims_in(lane, self.claim_ttl_s, older_than_s=LOST_AFTER_S) for lane in lanes}
        # A scan of the broker costs more than all else here, so the broker is scanned only if there are old claims.
        words = self.words_in_broker() if any(old.values()) else None
        if words is None:
            return 0
        lost = {lane: {name: claim for name, claim in old[lane].items() if claim not in words} for lane in old}
        return sum(self.progress.release_claims(lane, claims) for lane, claims in lost.items())

    def _is_done(self, job: WindowJob) -> bool:
        """Return whether the work of a job is already done.

        The job of a history is done if its window is covered. Any other job is done if the series was requested after
        the job was published.
        """
        account_id, series = job["account_id"], Series(job["series"])
        if is_backfill(job):
            return self.history.covers(account_id, series, window_of(job))
        outcome = self.registry.outcomes.load(account_id).get(series)
        return outcome is not None and outcome.updated_at >= published_at(job)

    def claim_look_backs(self, account_id: str) -> list[WindowJob]:
        """Claim the account's look-backs that aren't in flight; none if its consent is over. Raises UnknownAccount."""
        today = civil_date(self.now())
        if self.registry.accounts.get(account_id).refusal_on(today):
            return []
        claims = self.claim(
            LOOK_BACK, [(account_id, series) for series in self.registry.outcomes.collected(account_id)]
        )
        return [self.to_job(*pair, plan_look_back(today, pair[1]), claim) for pair, claim in claims.items()]

    def list_free(self, account_id: str) -> list[Series]:
        """Return the series of the account whose last days aren't in flight, which ``claim_look_backs`` would claim."""
        taken = self.in_flight(NIGHTLY_LANE)
        collected = self.registry.outcomes.collected(account_id)
        return [series for series in collected if member_of(account_id, series) not in taken]

    def manual_look_back(self, account_id: str, series: Series) -> WindowJob:
        """Return the job for the last days of a series, without a claim."""
        return self.to_job(account_id, series, plan_look_back(civil_date(self.now()), series))


@dataclass(frozen=True)
class RunningSteps:
    """The steps that processes have begun. A step is given up if its workers keep dying (the kernel may kill them).

    ``dead_workers`` takes workers and returns those that are not alive. A process is named by its worker and its
    process id: ``host-17-a1b2c3/17``. A step has the same name each time its message is delivered.
    """

    progress: ProgressStore
    dead_workers: Callable[[Collection[str]], Collection[str]]
    _one_suspect: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @contextmanager
    def running(self, step: str, process: str) -> Iterator[None]:
        """Run a step in this block. If the step was begun before and not ended, its worker may have died of it.

        A process runs only one such step at a time. When a worker dies, the steps of its other threads are interrupted
        too, although they did not cause it. If these steps ran beside the guilty step again, all of them would be given
        up with it after three deaths.

        Raises WorkerLost if three processes died in the middle of the step within an hour. Raises StoreUnavailable, so
        that the step is tried again, while it is unknown whether these processes died or only lost their connection.
        """
        with ExitStack() as alone:
            if self.progress.begin_step(step, process, LOSSES_COUNTED_S, most=1):
                alone.enter_context(self._one_suspect)
                begun = set(self.progress.begin_step(step, process, LOSSES_COUNTED_S, MOST_LOSSES)) - {process}
                if len(begun) >= MOST_LOSSES:
                    self._judge(step, begun)
            try:
                yield
            finally:
                # If ``end_step`` fails, the record of the start stays until it expires. The record matters only if the
                # step's message is delivered again before then.
                with suppress(StoreUnavailable):
                    self.progress.end_step(step)

    def _judge(self, step: str, begun: Collection[str]) -> NoReturn:
        workers = [process.partition("/")[0] for process in begun if not process.startswith(LOST)]
        dead = set(self.dead_workers(set(workers)))
        if len(begun) - sum(worker not in dead for worker in workers) < MOST_LOSSES:
            raise StoreUnavailable("several workers have begun this, and may still do it", retry_after_s=ALIVE_S)
        self.progress.end_step(step)
        raise WorkerLost(f"{MOST_LOSSES} workers ended while they did this")
