"""An account's status, progress, coverage and explanations, and the summary of a home's installation.

The models are for the command line, the API and the pages; the API's reference shows the descriptions of their fields.
Coverage, explanations and corrections are converted to JSON here, also for the support bundle. The summary of a home,
for `releve home`, says what is stored, what is missing, when the next request is due and when each consent ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from enum import Enum
from typing import Any, Final

from pydantic import BaseModel, Field

from worker.accounts.account_days import AccountDays
from worker.accounts.explanations import Explanation, SeriesExplanation, StoredDay
from worker.accounts.notice_channels import CURVE_NOT_ACTIVATED
from worker.domain.account import Account, AccountState
from worker.domain.completeness import (
    COMPARED_SERIES,
    Coverage,
    DayState,
    Hole,
    find_missing_curve,
    half_hours_of,
    summarize_days,
)
from worker.domain.consistency import Discrepancy, MonthComparison
from worker.domain.documents import REMOVED, to_kwh
from worker.domain.series import Series
from worker.errors import RateLimited, SupplierLimited
from worker.stores.registry.outcomes import SeriesOutcome
from worker.stores.registry.supplier_answers import Correction
from worker.sync.history import History
from worker.texts import LANGUAGES, translate_cause

_PACING: Final = {RateLimited.code, SupplierLimited.code}  # Codes that say that a call waits for its turn.
# Days in these states are counted as complete.
_COMPLETE_TOO: Final = (DayState.AGAIN, DayState.FILE)
EXAMPLE_ID: Final = "k3qd0fr2mw7x"


class AccountSummary(BaseModel):
    account: str = Field(description="Opaque id.", examples=[EXAMPLE_ID])
    state: AccountState
    reason: str = Field(description="The code that led to this state; empty if all is well.", examples=[""])
    supplier: str = Field(examples=["enedis"])
    usage_point: str | None = Field(
        description="Last four digits of the meter's number, for its household only; null for tokens.",
        examples=[None],
    )
    created_at: datetime
    consent_from: date | None
    consent_until: date | None
    paused_until: date | None = Field(description="The day on which a paused account resumes by itself.")

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
            paused_until=account.paused_until,
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
    """The status of one account, as `releve status --json` prints it."""

    account: str = Field(examples=[EXAMPLE_ID])
    state: AccountState
    reason: str
    hint: str = Field(
        "", description="`CURVE_NOT_ACTIVATED`: daily values arrive, but the meter does not record a load curve."
    )
    series: dict[Series, SeriesStatus] = Field(description="The series that are collected or have readings.")

    @property
    def waits_for_turn(self) -> bool:
        """Whether the last failures were all waits for a rate limit; False without a failure."""
        errors = {series.error for series in self.series.values() if series.error}
        return bool(errors) and errors <= _PACING

    @property
    def failure(self) -> str:
        """The code of the first series whose last call failed; empty if none. A wait for a rate limit is no failure."""
        errors = (series.error for series in self.series.values())
        return next((error for error in errors if error and error not in _PACING), "")

    @property
    def next_try(self) -> datetime | None:
        """The earliest time at which a series is tried again; None if there is no such time."""
        return min((series.next_try for series in self.series.values() if series.next_try), default=None)

    @property
    def last_day(self) -> date | None:
        """The last stored day among all series, apart from series of states; None if no day is stored."""
        days = (one.last_day for series, one in self.series.items() if not series.is_state)
        return max((day for day in days if day is not None), default=None)


class AccountProgress(BaseModel):
    account: str = Field(examples=[EXAMPLE_ID])
    state: AccountState
    reason: str
    loaded: bool = Field(description="Whether the whole history is stored.")
    series: dict[Series, SeriesProgress] = Field(description="Days, by series, such as `daily`.")


def status_of(account: Account, history: History) -> AccountStatus:
    """Return the account's state, with the history and the last outcome of each series."""
    known, (daily, curve) = AccountDays(account, history), COMPARED_SERIES
    asks_for_curve = account.active and curve in known.asked
    no_curve = asks_for_curve and find_missing_curve(known.ledger(daily), known.ledger(curve)) is not None
    return AccountStatus(
        account=account.id,
        state=account.state,
        reason=account.reason,
        hint=CURVE_NOT_ACTIVATED if no_curve else "",  # No error, but the holder can activate the curve.
        series=_status_by_series(known),
    )


def progress_of(account: Account, history: History) -> AccountProgress:
    by_series = _status_by_series(AccountDays(account, history))
    return AccountProgress(
        account=account.id,
        state=account.state,
        reason=account.reason,
        loaded=all(status.loaded for status in by_series.values()),
        series=dict(by_series),  # The API sends only the fields of ``SeriesProgress``.
    )


def _status_by_series(known: AccountDays) -> dict[Series, SeriesStatus]:
    by_series = {}
    for series in known.series:
        outcome, is_asked, days = known.outcomes.get(series), series in known.asked, known.histories[series]
        done, total = days.count()
        by_series[series] = SeriesStatus(
            loaded=not is_asked or not days.missing_windows(),
            done=done,
            total=total if is_asked else done,
            last_day=outcome.last_day if outcome else None,
            last_success=outcome.last_success_at if outcome else None,
            error=outcome.code if outcome else None,
            message=outcome.message if outcome and outcome.code else None,
            asked_at=outcome.asked_at if outcome else None,
            next_try=_next_try(known, series, outcome) if outcome and known.account.active else None,
        )
    return by_series


def _next_try(known: AccountDays, series: Series, outcome: SeriesOutcome) -> datetime | None:
    """Return when a series is tried again after a failure or a wait for a rate limit; None if it isn't."""
    if outcome.again_at is not None:
        return known.turn_of(series).opens(outcome.again_at)
    if outcome.code in _PACING:
        return outcome.history_due_at
    return known.next_look_back(series) if outcome.code and outcome.asked_at else None


def coverage_of(account_id: str, history: History) -> dict[Series, Coverage]:
    return _coverage_of(AccountDays(history.registry.accounts.get(account_id), history))


def _coverage_of(known: AccountDays) -> dict[Series, Coverage]:
    coverage = summarize_days({series: known.ledger(series) for series in known.series}, known.asked_next)
    for series in coverage.keys() - known.asked:  # For these series, nothing more is requested.
        coverage[series] = replace(coverage[series], open_days=())
    return coverage


def missing_days_of(account_id: str, history: History) -> dict[Series, list[date]]:
    """Return, for each series, the days whose readings are still missing, newest first.

    Days that no request can fill are left out: days of a curve that the meter does not record, and all days of series
    of states or periods.
    """
    return {
        series: [day.day for day in reversed(one.open_days) if day.hole is not Hole.NOT_ACTIVATED]
        for series, one in coverage_of(account_id, history).items()
        if not (series.is_state or series.has_intervals)
    }


def coverage_to_json(account_id: str, coverage: Mapping[Series, Coverage]) -> dict[str, Any]:
    """Return the coverage as ``releve explain --days --json`` prints it."""
    curve = coverage.get(COMPARED_SERIES[1])
    return {
        "account": account_id,
        "series": {series.value: _series_coverage_to_json(one) for series, one in coverage.items()},
        "curve_not_activated_since": to_plain(curve.missing.since) if curve and curve.missing else None,
    }


def explanation_to_json(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as JSON: energies in kWh, moments in UTC, gaps in the meter's time zone."""
    account, day, discrepancies = explanation.account, explanation.day, explanation.discrepancies
    return {
        "account": account.id,
        "day": to_plain(day),
        "reason": explanation.reason.value,
        "sentence": dict(explanation.sentences),
        "consent": {
            "state": account.state.value,
            "reason": account.reason,
            "from": to_plain(account.consent_from),
            "until": to_plain(account.consent_until),
            # The supplier's reference is left out, because it identifies the consent there.
            "proof": to_row(explanation.proof, "kind", "consented_at", "ended_at", "end_reason")
            if explanation.proof
            else None,
        },
        "series": {
            series.value: _series_to_json(series, day, series_explanation)
            for series, series_explanation in explanation.series.items()
        },
        "corrections": [correction_to_json(correction) for correction in explanation.corrections],
        "totals": {
            "agree": None if discrepancies is None else not discrepancies,
            "findings": [discrepancy_to_json(discrepancy) for discrepancy in discrepancies or ()],
        },
        **({"outputs": [to_row(output) for output in explanation.outputs]} if explanation.outputs else {}),
        **({"published_month": month_to_json(explanation.month)} if explanation.month else {}),
    }


def correction_to_json(correction: Correction) -> dict[str, Any]:
    """Return a correction as JSON; ``key`` is the day, or the UTC start of a step.

    ``became_…`` is None if the reading was removed; ``was_…`` is None if a removed reading is stored again.
    """
    series = correction.doctype.series
    unit = _unit_of(series)
    return {
        "series": series.value,
        "period": correction.doctype.period.value,
        **to_row(correction, "key", "first_seen", "changed_at"),
        f"was_{unit}": _load_or_none(correction.was_amount),
        f"became_{unit}": _load_or_none(correction.became_amount),
        "run": correction.run_id,
    }


def discrepancy_to_json(discrepancy: Discrepancy) -> dict[str, Any]:
    """Return a discrepancy as JSON, with both values in the unit of the series' documents."""
    unit = _unit_of(discrepancy.series)
    return {
        **to_row(discrepancy, "series", "law", "key", "cause"),
        f"expected_{unit}": _load_or_none(discrepancy.expected),
        f"found_{unit}": _load_or_none(discrepancy.stored),
    }


def month_to_json(month: MonthComparison) -> dict[str, Any]:
    """Return as JSON how a month's days compare with the energy published for the month; a difference is no fault."""
    return {
        "month": month.key,
        "agrees": month.agrees,
        "daily_kwh": to_kwh(month.daily),
        "published_kwh": to_kwh(month.published),
        "allowed_kwh": to_kwh(month.allowed),
    }


def to_plain(value: Any) -> Any:
    """Convert a value for JSON: a moment (in seconds) or a day to ISO text, an enum to its value, a set to a list."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    return sorted(value) if isinstance(value, frozenset) else value


def to_row(entry: Any, *names: str) -> dict[str, Any]:
    """Return the named fields of a dataclass, or all of them, converted for JSON."""
    return {name: to_plain(getattr(entry, name)) for name in names or [field.name for field in fields(entry)]}


def _load_or_none(amount: int | None) -> float | None:
    return None if amount is None or amount == REMOVED else to_kwh(amount)


def _unit_of(series: Series) -> str:
    """Return the unit of the series' documents as a suffix of names in JSON, such as ``kwh`` or ``kva``."""
    return series.description.quantity.load_unit.lower()


def _series_coverage_to_json(coverage: Coverage) -> dict[str, Any]:
    return {
        "first_day": to_plain(coverage.first),
        "last_day": to_plain(coverage.last),
        **{state.name.lower(): coverage.counts.get(state, 0) for state in DayState if state not in _COMPLETE_TOO},
        "asked_next": to_plain(coverage.asked_next),
        "open_days": [
            {
                **to_row(open_day, "day", "asked_next", "hole"),
                "state": open_day.mark.state.name.lower(),
                "half_hours": open_day.mark.half_hours,
                "of": half_hours_of(open_day.day),
            }
            for open_day in coverage.open_days
        ],
    }


def _series_to_json(series: Series, day: date, explanation: SeriesExplanation) -> dict[str, Any]:
    stored, outcome = explanation.stored, explanation.outcome
    return {
        **to_row(explanation, "reason", "asked_on", "asked_next", "hole"),
        "sentence": dict(explanation.sentences),
        "state": explanation.mark.state.name.lower(),
        "half_hours": stored.half_hours,
        "of": half_hours_of(day),
        f"stored_{_unit_of(series)}": _load_or_none(stored.amount),
        **_kind_to_json(stored),
        "missing": [[to_plain(start), to_plain(end)] for start, end in stored.gaps],
        "calls": [{**to_row(call, "at", "run", "answer"), "window": str(call.window)} for call in explanation.calls],
        "last_run": {
            "at": to_plain(outcome.updated_at),
            "error": outcome.code,
            "message": outcome.message,
            "cause": _causes(outcome.code, series.description.supplier) if outcome.code else None,
            "last_success": to_plain(outcome.last_success_at),
        }
        if outcome
        else None,
        "task": dict(explanation.state),
    }


def _causes(code: str, supplier: str) -> dict[str, str]:
    """Return why the last call failed, by language; empty for a code that explains itself."""
    causes = {language: translate_cause(code, supplier, language) for language in LANGUAGES}
    return {language: cause for language, cause in causes.items() if cause}


def _kind_to_json(stored: StoredDay) -> dict[str, Any]:
    """Return the fields that only one kind of series has; empty for curves and the daily energy of electricity."""
    if stored.registers or stored.breaks:
        energies = stored.registers.by_period if stored.registers else {}
        periods = [{"period": period, "energy_kwh": watt_hours / 1000} for period, watt_hours in energies.items()]
        return {"periods": periods, "new_sequences": [to_row(one, "last", "day", "cause") for one in stored.breaks]}
    if stored.peak:
        subscribed = _load_or_none(stored.peak.subscribed)
        return {"peak_at": to_plain(stored.peak.at), "subscribed_kva": subscribed}
    if stored.state:
        return {"state_since": stored.state.key, "details": dict(stored.state.details or {})}
    if stored.gas:
        return {"from": stored.gas.key, "details": dict(stored.gas.details or {})}
    return {}


@dataclass(frozen=True, slots=True)
class HomeSeries:
    """The state of one series of the home.

    ``first``: the first stored day. ``missing``: the number of days whose values have not been requested yet or may
    still arrive. ``asked_next``: None if nothing is requested. ``error``: the code of the last failure; None after a
    success.
    """

    first: date | None
    last: date | None
    missing: int
    asked_next: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class HomeAccount:
    """An account of the home. ``has_token``: True also if its supplier needs no token."""

    account: Account
    has_token: bool
    series: dict[Series, HomeSeries]


@dataclass(frozen=True, slots=True)
class HomeSummary:
    """The summary of a home's installation.

    ``has_password``: whether browsers on other machines can sign in. ``gate_code``: the code of the error that stops
    all calls to the supplier now; empty if there is none.
    """

    accounts: list[HomeAccount]
    has_password: bool
    gate_code: str

    def as_json(self) -> dict[str, Any]:
        return {
            "accounts": [_home_account_to_json(account) for account in self.accounts],
            "password": self.has_password,
            "gate_code": self.gate_code or None,
        }


def summarize_home(*, history: History, supplier: str, has_password: bool, gate_code: str) -> HomeSummary:
    """Return the summary of the home. ``supplier``: the only supplier whose accounts each need a token."""
    registry, accounts = history.registry, []
    for account in registry.accounts.list_accounts():
        has_token = account.supplier != supplier or registry.tokens.find_token_id(account.id) is not None
        known = AccountDays(account, history)
        accounts.append(HomeAccount(account, has_token, _home_series_of(known, is_asked=account.active and has_token)))
    return HomeSummary(accounts, has_password, gate_code)


def _home_series_of(known: AccountDays, *, is_asked: bool) -> dict[Series, HomeSeries]:
    return {
        series: HomeSeries(
            first=one.first_stored,
            last=one.last,
            missing=_count_missing(known, one) if series in known.asked else 0,
            asked_next=known.next_look_back(series) if is_asked and series in known.asked else None,
            error=known.outcomes[series].code if is_asked and series in known.outcomes else None,
        )
        for series, one in _coverage_of(known).items()
    }


def _count_missing(known: AccountDays, coverage: Coverage) -> int:
    days = {day for window in known.histories[coverage.series].undone_windows() for day in window.dates()}
    return len(days.union(day.day for day in coverage.open_days if day.hole is not Hole.NOT_ACTIVATED))


def _home_account_to_json(home: HomeAccount) -> dict[str, Any]:
    account = home.account
    return {
        "account": account.id,
        "meter": account.last_digits,
        **to_row(account, "supplier", "state", "reason"),
        "token": home.has_token,
        "token_until": to_plain(account.consent_until),
        "series": {
            series.value: {
                **to_row(one, "first", "last"),
                "days_missing": one.missing,
                **to_row(one, "asked_next", "error"),
            }
            for series, one in home.series.items()
        },
    }
