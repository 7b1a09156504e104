"""The result of a window, good or bad, as it is recorded: history, outcome, state, claim, metrics and log line.

Everything here may be repeated after a crash and gives the same.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from worker.accounts.refusals import RefusalPolicy, Ruling
from worker.domain.fleet.incidents import NO_INCIDENTS, IncidentGate, IncidentKind
from worker.domain.fleet.outcomes import Call, call_to_fields, classify_error, run_of
from worker.domain.measures import messages
from worker.domain.measures.completeness import DayMark, mark_days, unpack_open_days
from worker.domain.measures.documents import Entry
from worker.domain.measures.messages import WindowJob, WindowResult, Writes, window_fields
from worker.domain.measures.readings import PARIS
from worker.errors import (
    AccountError,
    IncidentOpen,
    OperatorFault,
    RateLimited,
    TransientError,
    UnknownAccount,
    WorkerError,
)
from worker.logs import fields
from worker.metrics import CORRECTIONS, DOCUMENTS, DROPPED, READINGS, STORED, WINDOWS, error_kind
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.corrections import Correction, CorrectionTable
from worker.sync.attempts import ATTEMPT_COST, WAIT_AFTER_REFUSAL_S, attempts_run, failure_cost
from worker.sync.history import History
from worker.sync.result_fields import finished_run_fields, floor_of, night_served, stored_fields, to_call

log = logging.getLogger("releve.sync")

# Runs over all accounts: nobody waits for the end of one of their windows.
_FLEET_RUNS: Final = ("nightly", "catch-up")


@dataclass(frozen=True, kw_only=True)
class ResultRecorder:
    """A recorder of corrections, results and failures.

    Before the readings are written, ``record_corrections`` stores the values that they replace. After all documents of
    a window are written, ``record_result`` records in this order:

    1. the window as done in the history, in Redis, and that the account is no longer refused;
    2. the outcome and the marks of its days, in the registry;
    3. the state of the series and the night, in Redis, where the attempts are deleted and the claim is released;
    4. the metrics and the log line.

    Until the claim is released, no other process publishes the window. When a window fails for good,
    ``record_failure`` records the refusal, the outcome, the state and the cost of the attempt, releases or holds the
    claim, and logs a line.
    """

    registry: AccountRegistry
    progress: ProgressStore
    history: History
    now: Callable[[], datetime]
    refusals: RefusalPolicy
    corrections: CorrectionTable
    incidents: IncidentGate = NO_INCIDENTS

    def record_corrections(self, writes: Writes, entries: Sequence[Entry]) -> None:
        """Store the values that these readings are going to replace; after a crash nobody would know them."""
        answered_at, series = datetime.fromisoformat(writes["facts"]["fetched_at"]), messages.series_of(writes)
        corrections = [
            Correction(
                writes["account_id"],
                series.inputs,
                entry.key,
                entry.replaced_milliwatt_hours,
                entry.milliwatt_hours,
                datetime.fromisoformat(entry.created_at) if entry.created_at else None,
                answered_at,
                writes["run_id"],
            )
            for entry in entries
            if entry.replaced_milliwatt_hours is not None
        ]
        self.corrections.record(corrections)
        CORRECTIONS.labels(series).inc(len(corrections))

    def record_result(self, result: WindowResult) -> None:
        """Record that the window is stored, and release its claim."""
        done = self._mark_done(result)
        now = self.now()
        self._record_outcome(result, now)
        with self.progress.batch() as progress:
            self._record_progress(progress, result, done, now)
        _log_stored(result, now)

    def _mark_done(self, result: WindowResult) -> tuple[int, int]:
        """Return the days done and the days wanted of the history."""
        account_id, window = result["account_id"], messages.window_of(result)
        done = self.history.mark_done(account_id, messages.series_of(result), window, floor_of(result))
        self.refusals.clear_refusals(account_id)
        return done

    def _record_outcome(self, result: WindowResult, now: datetime) -> None:
        facts = result["facts"]
        self.registry.record_outcome(
            result["account_id"],
            result["series"],
            result["run_id"],
            now,
            code=None,
            message="",
            last_day=date.fromisoformat(facts["last_day"]) if facts["last_day"] else None,
            stored=facts["fetched"] > 0,
            days=self._day_marks(result, floor_of(result)),
        )

    def _record_progress(
        self, progress: ProgressStore, result: WindowResult, days: tuple[int, int], now: datetime
    ) -> None:
        account_id, series, window = result["account_id"], result["series"], messages.window_of(result)
        call, night = to_call(result, floor_of(result)), night_served(result)
        progress.record_success(
            account_id,
            series,
            call,
            brief=call.run in _FLEET_RUNS,
            state="ok",
            window=str(window),
            run_id=result["run_id"],
            error="",
            last_success=now.isoformat(timespec="seconds"),
            done=str(days[0]),
            total=str(days[1]),
            **finished_run_fields(result),
        )
        if night is not None:
            progress.record_night(account_id, series, night, call)
        progress.clear_attempts(account_id, series, window, run=attempts_run(now))
        _release_claim(progress, result)

    def _day_marks(self, result: WindowResult, floor: date | None) -> dict[date, DayMark]:
        facts, window = result["facts"], messages.window_of(result)
        if "open" not in facts:
            # The message was written by a version without this key.
            return {}
        today = self.now().astimezone(PARIS).date()
        return mark_days(messages.series_of(result), window, unpack_open_days(window, facts["open"]), today, floor)

    def record_failure(self, job: WindowJob, error: WorkerError) -> None:
        """Record that the window is given up for now, and why; no other account is touched."""
        account_id, series = job["account_id"], messages.series_of(job)
        WINDOWS.labels(error_kind(error), series).inc()
        now = self.now()
        if isinstance(error, UnknownAccount):
            # The account was removed meanwhile, and nothing may be stored about it.
            _release_claim(self.progress, job)
            log.info("window dropped", extra=fields(**window_fields(job), outcome="removed", code=error.code))
            return
        if isinstance(error, IncidentOpen):
            self._undo_claim(job, error)
            return
        incident = self.incidents.excuses(series, error)
        ruling = (
            self.refusals.record_refusal(account_id, error, during_incident=incident is not None)
            if isinstance(error, AccountError)
            else None
        )
        if error.code:
            self.registry.record_outcome(
                account_id,
                series.value,
                job["run_id"],
                now,
                code=error.code,
                message=str(error),
                last_day=None,
                stored=False,
            )
        window = messages.window_of(job)
        self.progress.record_task(
            account_id,
            series.value,
            state="waiting" if isinstance(error, RateLimited) else "failed",
            window=str(window),
            run_id=job["run_id"],
            error=error.code,
            **{"failed_run": job["claim"]} if job["claim"] else {},
            **call_to_fields(Call(now, window, classify_error(error), run_of(job["claim"]))),
        )
        if cost := failure_cost(job, error, excused=incident is not None or ruling is Ruling.INCIDENT):
            self.progress.count_attempt(account_id, series.value, window, run=attempts_run(now), times=cost)
        self._release_or_hold(job, error, ruling, incident)
        waits = isinstance(error, RateLimited)
        log.log(
            logging.INFO if waits else logging.WARNING,
            "window postponed" if waits else "window failed",
            extra=fields(
                **window_fields(job),
                outcome="waiting" if waits else "failed",
                code=error.code or None,
                reason=str(error),
                **{"incident": incident.value} if incident else {},
            ),
        )

    def _undo_claim(self, job: WindowJob, error: IncidentOpen) -> None:
        """Leave the window as if it had not been published, because the supplier was not asked.

        This is cheap: during an incident a whole queue may end here.
        """
        if job["claim"]:
            window = messages.window_of(job)
            run = attempts_run(self.now())
            self.progress.count_attempt(job["account_id"], job["series"], window, run=run, times=-ATTEMPT_COST)
        _release_claim(self.progress, job)
        log.info("window held", extra=fields(**window_fields(job), outcome="held", reason=str(error)))

    def _release_or_hold(
        self, job: WindowJob, error: WorkerError, ruling: Ruling | None, incident: IncidentKind | None
    ) -> None:
        """Release the claim, or hold it as long as the supplier or a pending refusal asks to wait.

        While it is held, nobody tries again. While an incident holds the series, nothing is published anyway; after it
        the window must be due at once, so its claim is released.
        """
        if incident is not None and incident.holds:
            _release_claim(self.progress, job)
            return
        wait_s = error.retry_after_s if isinstance(error, TransientError) else WAIT_AFTER_REFUSAL_S.get(ruling)
        claim = messages.split_claim(job["claim"] or "")
        if job["claim"] and isinstance(error, OperatorFault):
            # Until the claim expires: the operator needs some time, and further calls would only fail too.
            self.progress.hold_claim(job["account_id"], *claim, holder=job["run_id"])
        elif job["claim"] and wait_s is not None and wait_s >= 1:
            self.progress.extend_claim(job["account_id"], *claim, math.ceil(wait_s), holder=job["run_id"])
        else:
            _release_claim(self.progress, job)


def _release_claim(progress: ProgressStore, job: WindowJob) -> None:
    if job["claim"]:
        progress.release_claim(job["account_id"], *messages.split_claim(job["claim"]), holder=job["run_id"])


def _log_stored(result: WindowResult, now: datetime) -> None:
    """Count and log a stored window. Comes last: after an earlier failure all is done again, and counted then."""
    series, facts = result["series"], result["facts"]
    WINDOWS.labels(STORED, series).inc()
    READINGS.labels(series).inc(facts["fetched"])
    DROPPED.labels(series).inc(facts["dropped"])
    DOCUMENTS.labels("created", series).inc(result["created"])
    DOCUMENTS.labels("updated", series).inc(result["updated"])
    DOCUMENTS.labels("unchanged", series).inc(result["unchanged"])
    log.info("window stored", extra=fields(**stored_fields(result, now)))
