"""What is remembered of a window's end, good or bad: the history, the account's state, the claim, the log line.

The mark that a window is done comes last of all its writes; everything here can be repeated.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Protocol

from worker.accounts.refusals import APART, Ruling
from worker.domain.fleet.incidents import NO_INCIDENTS, IncidentGate, IncidentKind
from worker.domain.fleet.outcomes import Call, call_note, class_of_answer, class_of_error, run_of
from worker.domain.measures import messages
from worker.domain.measures.completeness import Mark, judge_days, unpack_open
from worker.domain.measures.documents import Entry
from worker.domain.measures.messages import WindowJob, WindowResult, Writes
from worker.domain.measures.readings import ONE_DAY, PARIS, DateWindow
from worker.errors import (
    AccountError,
    DataError,
    IncidentOpen,
    OperatorFault,
    RateLimited,
    StoreUnavailable,
    SupplierUnavailable,
    TransientError,
    UnknownAccount,
    WorkerError,
)
from worker.logs import fields
from worker.metrics import CORRECTIONS, DOCUMENTS, DROPPED, READINGS, STORED, WINDOWS, kind_of
from worker.stores.registry.corrections import Correction
from worker.sync.history import History

log = logging.getLogger("releve.sync")

MOST_ATTEMPTS: Final = 5  # the fifth failure of a window ends it until the next run
TRY: Final = 4  # what a try costs; one that met an outage of the supplier costs 1: minutes must not end the day
MOST_COST: Final = MOST_ATTEMPTS * TRY
_BY_THE_FLEET: Final = ("nightly", "catch-up")  # runs over all accounts, for whose end nobody waits
_PATIENCE_S: Final[dict[Ruling | None, float]] = {  # a day's tries are spread over the time that settles a doubt
    Ruling.DOUBT: APART.total_seconds() / (MOST_ATTEMPTS - 1),
    Ruling.STORM: APART.total_seconds(),
}


class Desk(Protocol):
    """Who judges refusals."""

    def refused(self, account_id: str, error: AccountError, *, spared: bool = False) -> Ruling: ...

    def succeeded(self, account_id: str) -> None: ...


class Registry(Protocol):
    def together(self) -> AbstractContextManager[Registry]: ...

    def record_outcome(
        self,
        account_id: str,
        series: str,
        run_id: str,
        now: datetime,
        *,
        code: str | None,
        message: str,
        last_day: date | None,
        stored: bool,
        days: Mapping[date, Mark] | None = None,
    ) -> object: ...


class Corrections(Protocol):
    def note(self, corrections: Iterable[Correction]) -> None: ...


class TaskNotes(Protocol):
    """The part of SyncState that keeps task state, nights, claims and attempts."""

    def together(self) -> AbstractContextManager[TaskNotes]: ...

    def note_task(self, account_id: str, series: str, **fields: str) -> None: ...

    def note_well(self, account_id: str, series: str, call: Call, *, brief: bool, **fields: str) -> None: ...

    def note_night(self, account_id: str, series: str, night: date, call: Call) -> None: ...

    def release(self, account_id: str, series: str, what: str, *, holder: str) -> None: ...

    def extend(self, account_id: str, series: str, what: str, ttl_s: int, *, holder: str) -> bool: ...

    def keep(self, account_id: str, series: str, what: str, *, holder: str) -> None: ...

    def count_attempt(self, account_id: str, series: str, window: DateWindow, *, run: str, times: int = 1) -> int: ...

    def clear_attempts(self, account_id: str, series: str, window: DateWindow, *, run: str) -> None: ...


def attempts_run(now: datetime) -> str:
    """Attempts are counted anew each day."""
    return now.astimezone(PARIS).date().isoformat()


@dataclass(frozen=True)
class ResultRecorder:
    registry: Registry
    state: TaskNotes
    history: History
    now: Callable[[], datetime]
    desk: Desk
    corrections: Corrections
    watch: IncidentGate = NO_INCIDENTS

    def correcting(self, work: Writes, entries: Sequence[Entry]) -> None:
        """These readings are about to take the place of other values: kept before, for after a crash nobody knows."""
        at, series = datetime.fromisoformat(work["facts"]["fetched_at"]), messages.series_of(work)
        corrections = [
            Correction(
                work["account_id"],
                series.inputs,
                entry.key,
                entry.was,
                entry.milliwatt_hours,
                datetime.fromisoformat(entry.created_at) if entry.created_at else None,
                at,
                work["run_id"],
            )
            for entry in entries
            if entry.was is not None
        ]
        self.corrections.note(corrections)
        CORRECTIONS.labels(series).inc(len(corrections))

    def finished(self, report: WindowResult) -> None:
        """The window is stored: mark it done, release its claim, tell how it went."""
        done = self._mark_done(report)
        now = self.now()
        self._record(self.registry, report, now)
        with self.state.together() as notes:
            self._note(notes, report, done, now)
        _tell(report, now)

    def all_finished(self, reports: Sequence[WindowResult]) -> None:
        """As ``finished`` of each, step by step: the registry notes all in one transaction, or none of them."""
        done = [self._mark_done(report) for report in reports]
        now = self.now()
        with self.registry.together() as registry:
            for report in sorted(reports, key=lambda report: report["account_id"]):  # two at once take turns
                self._record(registry, report, now)
        with self.state.together() as notes:
            for report, days in zip(reports, done, strict=True):
                self._note(notes, report, days, now)
        for report in reports:
            _tell(report, now)

    def _mark_done(self, report: WindowResult) -> tuple[int, int]:
        """Days done and days wanted of the history."""
        account_id, window = report["account_id"], messages.window_of(report)
        done = self.history.finished(account_id, messages.series_of(report), window, _floor(report))
        self.desk.succeeded(account_id)
        return done

    def _record(self, registry: Registry, report: WindowResult, now: datetime) -> None:
        facts = report["facts"]
        registry.record_outcome(
            report["account_id"],
            report["series"],
            report["run_id"],
            now,
            code=None,
            message="",
            last_day=date.fromisoformat(facts["last_day"]) if facts["last_day"] else None,
            stored=facts["fetched"] > 0,
            days=self._marks(report, _floor(report)),
        )

    def _note(self, notes: TaskNotes, report: WindowResult, days: tuple[int, int], now: datetime) -> None:
        account_id, series, window = report["account_id"], report["series"], messages.window_of(report)
        call, night = _answer(report, _floor(report)), _night_served(report)
        notes.note_well(
            account_id,
            series,
            call,
            brief=call.run in _BY_THE_FLEET,
            state="ok",
            window=str(window),
            run_id=report["run_id"],
            error="",
            last_success=now.isoformat(timespec="seconds"),
            done=str(days[0]),
            total=str(days[1]),
            **_run_done(report),
        )
        if night is not None:
            notes.note_night(account_id, series, night, call)
        notes.clear_attempts(account_id, series, window, run=attempts_run(now))
        _release(notes, report)

    def _marks(self, report: WindowResult, floor: date | None) -> dict[date, Mark]:
        facts, window = report["facts"], messages.window_of(report)
        if "open" not in facts:  # a message from before an upgrade
            return {}
        today = self.now().astimezone(PARIS).date()
        return judge_days(messages.series_of(report), window, unpack_open(window, facts["open"]), today, floor)

    def failed(self, origin: WindowJob, error: WorkerError) -> None:
        """The window is given up for now: its account's state says why, others are not touched."""
        account_id, series = origin["account_id"], messages.series_of(origin)
        WINDOWS.labels(kind_of(error), series).inc()
        now = self.now()
        if isinstance(error, UnknownAccount):  # removed meanwhile: there is nothing left to note
            _release(self.state, origin)
            log.info("window dropped", extra=fields(**window_fields(origin), outcome="removed", code=error.code))
            return
        if isinstance(error, IncidentOpen):
            self._put_off(origin, error)
            return
        spared = self.watch.spares(series, error)
        finding = (
            self.desk.refused(account_id, error, spared=spared is not None) if isinstance(error, AccountError) else None
        )
        if error.code:
            self.registry.record_outcome(
                account_id,
                series.value,
                origin["run_id"],
                now,
                code=error.code,
                message=str(error),
                last_day=None,
                stored=False,
            )
        window = messages.window_of(origin)
        self.state.note_task(
            account_id,
            series.value,
            state="waiting" if isinstance(error, RateLimited) else "failed",
            window=str(window),
            run_id=origin["run_id"],
            error=error.code,
            **{"failed_run": origin["claim"]} if origin["claim"] else {},
            **call_note(Call(now, window, class_of_error(error), run_of(origin["claim"]))),
        )
        if cost := _cost_of(origin, error, spared is not None or finding is Ruling.STORM):
            self.state.count_attempt(account_id, series.value, window, run=attempts_run(now), times=cost)
        self._set_down(origin, error, finding, spared)
        waits = isinstance(error, RateLimited)
        log.log(
            logging.INFO if waits else logging.WARNING,
            "window put off" if waits else "window failed",
            extra=fields(
                **window_fields(origin),
                outcome="waiting" if waits else "failed",
                code=error.code or None,
                reason=str(error),
                **{"incident": spared.value} if spared else {},
            ),
        )

    def _put_off(self, origin: WindowJob, error: IncidentOpen) -> None:
        """Nobody was asked: as if it had not been published.  Cheap, for a whole queue may end so."""
        if origin["claim"]:
            window = messages.window_of(origin)
            run = attempts_run(self.now())
            self.state.count_attempt(origin["account_id"], origin["series"], window, run=run, times=-TRY)
        _release(self.state, origin)
        log.info("window held", extra=fields(**window_fields(origin), outcome="held", reason=str(error)))

    def _set_down(
        self, origin: WindowJob, error: WorkerError, finding: Ruling | None, spared: IncidentKind | None
    ) -> None:
        """Release the claim, or keep it as long as the supplier or the desk asks to wait: nobody tries before.

        Of a series that an incident holds nothing is published until it is over, and then it shall be at once.
        """
        if spared is not None and spared.holds:
            _release(self.state, origin)
            return
        wait_s = error.retry_after_s if isinstance(error, TransientError) else _PATIENCE_S.get(finding)
        claim = messages.split_claim(origin["claim"] or "")
        if origin["claim"] and isinstance(error, OperatorFault):
            # until the claim expires: the operator needs a while, and nobody should hammer meanwhile
            self.state.keep(origin["account_id"], *claim, holder=origin["run_id"])
        elif origin["claim"] and wait_s is not None and wait_s >= 1:
            self.state.extend(origin["account_id"], *claim, math.ceil(wait_s), holder=origin["run_id"])
        else:
            _release(self.state, origin)


def _release(notes: TaskNotes, origin: WindowJob) -> None:
    if origin["claim"]:
        notes.release(origin["account_id"], *messages.split_claim(origin["claim"]), holder=origin["run_id"])


def _floor(report: WindowResult) -> date | None:
    floor = report["facts"]["floor"]
    return date.fromisoformat(floor) if floor else None


def _night_served(report: WindowResult) -> date | None:
    """The night whose look-back this was: its own, or that of the day on which it brought yesterday already.

    So what a night that is late has just asked for after midnight, the next one doesn't ask for again.
    """
    night, window, last_day = (
        messages.night_of(report["claim"]),
        messages.window_of(report),
        report["facts"]["last_day"],
    )
    if night is None or last_day is None or date.fromisoformat(last_day) < window.end - ONE_DAY:
        return night
    return max(night, window.end)


def _run_done(report: WindowResult) -> dict[str, str]:
    """A look-back ends its run for the series, noted by the run's kind; a window of the history ends none."""
    scope, run = messages.split_run(report["claim"] or "")
    return {"last_run": f"{scope}/{run}", f"last_{run.partition(':')[0]}": run} if scope == report["series"] else {}


def _answer(report: WindowResult, floor: date | None) -> Call:
    facts = report["facts"]
    answer = class_of_answer(facts["fetched"], facts["dropped"], floor)
    at = datetime.fromisoformat(facts["fetched_at"])
    return Call(at, messages.window_of(report), answer, run_of(report["claim"]))


def _cost_of(origin: WindowJob, error: WorkerError, not_its_fault: bool) -> int:
    """On top of the try that was counted when the window was published."""
    if not_its_fault:
        return -TRY if origin["claim"] else 0
    return _further_cost(error)


def _further_cost(error: WorkerError) -> int:
    if isinstance(error, RateLimited | StoreUnavailable | OperatorFault):  # not this window's failure
        return -TRY
    if isinstance(error, SupplierUnavailable):
        return 1 - TRY
    return MOST_COST if isinstance(error, DataError) else 0  # asking again would give the same


def _tell(report: WindowResult, now: datetime) -> None:
    """Last of all: after a failure before it everything is done again, and counted then."""
    series, facts = report["series"], report["facts"]
    WINDOWS.labels(STORED, series).inc()
    READINGS.labels(series).inc(facts["fetched"])
    DROPPED.labels(series).inc(facts["dropped"])
    DOCUMENTS.labels("created", series).inc(report["created"])
    DOCUMENTS.labels("updated", series).inc(report["updated"])
    DOCUMENTS.labels("unchanged", series).inc(report["unchanged"])
    log.info("window stored", extra=fields(**stored_fields(report, now)))


def window_fields(origin: WindowJob) -> dict[str, str]:
    """Which window a log line is about."""
    return {
        "account_id": origin["account_id"],
        "series": origin["series"],
        "window_start": origin["start"],
        "window_end": origin["end"],
        "run": origin["run_id"],
    }


def stored_fields(report: WindowResult, now: datetime) -> dict[str, str | int | float]:
    """What the log tells of a stored window; ``duration_s`` from the question to the supplier until ``now``."""
    facts = report["facts"]
    return {
        **window_fields(report),
        "fetched": facts["fetched"],
        "created": report["created"],
        "updated": report["updated"],
        "unchanged": report["unchanged"],
        "dropped": facts["dropped"],
        "differing": facts["differing"],
        "duration_s": round(max(0.0, now.timestamp() - facts["asked_at"]), 3),
        "outcome": "stored",
    }
