"""What a home's installation has, what it misses, when it asks next and what ends when, for `releve home`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from worker.accounts.explanations import coverage_of, to_plain
from worker.domain.account import AccountState
from worker.domain.completeness import Coverage, Hole
from worker.domain.schedule import AskingHours, next_look_back
from worker.domain.series import Series
from worker.stores.registry.accounts import AccountRegistry
from worker.sync.history import History, turns_of


@dataclass(frozen=True, slots=True)
class HomeSeries:
    """``missing``: the days of the history that are still to be asked for, and those that may still come.

    ``asked_next`` is None where nothing is asked.
    """

    first: date | None
    last: date | None
    missing: int
    asked_next: datetime | None


@dataclass(frozen=True, slots=True)
class HomeAccount:
    """One meter of the home; ``meter`` has its last four digits alone."""

    account: str
    meter: str | None
    supplier: str
    state: AccountState
    reason: str
    has_token: bool
    token_until: date | None
    series: dict[Series, HomeSeries]


@dataclass(frozen=True, slots=True)
class HomeSummary:
    """``has_password``: whether browsers of other machines can come in."""

    accounts: list[HomeAccount]
    has_password: bool

    def as_json(self) -> dict[str, Any]:
        return {"accounts": [_to_json(account) for account in self.accounts], "password": self.has_password}


def summarize_home(*, registry: AccountRegistry, history: History, supplier: str, has_password: bool) -> HomeSummary:
    """Return the summary; ``supplier``: the one whose accounts need a token each. Raises StoreUnavailable."""
    accounts = []
    for account in registry.list():
        has_token = account.supplier != supplier or registry.tokens.find_token_id(account.id) is not None
        is_asked = account.active and has_token
        accounts.append(
            HomeAccount(
                account=account.id,
                meter=account.last_digits,
                supplier=account.supplier,
                state=account.state,
                reason=account.reason,
                has_token=has_token,
                token_until=account.consent_until,
                series=_series_of(account.id, account.supplier, history, is_asked=is_asked),
            )
        )
    return HomeSummary(accounts, has_password)


def _series_of(account_id: str, supplier: str, history: History, *, is_asked: bool) -> dict[Series, HomeSeries]:
    registry = history.registry
    turn_of = turns_of(history, lambda: registry.outcomes.load(account_id), AskingHours.of(supplier, account_id))
    collected = registry.outcomes.collected(account_id)
    coverage, _ = coverage_of(account_id, history)
    return {
        series: HomeSeries(
            first=one.first,
            last=one.last,
            missing=_count_missing(account_id, one, history) if series in collected else 0,
            asked_next=next_look_back(series, history.now(), turn_of(series))
            if is_asked and series in collected
            else None,
        )
        for series, one in coverage.items()
    }


def _count_missing(account_id: str, coverage: Coverage, history: History) -> int:
    undone = {day for window in history.undone_windows(account_id, coverage.series) for day in window.dates()}
    return len(undone.union(day.day for day in coverage.open_days if day.hole is not Hole.NOT_ACTIVATED))


def _to_json(account: HomeAccount) -> dict[str, Any]:
    return {
        "account": account.account,
        "meter": account.meter,
        "supplier": account.supplier,
        "state": account.state.value,
        "reason": account.reason,
        "token": account.has_token,
        "token_until": to_plain(account.token_until),
        "series": {
            series.value: {
                "first": to_plain(one.first),
                "last": to_plain(one.last),
                "days_missing": one.missing,
                "asked_next": to_plain(one.asked_next),
            }
            for series, one in account.series.items()
        },
    }
