"""Status and progress of accounts, for the command line, the API and the pages."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from worker.accounts.notice_texts import CURVE_NOT_ACTIVATED
from worker.domain.consent.accounts import Account, AccountState
from worker.domain.measures.readings import DateWindow, Series
from worker.domain.measures.windows import subtract_windows
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry
from worker.sync.history import History


def status_of(account: Account, *, registry: AccountRegistry, history: History) -> dict[str, Any]:
    """Return the state, history and last outcome of each series, as ``releve status --json`` prints them.

    If Redis has lost the account's history, it is read back from the measure store.
    """
    outcomes = registry.load_outcomes(account.id)
    series_status: dict[str, Any] = {}
    for series in Series:
        missing = history.missing_windows(account.id, series)
        done, total = history.count_days(account.id, series)
        outcome = outcomes.get(series)
        series_status[series.value] = {
            "loaded": not missing,
            "done": done,
            "total": total,
            "last_day": outcome.last_day.isoformat() if outcome and outcome.last_day else None,
            "last_success": outcome.last_success_at.isoformat() if outcome and outcome.last_success_at else None,
            "error": outcome.code if outcome else None,
            "message": outcome.message if outcome and outcome.code else None,
            "asked_at": outcome.asked_at.isoformat() if outcome and outcome.asked_at else None,
            "next_try": outcome.again_at.isoformat() if outcome and outcome.again_at else None,
        }
    no_curve = account.active and registry.completeness.find_missing_curve(account.id) is not None
    return {
        "account": account.id,
        "state": account.state.value,
        "reason": account.reason,
        "hint": CURVE_NOT_ACTIVATED if no_curve else "",  # This is no error, but its owner can do something about it.
        "series": series_status,
    }


@dataclass(frozen=True, slots=True)
class SeriesProgress:
    """The days of the wanted history that are done; ``error``: code of the last failure, None after a success."""

    done: int
    total: int
    error: str | None


@dataclass(frozen=True, slots=True)
class AccountProgress:
    """The progress of an account's first sync."""

    account_id: str
    state: AccountState
    reason: str
    series: dict[Series, SeriesProgress]

    @property
    def loaded(self) -> bool:
        return all(progress.done == progress.total for progress in self.series.values())


def progress_of(
    account_ids: Collection[str], *, registry: AccountRegistry, progress: ProgressStore, history: History
) -> dict[str, AccountProgress]:
    """Return the progress of many accounts, without the erased ones, in two queries and one round trip to Redis.

    After a loss of Redis the days count as not done until somebody asks for ``status_of`` the account, or the
    reconciler reaches it.
    """
    accounts = [
        account for account in registry.get_many(account_ids).values() if account.state is not AccountState.DELETED
    ]
    outcomes = registry.load_outcomes_of([account.id for account in accounts])
    pairs = [(account.id, series) for account in accounts for series in Series]
    coverages = progress.coverages([(account_id, series.value) for account_id, series in pairs])
    done = {pair: coverage.windows for pair, coverage in zip(pairs, coverages, strict=True)}
    wanted = {series: history.wanted_window(series) for series in Series}
    progress_by_account = {}
    for account in accounts:
        series_progress = {}
        for series in Series:
            outcome = outcomes[account.id].get(series)
            days = _count_days(wanted[series], done[account.id, series])
            series_progress[series] = SeriesProgress(*days, outcome.code if outcome else None)
        progress_by_account[account.id] = AccountProgress(account.id, account.state, account.reason, series_progress)
    return progress_by_account


def _count_days(wanted: DateWindow | None, done: list[DateWindow]) -> tuple[int, int]:
    """Return how many days of the wanted window are done, and how many there are."""
    if wanted is None:
        return 0, 0
    return wanted.days - sum(window.days for window in subtract_windows(wanted, done)), wanted.days
