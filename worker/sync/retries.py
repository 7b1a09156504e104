"""When a series is due again after a window has ended, and when a window that failed is tried again.

The tries inside a task, seconds apart, are in ``worker.domain.retry``; these come after them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from worker.accounts.refusals import CONFIRMATION_INTERVAL, Ruling
from worker.domain.calls import AnswerClass
from worker.domain.messages import REPAIR, WindowJob, is_backfill, is_look_back, run_kind, series_of, window_of
from worker.domain.retry import WINDOW_DELAYS
from worker.domain.windows import ONE_DAY, civil_date
from worker.errors import AccountError, DataError, OperatorFault, RateLimited, StoreUnavailable, WorkerError
from worker.stores.registry.outcomes import DueChanges

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


def due_after_success(
    job: WindowJob, answer: AnswerClass, asked_at: datetime, loaded: bool, now: datetime
) -> DueChanges:
    """Return when a series is due again after a window is stored that was asked for at ``asked_at``.

    ``loaded``: whether the whole history is. If days are missing again, after a pause or a loss of Redis, it goes on.
    """
    changes = DueChanges()
    if loaded or is_backfill(job):
        changes["history_due_at"] = None if loaded else now
    else:
        changes["history_due_if_loaded"] = now
    if is_look_back(job) or _is_turn(job, now):
        changes |= DueChanges(asked_at=asked_at, last_answer=answer.value, again_at=None, failures=0)
    return changes


def due_after_failure(job: WindowJob, after: NextTry, failures: int, answer: AnswerClass, now: datetime) -> DueChanges:
    """Return when a series is due again after a window failed; ``failures``: how many failed in a row before it."""
    if run_kind(job) == REPAIR and after.counts:
        # Open days are asked for again tomorrow, or with the series' next turn.
        return DueChanges(next_ask=civil_date(now) + series_of(job).description.cadence_nights * ONE_DAY)
    if not is_look_back(job):
        return DueChanges()
    if not after.counts:
        # The turn is not over: the series keeps its place, and waits.
        return DueChanges(again_at=after.at)
    return DueChanges(asked_at=now, last_answer=answer.value, again_at=after.at, failures=failures + 1)


def _is_turn(job: WindowJob, now: datetime) -> bool:
    """Return whether a window of the history is the turn of a series that is asked for less than every night.

    It asked for the last days: the night need not ask for them once more.
    """
    series, window = series_of(job), window_of(job)
    return is_backfill(job) and not series.is_nightly and window.end >= civil_date(now)
