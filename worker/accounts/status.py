"""How accounts stand, for whoever shows it: the command line, the API, the pages."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from worker.accounts.notice_texts import CURVE_NOT_ACTIVATED
from worker.domain.consent.accounts import Account, AccountState
from worker.domain.measures.readings import DateWindow, Series
from worker.domain.measures.windows import subtract_windows
from worker.runtime.process import Runtime


def standing(runtime: Runtime, account: Account) -> dict[str, Any]:
    """State, history and last outcome of each series, as ``releve status --json`` prints them.

    May read an account's history back from the store, where a lost Redis forgot it.
    """
    outcomes = runtime.registry.outcomes(account.id)
    series: dict[str, Any] = {}
    for name in Series:
        missing = runtime.history.missing(account.id, name)
        done, total = runtime.history.days(account.id, name)
        outcome = outcomes.get(name)
        series[name.value] = {
            "loaded": not missing,
            "done": done,
            "total": total,
            "last_day": outcome.last_day.isoformat() if outcome and outcome.last_day else None,
            "last_success": outcome.last_success_at.isoformat() if outcome and outcome.last_success_at else None,
            "error": outcome.code if outcome else None,
            "message": outcome.message if outcome and outcome.code else None,
        }
    no_curve = account.active and runtime.registry.completeness.missing_curve(account.id) is not None
    return {
        "account": account.id,
        "state": account.state.value,
        "reason": account.reason,
        "hint": CURVE_NOT_ACTIVATED if no_curve else "",  # no error, and yet something its owner can do
        "series": series,
    }


@dataclass(frozen=True, slots=True)
class SeriesProgress:
    """Days of the wanted history that are done; ``error`` is the code of the last failure, None after a success."""

    done: int
    total: int
    error: str | None


@dataclass(frozen=True, slots=True)
class AccountProgress:
    """How far an account's first sync has come."""

    account_id: str
    state: AccountState
    reason: str
    series: dict[Series, SeriesProgress]

    @property
    def loaded(self) -> bool:
        return all(part.done == part.total for part in self.series.values())


def progress_of(runtime: Runtime, account_ids: Collection[str]) -> dict[str, AccountProgress]:
    """The progress of many accounts in two queries and one round trip to Redis; removed ones have no entry.

    After a loss of Redis the days count as not done until somebody asks for the account's ``standing``, or the
    reconciler comes by.
    """
    accounts = runtime.registry.some(account_ids)
    living = [account for account in accounts.values() if account.state is not AccountState.DELETED]
    outcomes = runtime.registry.outcomes_of([account.id for account in living])
    pairs = [(account.id, name) for account in living for name in Series]
    done = dict(
        zip(pairs, runtime.state.done_windows_of([(account, name.value) for account, name in pairs]), strict=True)
    )
    wanted = {name: runtime.history.wanted(name) for name in Series}
    found = {}
    for account in living:
        series = {}
        for name in Series:
            outcome = outcomes[account.id].get(name)
            days = _count_days(wanted[name], done[account.id, name])
            series[name] = SeriesProgress(*days, outcome.code if outcome else None)
        found[account.id] = AccountProgress(account.id, account.state, account.reason, series)
    return found


def _count_days(wanted: DateWindow | None, done: list[DateWindow]) -> tuple[int, int]:
    if wanted is None:
        return 0, 0
    return wanted.days - sum(window.days for window in subtract_windows(wanted, done)), wanted.days
