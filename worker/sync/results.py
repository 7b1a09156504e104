"""Records the result of a window, success or failure, and decides when its series is due again.

Everything here may be repeated after a crash with the same result. The retries within a task, seconds apart, are in
``worker.domain.retry``; the tries here come after them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from worker.accounts.refusals import CONFIRMATION_INTERVAL, RefusalPolicy, Ruling
from worker.domain import messages
from worker.domain.answers import Deviation, DeviationKind
from worker.domain.calls import BY_HAND, AnswerClass, Call, call_to_fields, classify_answer
from worker.domain.comparison import FinishedAnswer, RecentAnswers
from worker.domain.completeness import mark_days
from worker.domain.documents import REMOVED, Entry
from worker.domain.messages import (
    REPAIR,
    WindowJob,
    WindowResult,
    Writes,
    is_backfill,
    is_look_back,
    run_kind,
    series_of,
    window_fields,
    window_of,
)
from worker.domain.notice import NoticeKind
from worker.domain.retry import WINDOW_DELAYS
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, civil_date
from worker.errors import (
    AccountError,
    ConsentEnded,
    DataError,
    GatewayBanned,
    IncidentOpen,
    OperatorFault,
    RateLimited,
    SeriesNotOffered,
    StoreUnavailable,
    UnknownAccount,
    WorkerError,
)
from worker.logs import fields
from worker.metrics import CORRECTIONS, DOCUMENTS, DROPPED, READINGS, STORED, WINDOWS, error_kind
from worker.stores.registry.outcomes import DueChanges, RunOutcome
from worker.stores.registry.supplier_answers import Correction
from worker.sync.claims import WindowClaims
from worker.sync.incidents import Incidents

log = logging.getLogger("releve.sync")
A_DAY: Final = timedelta(days=1)
_QUARTER_OF_AN_HOUR: Final = timedelta(minutes=15)
_NO_WAIT: Final = timedelta(minutes=1)
# A second refusal confirms the first only after CONFIRMATION_INTERVAL; the tries are spread over this time.
_AFTER_REFUSAL: Final = {Ruling.PENDING: CONFIRMATION_INTERVAL / 4, Ruling.INCIDENT: CONFIRMATION_INTERVAL}
_NOT_OF_THIS_METER: Final = "by its contract, this meter is not read often enough, or in the right way, for this series"


class NextTry(NamedTuple):
    """When a failed window is tried again.

    ``at``: the moment; None for the next night. ``counts``: whether the failure ends the series' turn and is added to
    the series' failures; False if a store, the quota or the operator is to blame.
    """

    at: datetime | None
    counts: bool


@dataclass(frozen=True, kw_only=True)
class ResultRecorder:
    """Records corrections, results and failures.

    Before the readings are written, ``record_corrections`` stores the values that they replace. After all documents of
    a window are written, ``record_result`` records in this order:

    1. in the registry: the outcome, the marks of its days and when the series is due again; a success also clears the
       account's pending refusals, and the first answer makes a new account ready;
    2. in Redis: the state of the series, and whether its history is loaded;
    3. if the answer is a contract, the end of each series that the meter lacks; then the claim is released;
    4. in the quarantine: a value that was set aside, with a notice to the operator;
    5. the metrics and the log line.

    Until the claim is released, no other process publishes the window. When a window is given up for now,
    ``record_failure`` records the refusal, the outcome with the next try, and the state, releases the claim, and logs a
    line.
    """

    claims: WindowClaims
    refusals: RefusalPolicy
    incidents: Incidents
    report: Callable[[Deviation, str], None]

    def recent_answers(self, job: WindowJob) -> RecentAnswers:
        return self.claims.registry.outcomes.recent_answers(job["account_id"], messages.series_of(job))

    def record_corrections(self, writes: Writes, entries: Sequence[Entry]) -> None:
        """Store the values that these readings will replace. A crash after the replacement would lose these values."""
        answered_at, series = datetime.fromisoformat(writes["facts"]["fetched_at"]), messages.series_of(writes)
        corrections = [
            Correction(
                writes["account_id"],
                series.inputs,
                entry.key,
                entry.replaced_amount,
                entry.amount,
                datetime.fromisoformat(entry.created_at) if entry.created_at else None,
                answered_at,
                writes["run_id"],
            )
            for entry in entries
            if entry.replaced_amount is not None
        ]
        self.claims.registry.corrections.record(corrections)
        CORRECTIONS.labels(series).inc(sum(one.was_amount != REMOVED for one in corrections))

    def withdraw_corrections(self, job: WindowJob, stored: Mapping[str, int]) -> None:
        self.claims.registry.corrections.withdraw(
            job["account_id"], messages.series_of(job).inputs, job["run_id"], stored
        )

    def record_result(self, result: WindowResult) -> None:
        account_id, window, now = result["account_id"], messages.window_of(result), self.claims.now()
        series, facts = messages.series_of(result), result["facts"]
        floor = date.fromisoformat(facts["floor"]) if facts["floor"] else None
        answer = classify_answer(facts["fetched"], facts["dropped"], floor)
        asked_at = datetime.fromtimestamp(facts["asked_at"], UTC)
        activated_on = facts.get("activated_on")  # Messages of the previous version lack this field.
        history = self.claims.registry.outcomes.record(
            account_id,
            series.value,
            result["run_id"],
            now,
            RunOutcome(
                code=None,
                last_day=date.fromisoformat(facts["last_day"]) if facts["last_day"] else None,
                stored=facts["fetched"] > 0,
                days=mark_days(
                    window, facts["open"], civil_date(now), floor, facts["set_aside"], series.description.open_days
                ),
                floor=floor,
                wanted=self.claims.history.wanted_window(series),
                due_changes=due_after_success(result, answer, asked_at, now),
                answer=FinishedAnswer.of(result),
                confirms=answer.is_answer,
                activated_on=date.fromisoformat(activated_on) if activated_on else None,
            ),
        )
        done, total = history.count()
        self.claims.progress.record_success(
            account_id,
            series.value,
            Call(datetime.fromisoformat(facts["fetched_at"]), window, answer, messages.run_kind(result) or BY_HAND),
            history.loaded,
            brief=messages.is_look_back(result),
            state="ok",
            window=str(window),
            run_id=result["run_id"],
            error="",
            last_success=now.isoformat(timespec="seconds"),
            done=str(done),
            total=str(total),
        )
        self._end_lacking(result, now)
        self.claims.release([result])
        if facts["set_aside"]:
            sample = [{"day": day, "milliwatt_hours": energy} for day, energy in facts["set_aside"].items()]
            deviation = Deviation(DeviationKind.VALUE, series.value, "more than a meter can deliver", sample)
            self.report(deviation, series.description.supplier)
            extra = fields(**window_fields(result), days=sorted(facts["set_aside"]))
            what = "step" if series.has_steps else "daily value"
            log.warning("%s set aside: more than a meter can deliver", what, extra=extra)
        _log_stored(result, now)

    def _end_lacking(self, result: WindowResult, now: datetime) -> None:
        """End the series that the meter lacks according to the answer. Only a contract names such series."""
        account_id = result["account_id"]
        for name in result["facts"].get("lacks", ()):  # Messages of the previous version lack this field.
            if self.claims.registry.outcomes.end_lacking(account_id, Series(name), _NOT_OF_THIS_METER, now):
                code = SeriesNotOffered.code
                self.claims.progress.record_task(account_id, name, state="ended", run_id=result["run_id"], error=code)
                extra = fields(**{**window_fields(result), "series": name}, outcome="ended", code=code)
                log.info("series ended", extra=extra)

    def record_failure(self, job: WindowJob, error: WorkerError) -> None:
        """Record that the window is given up for now, and why; no other account is affected."""
        account_id, series = job["account_id"], messages.series_of(job)
        WINDOWS.labels(error_kind(error), series).inc()
        now = self.claims.now()
        if isinstance(error, IncidentOpen):
            # No request was sent to the supplier, so the window is still due.
            self.claims.release([job])
            log.info("window held", extra=fields(**window_fields(job), outcome="held", reason=str(error)))
            return
        if isinstance(error, UnknownAccount | ConsentEnded):
            # Nothing may be stored about an account that was removed meanwhile. If the consent has ended, no request
            # was sent, so no call is recorded and no turn is over.
            outcome = "removed" if isinstance(error, UnknownAccount) else error.kind
            if isinstance(error, ConsentEnded):
                with suppress(UnknownAccount):
                    self.refusals.record_refusal(account_id, error)
            self.claims.release([job])
            log.info("window dropped", extra=fields(**window_fields(job), outcome=outcome, code=error.code))
            return
        if isinstance(error, GatewayBanned):
            self.refusals.tell_operator(NoticeKind.GATEWAY_BANNED, "gateway", civil_date(now))
        incident = self.incidents.record_excused(error, series)
        ruling = (
            self.refusals.record_refusal(account_id, error, during_incident=incident is not None)
            if isinstance(error, AccountError) and self._speaks_for_account(account_id, series)
            else None
        )
        window, answer = messages.window_of(job), error.answer_class
        ended = isinstance(error, SeriesNotOffered) and self.claims.registry.outcomes.end(
            account_id, series, job["run_id"], str(error), now
        )
        # While an incident holds the series, nothing is published. The outcome isn't recorded, because the window must
        # be due as soon as the incident is over.
        if not ended and (incident is None or not incident.holds):
            self.claims.registry.outcomes.record(
                account_id,
                series.value,
                job["run_id"],
                now,
                RunOutcome(
                    code=error.code,
                    message=str(error),
                    due_changes=self._due_after_failure(job, error, ruling, now, excused=incident is not None),
                ),
            )
        outcome = "ended" if ended else "waiting" if isinstance(error, RateLimited) else "failed"
        self.claims.progress.record_task(
            account_id,
            series.value,
            state=outcome,
            window=str(window),
            run_id=job["run_id"],
            error=error.code,
            **call_to_fields(Call(now, window, answer, messages.run_kind(job) or BY_HAND)),
        )
        self.claims.release([job])
        line = "series ended" if ended else "window postponed" if outcome == "waiting" else "window failed"
        during = {"incident": incident.value} if incident else {}
        extra = fields(**window_fields(job), outcome=outcome, code=error.code or None, reason=str(error), **during)
        log.log(logging.WARNING if outcome == "failed" else logging.INFO, line, extra=extra)

    def _speaks_for_account(self, account_id: str, series: Series) -> bool:
        """Return whether a refusal of this series counts as a refusal of the account.

        It does if the series is marked ``speaks_for_account``, such as daily energy. Another series may be refused only
        because the consent or the application lacks its API. Such a refusal counts only if the account collects no
        marked series: a refusal of the whole account would show in a marked series too.
        """
        if series.description.speaks_for_account:
            return True
        collected = self.claims.registry.outcomes.collected(account_id)
        return not any(other.description.speaks_for_account for other in collected)

    def _due_after_failure(
        self, job: WindowJob, error: WorkerError, ruling: Ruling | None, now: datetime, *, excused: bool
    ) -> DueChanges:
        account_id, series = job["account_id"], messages.series_of(job)
        if is_backfill(job):
            return DueChanges(history_due_at=self._next_history_try(job, error, ruling, now))
        outcome = self.claims.registry.outcomes.load(account_id).get(series)
        failures = 0 if excused or outcome is None else outcome.failures
        return due_after_failure(job, next_try(error, failures, now, ruling), failures, error.answer_class, now)

    def _next_history_try(self, job: WindowJob, error: WorkerError, ruling: Ruling | None, now: datetime) -> datetime:
        """Count the failure of a history's window, and return when the history continues with its next window."""
        account_id, series, window = job["account_id"], messages.series_of(job), messages.window_of(job)
        failures = self.claims.progress.failures(account_id, series)
        after = next_try(error, failures.get(window, 0), now, ruling)
        if after.counts:
            self.claims.progress.count_failure(account_id, series, window)
            if isinstance(error, DataError):
                # Only this window is to blame: the other windows may go on.
                tried = {window, *failures}
                known = self.claims.history.load(account_id, series)[series]
                if any(missing not in tried for missing in self.claims.history.reachable_windows(account_id, known)[0]):
                    return now
        return after.at or now + A_DAY


def _log_stored(result: WindowResult, now: datetime) -> None:
    """Count and log a stored window.

    This comes last: if a step before it fails, everything is repeated, and counted then. ``duration_s`` counts from the
    call to the supplier.
    """
    series, facts = result["series"], result["facts"]
    WINDOWS.labels(STORED, series).inc()
    READINGS.labels(series).inc(facts["fetched"])
    DROPPED.labels(series).inc(facts["dropped"])
    changes = {"created": result["created"], "updated": result["updated"]}
    changes |= {"removed": result["removed"], "unchanged": result["unchanged"]}
    for change, number in changes.items():
        DOCUMENTS.labels(change, series).inc(number)
    extra = fields(
        **window_fields(result),
        fetched=facts["fetched"],
        **changes,
        dropped=facts["dropped"],
        differing=facts["differing"],
        left_out=result["left_out"] + facts["left_out"],
        duration_s=round(max(0.0, now.timestamp() - facts["asked_at"]), 3),
        outcome="stored",
    )
    log.info("window stored", extra=extra)


def next_try(error: WorkerError, failures: int, now: datetime, ruling: Ruling | None = None) -> NextTry:
    """Return when to try again after ``failures`` earlier failures in a row; ``ruling``: what the refusal led to."""
    if isinstance(error, OperatorFault):
        # The operator needs time to act, and further calls would fail too.
        return NextTry(now + _QUARTER_OF_AN_HOUR, counts=False)
    if isinstance(error, RateLimited | StoreUnavailable):
        return NextTry(now + max(timedelta(seconds=error.retry_after_s or 0), _NO_WAIT), counts=False)
    if isinstance(error, AccountError):
        wait = None if ruling is None else _AFTER_REFUSAL.get(ruling)
        return NextTry(now + wait if wait else None, counts=True)
    if isinstance(error, DataError) or failures >= len(WINDOW_DELAYS):
        # The same call would give the same answer, or no try is left: the next night tries again.
        return NextTry(None, counts=True)
    asked = timedelta(seconds=getattr(error, "retry_after_s", None) or 0)
    return NextTry(now + max(WINDOW_DELAYS[failures], asked), counts=True)


def due_after_success(job: WindowJob, answer: AnswerClass, asked_at: datetime, now: datetime) -> DueChanges:
    """Return the changes that a stored window, requested at ``asked_at``, makes to its series' due times.

    After a window of the history, the history continues at once; after any other window, it continues at the time
    already set.
    """
    changes = DueChanges(history_due_at=now) if is_backfill(job) else DueChanges()
    if is_look_back(job) or _is_turn(job, now):
        changes |= DueChanges(asked_at=asked_at, last_answer=answer.value, again_at=None, failures=0)
    return changes


def due_after_failure(job: WindowJob, after: NextTry, failures: int, answer: AnswerClass, now: datetime) -> DueChanges:
    """Return the changes that a failed window makes to its series' due times.

    ``failures``: how many windows in a row failed before this one.
    """
    if run_kind(job) == REPAIR and after.counts:
        # The open days are requested again after the series' usual number of nights.
        return DueChanges(next_ask=civil_date(now) + series_of(job).description.cadence_nights * ONE_DAY)
    if not is_look_back(job):
        return DueChanges()
    if not after.counts:
        # The turn is not over: the series keeps its place and waits.
        return DueChanges(again_at=after.at)
    return DueChanges(asked_at=now, last_answer=answer.value, again_at=after.at, failures=failures + 1)


def _is_turn(job: WindowJob, now: datetime) -> bool:
    """Return whether a window of the history also counts as the series' turn.

    True if the series is not requested every night and the window includes the last days. The next night then need not
    request these days again.
    """
    series, window = series_of(job), window_of(job)
    return is_backfill(job) and not series.is_nightly and window.end >= civil_date(now)
