"""What an account tells of itself: summary, status and progress, for the command line, the API and the pages.

The descriptions of the fields are those of the API's reference.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Final

from pydantic import BaseModel, Field

from worker.accounts.notice_texts import CURVE_NOT_ACTIVATED
from worker.domain.account import Account, AccountState
from worker.domain.schedule import AskingHours, Turn, next_look_back
from worker.domain.series import Series, curve_of, daily_of
from worker.errors import RateLimited, SupplierLimited
from worker.stores.registry.outcomes import SeriesOutcome
from worker.sync.history import History, turns_of

_PACING: Final = {RateLimited.code, SupplierLimited.code}  # Codes under which a call waits for its turn.
EXAMPLE_ID: Final = "k3qd0fr2mw7x"


class AccountSummary(BaseModel):
    account: str = Field(description="Opaque id.", examples=[EXAMPLE_ID])
    state: AccountState
    reason: str = Field(description="The code that led to this state; empty if all is well.", examples=[""])
    supplier: str = Field(examples=["enedis"])
    usage_point: str | None = Field(
        description="Last four digits of the meter's number, only for its household; otherwise null.",
        examples=[None],
    )
    created_at: datetime
    consent_from: date | None
    consent_until: date | None

    @classmethod
    def from_account(cls, account: Account, *, with_digits: bool) -> AccountSummary:
        return cls(
            account=account.id,
            state=account.state,
            reason=account.reason,
            supplier=account.supplier,
            usage_point=account.last_digits if with_digits else None,
            created_at=account.created_at,
            consent_from=account.consent_from,
            consent_until=account.consent_until,
        )


class SeriesProgress(BaseModel):
    done: int = Field(description="Days of the history that are fetched.", examples=[420])
    total: int = Field(description="Days to fetch.", examples=[1095])
    error: str | None = Field(description="Code of the last failure, null after a success.")


class SeriesStatus(SeriesProgress):
    loaded: bool
    last_day: date | None
    last_success: datetime | None
    message: str | None
    asked_at: datetime | None = Field(description="End of the last look-back.")
    next_try: datetime | None = Field(description="Time of the next try after a failure or a rate limit.")


class AccountStatus(BaseModel):
    """As `releve status --json` prints it."""

    account: str = Field(examples=[EXAMPLE_ID])
    state: AccountState
    reason: str
    hint: str = Field(
        "", description="`CURVE_NOT_ACTIVATED`: daily values arrive, but the meter does not record a load curve."
    )
    series: dict[Series, SeriesStatus] = Field(description="The series that are collected or have readings.")

    @property
    def waits_for_turn(self) -> bool:
        """Whether our own pacing is all that keeps the last calls from being made."""
        errors = {series.error for series in self.series.values() if series.error}
        return bool(errors) and errors <= _PACING

    @property
    def failure(self) -> str:
        """The code of the last failure, of the series that comes first; our own pacing is none. Empty without one."""
        errors = (series.error for series in self.series.values())
        return next((error for error in errors if error and error not in _PACING), "")

    @property
    def next_try(self) -> datetime | None:
        """The first moment at which any series is tried again, where it is known."""
        return min((series.next_try for series in self.series.values() if series.next_try), default=None)

    @property
    def last_day(self) -> date | None:
        """The last day that is stored of any series."""
        days = (one.last_day for series, one in self.series.items() if not series.is_state)
        return max((day for day in days if day is not None), default=None)


class AccountProgress(BaseModel):
    account: str = Field(examples=[EXAMPLE_ID])
    state: AccountState
    reason: str
    loaded: bool = Field(description="Whether the whole history is stored.")
    series: dict[Series, SeriesProgress] = Field(description="Days, by series, such as `daily`.")


def status_of(account: Account, history: History) -> AccountStatus:
    """Return the state, history and last outcome of each series.

    If Redis has lost the account's history, it is read back from the measure store.
    """
    registry = history.registry
    asks_for_curve = account.active and curve_of(daily_of()) in registry.outcomes.collected(account.id)
    no_curve = asks_for_curve and registry.completeness.find_missing_curve(account.id) is not None
    return AccountStatus(
        account=account.id,
        state=account.state,
        reason=account.reason,
        hint=CURVE_NOT_ACTIVATED if no_curve else "",  # This is no error, but its owner can do something about it.
        series=_status_by_series(account, history),
    )


def progress_of(account: Account, history: History) -> AccountProgress:
    """Return how far the account's history is loaded, read back like that of ``status_of``."""
    by_series = _status_by_series(account, history)
    return AccountProgress(
        account=account.id,
        state=account.state,
        reason=account.reason,
        loaded=all(status.loaded for status in by_series.values()),
        series=dict(by_series),  # Only the fields of their progress are sent.
    )


def _status_by_series(account: Account, history: History) -> dict[Series, SeriesStatus]:
    account_id = account.id
    outcomes = history.registry.outcomes.load(account_id)
    turn_of = turns_of(history, lambda: outcomes, AskingHours.of(account.supplier, account_id))
    by_series = {}
    collected = set(history.registry.outcomes.collected(account_id))
    for series in history.registry.outcomes.known(account_id):
        missing = history.missing_windows(account_id, series) if series in collected else []
        done, total = history.count_days(account_id, series)
        outcome = outcomes.get(series)
        by_series[series] = SeriesStatus(
            loaded=not missing,
            done=done,
            total=total,
            last_day=outcome.last_day if outcome else None,
            last_success=outcome.last_success_at if outcome else None,
            error=outcome.code if outcome else None,
            message=outcome.message if outcome and outcome.code else None,
            asked_at=outcome.asked_at if outcome else None,
            next_try=_next_try(series, outcome, turn_of, history.now()) if outcome and account.active else None,
        )
    return by_series


def _next_try(
    series: Series, outcome: SeriesOutcome, turn_of: Callable[[Series], Turn], now: datetime
) -> datetime | None:
    """Return when the series is tried again; of a history that waits for our turn, when it goes on."""
    if outcome.again_at is not None or outcome.code in _PACING:
        at = outcome.again_at or outcome.history_due_at
        return turn_of(series).opens(at) if at and outcome.again_at else at
    return next_look_back(series, now, turn_of(series)) if outcome.code and outcome.asked_at else None
