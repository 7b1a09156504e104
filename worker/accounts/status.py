"""What an account tells of itself: summary, status and progress, for the command line, the API and the pages.

The descriptions of the fields are those of the API's reference.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, datetime
from typing import Final

from pydantic import BaseModel, Field

from worker.accounts.notice_texts import CURVE_NOT_ACTIVATED
from worker.domain.consent.accounts import Account, AccountState
from worker.domain.measures.readings import DateWindow, Series
from worker.domain.measures.windows import subtract_windows
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry
from worker.sync.history import History

EXAMPLE_ID: Final = "k3qd0fr2mw7x"
_ERROR: Final = "Code of the last failure, null after a success."


class AccountSummary(BaseModel):
    account: str = Field(description="Opaque id.", examples=[EXAMPLE_ID])
    state: AccountState
    reason: str = Field(description="The code that led to this state, empty where all is well.", examples=[""])
    supplier: str = Field(examples=["enedis"])
    usage_point: str | None = Field(
        description="Last four digits of the meter's number, for its own household alone; otherwise null.",
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


class SeriesStatus(BaseModel):
    loaded: bool
    done: int = Field(description="Days of the history that are done.", examples=[1095])
    total: int = Field(description="Days that are wanted.", examples=[1095])
    last_day: date | None
    last_success: datetime | None
    error: str | None = Field(description=_ERROR)
    message: str | None
    asked_at: datetime | None = Field(description="End of the last look-back.")
    next_try: datetime | None = Field(description="When it is tried again after a failure.")


class AccountStatus(BaseModel):
    """As `releve status --json` prints it."""

    account: str = Field(examples=[EXAMPLE_ID])
    state: AccountState
    reason: str
    hint: str = Field("", description="`CURVE_NOT_ACTIVATED`: daily totals come, and the curve is not collected.")
    series: dict[Series, SeriesStatus] = Field(description="`daily` and `load_curve`.")

    @property
    def last_day(self) -> date | None:
        """The last day that is stored of any series."""
        return max((series.last_day for series in self.series.values() if series.last_day), default=None)


class SeriesProgress(BaseModel):
    done: int = Field(examples=[420])
    total: int = Field(examples=[1095])
    error: str | None = Field(description=_ERROR)


class AccountProgress(BaseModel):
    account: str = Field(examples=[EXAMPLE_ID])
    state: AccountState
    reason: str
    loaded: bool = Field(description="Whether the whole history is there.")
    series: dict[Series, SeriesProgress] = Field(description="Days, by `daily` and `load_curve`.")


def status_of(account: Account, *, registry: AccountRegistry, history: History) -> AccountStatus:
    """Return the state, history and last outcome of each series.

    If Redis has lost the account's history, it is read back from the measure store.
    """
    outcomes = registry.load_outcomes(account.id)
    series_status = {}
    for series in Series:
        missing = history.missing_windows(account.id, series)
        done, total = history.count_days(account.id, series)
        outcome = outcomes.get(series)
        series_status[series] = SeriesStatus(
            loaded=not missing,
            done=done,
            total=total,
            last_day=outcome.last_day if outcome else None,
            last_success=outcome.last_success_at if outcome else None,
            error=outcome.code if outcome else None,
            message=outcome.message if outcome and outcome.code else None,
            asked_at=outcome.asked_at if outcome else None,
            next_try=outcome.again_at if outcome else None,
        )
    no_curve = account.active and registry.completeness.find_missing_curve(account.id) is not None
    return AccountStatus(
        account=account.id,
        state=account.state,
        reason=account.reason,
        hint=CURVE_NOT_ACTIVATED if no_curve else "",  # This is no error, but its owner can do something about it.
        series=series_status,
    )


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
            days, total = _count_days(wanted[series], done[account.id, series])
            error = outcome.code if outcome else None
            series_progress[series] = SeriesProgress(done=days, total=total, error=error)
        progress_by_account[account.id] = AccountProgress(
            account=account.id,
            state=account.state,
            reason=account.reason,
            loaded=all(part.done == part.total for part in series_progress.values()),
            series=series_progress,
        )
    return progress_by_account


def _count_days(wanted: DateWindow | None, done: list[DateWindow]) -> tuple[int, int]:
    """Return how many days of the wanted window are done, and how many there are."""
    if wanted is None:
        return 0, 0
    return wanted.days - sum(window.days for window in subtract_windows(wanted, done)), wanted.days
