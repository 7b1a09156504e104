"""When a series is due again after a window has ended, and when a window that failed is tried again.

The tries inside a task, seconds apart, are in ``worker.domain.fleet.backoff``; these come after them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from worker.accounts.refusals import CONFIRMATION_INTERVAL, Ruling
from worker.domain.fleet.backoff import WINDOW_DELAYS
from worker.domain.fleet.outcomes import AnswerClass
from worker.domain.measures.messages import REPAIR, WindowJob, is_backfill, is_look_back, split_claim
from worker.domain.measures.readings import ONE_DAY, PARIS
from worker.errors import AccountError, DataError, OperatorFault, RateLimited, StoreUnavailable, WorkerError

A_DAY: Final = timedelta(days=1)
_QUARTER_OF_AN_HOUR: Final = timedelta(minutes=15)
_NO_WAIT: Final = timedelta(minutes=1)
# Spread over the time after which a second refusal confirms the first.
_AFTER_REFUSAL: Final = {Ruling.PENDING: CONFIRMATION_INTERVAL / 4, Ruling.INCIDENT: CONFIRMATION_INTERVAL}


class NextTry(NamedTuple):
    """When a failed window is tried again.

    ``at``: the moment; None for the next night. ``counts``: whether the series was asked, so that its turn is over and
    the failure is one of its own; false where a store, the quota or an operator is to blame.
    """

    at: datetime | None
    counts: bool


def next_try(error: WorkerError, failures: int, now: datetime, ruling: Ruling | None = None) -> NextTry:
    """Return when to try again after ``failures`` earlier failures in a row; ``ruling``: what the refusal led to."""
    if isinstance(error, OperatorFault):
        # The operator needs some time, and further calls would only fail too.
        return NextTry(now + _QUARTER_OF_AN_HOUR, counts=False)
    if isinstance(error, RateLimited | StoreUnavailable):
        return NextTry(now + max(timedelta(seconds=error.retry_after_s or 0), _NO_WAIT), counts=False)
    if isinstance(error, AccountError):
        wait = None if ruling is None else _AFTER_REFUSAL.get(ruling)
        return NextTry(now + wait if wait else None, counts=True)
    if isinstance(error, DataError) or failures >= len(WINDOW_DELAYS):
        # The same call would give the same answer.
        return NextTry(None, counts=True)
    asked = timedelta(seconds=getattr(error, "retry_after_s", None) or 0)
    return NextTry(now + max(WINDOW_DELAYS[failures], asked), counts=True)


def due_after_success(row: Any, job: WindowJob, answer: AnswerClass, loaded: bool, now: datetime) -> dict[str, Any]:
    """Return the columns of ``series_outcomes`` that change after a window is stored; ``row``: as it was before.

    ``loaded``: whether the whole history is. If days are missing again, after a pause or a loss of Redis, it goes on.
    """
    changes: dict[str, Any] = {}
    if loaded or is_backfill(job) or row.history_due_at is None:
        changes["history_due_at"] = None if loaded else now
    if is_look_back(job):
        changes |= {"asked_at": now, "last_answer": answer.value, "again_at": None, "failures": 0}
    return changes


def due_after_failure(
    row: Any, job: WindowJob, after: NextTry, history_due_at: datetime | None, answer: AnswerClass, now: datetime
) -> dict[str, Any]:
    """Return the columns of ``series_outcomes`` that change after a window failed; ``row``: as it was before."""
    if history_due_at is not None:
        return {"history_due_at": history_due_at}
    if split_claim(job["claim"])[0] == REPAIR:
        # Open days are asked for again tomorrow.
        return {"next_ask": now.astimezone(PARIS).date() + ONE_DAY} if after.counts and row.next_ask else {}
    if not is_look_back(job):
        return {}
    if not after.counts:
        # The turn is not over: the series keeps its place, and waits.
        return {"again_at": after.at}
    return {"asked_at": now, "last_answer": answer.value, "again_at": after.at, "failures": row.failures + 1}
