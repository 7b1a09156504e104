"""Explanations, coverage and corrections as JSON, for the command line, the pages and the support bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import date, datetime
from enum import Enum
from functools import partial
from typing import Any, Final

from worker.accounts.day_values import StoredDay
from worker.accounts.explain import Explanation, SeriesExplanation
from worker.domain.completeness import (
    COMPARED_SERIES,
    Coverage,
    DayLedger,
    DayState,
    Hole,
    MissingCurve,
    daily_of_curve,
    find_all_holes,
    find_missing_curve,
    half_hours_of,
    summarize_days,
)
from worker.domain.consistency import Discrepancy, MonthComparison
from worker.domain.documents import to_kwh
from worker.domain.schedule import AskingHours
from worker.domain.series import Series
from worker.domain.tariffs import SequenceBreak
from worker.stores.registry.outputs import OutputState
from worker.stores.registry.supplier_answers import Correction
from worker.sync.history import History, next_requests_of
from worker.texts import LANGUAGES, translate_cause

# The coverage of each series, and the missing curve if it is not collected at all.
AccountCoverage = tuple[Mapping[Series, Coverage], MissingCurve | None]


def coverage_of(account_id: str, history: History) -> AccountCoverage:
    """Return the coverage of the account's series, and the missing curve of the usual two if there is one."""
    registry = history.registry
    known = registry.outcomes.known(account_id)
    ledgers = {series: registry.completeness.load_ledger(account_id, series) for series in known}
    holes = find_all_holes(ledgers)
    hours = AskingHours.of(registry.get(account_id).supplier, account_id)
    asked_next = next_requests_of(history, lambda: registry.outcomes.load(account_id), hours)
    missing = {
        series: find_missing_curve(ledgers.get(daily, DayLedger()), ledger)
        for series, ledger in ledgers.items()
        if (daily := daily_of_curve(series)) is not None
    }
    coverage = {
        series: summarize_days(
            series,
            ledger,
            partial(asked_next, series),
            holes.get(series),
            missing.get(series),
        )
        for series, ledger in ledgers.items()
    }
    return coverage, missing.get(COMPARED_SERIES[1])


def missing_days_of(account_id: str, history: History) -> dict[Series, list[date]]:
    """Return the days of each series that are still to come, the newest first.

    Those that nobody can bring are left out: of a curve that is not collected, and before the next reading of a meter.
    """
    coverage, _ = coverage_of(account_id, history)
    return {
        series: [day.day for day in reversed(one.open_days) if day.hole is not Hole.NOT_ACTIVATED]
        for series, one in coverage.items()
        if not (series.is_state or series.has_intervals)
    }


def coverage_to_json(account_id: str, account_coverage: AccountCoverage) -> dict[str, Any]:
    """Return the coverage as ``releve completeness --json`` prints it."""
    coverage_by_series, missing_curve = account_coverage
    return {
        "account": account_id,
        "series": {series.value: _series_coverage_to_json(coverage) for series, coverage in coverage_by_series.items()},
        "curve_not_activated_since": to_plain(missing_curve.since) if missing_curve else None,
    }


def explanation_to_json(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as JSON: energies in kWh, moments in UTC, gaps in the meter's zone."""
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
        **({"outputs": [output_to_json(output) for output in explanation.outputs]} if explanation.outputs else {}),
        **({"published_month": month_to_json(explanation.month)} if explanation.month else {}),
    }


def output_to_json(output: OutputState) -> dict[str, Any]:
    """Return an output and what waits for it as JSON, without its options."""
    return to_row(output)


def correction_to_json(correction: Correction) -> dict[str, Any]:
    """Return a correction as JSON; ``key`` is the day, or the UTC start of a step.

    ``became_…`` is None where the reading was removed.
    """
    series = correction.doctype.series
    unit = _unit_of(series)
    return {
        "series": series.value,
        "period": correction.doctype.period.value,
        **to_row(correction, "key", "first_seen", "changed_at"),
        f"was_{unit}": to_kwh(correction.was_amount),
        f"became_{unit}": _load_or_none(correction.became_energy),
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
    """Return the days of a month against what was published for it; a deviation is no fault."""
    return {
        "month": month.key,
        "agrees": month.agrees,
        "daily_kwh": to_kwh(month.daily),
        "published_kwh": to_kwh(month.published),
        "allowed_kwh": to_kwh(month.allowed),
    }


def break_to_json(sequence_break: SequenceBreak) -> dict[str, Any]:
    """Return the beginning of a new sequence of registers as JSON."""
    return to_row(sequence_break, "last", "day", "cause")


def to_plain(value: Any) -> Any:
    """Return a value as JSON knows it: a moment in seconds or a day as ISO text, an enum by its value, a set sorted."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    return sorted(value) if isinstance(value, frozenset) else value


def to_row(entry: Any, *names: str) -> dict[str, Any]:
    """Return the named fields of a dataclass, or all of them, as JSON knows them."""
    return {name: to_plain(getattr(entry, name)) for name in names or [field.name for field in fields(entry)]}


def _load_or_none(amount: int | None) -> float | None:
    return None if amount is None else to_kwh(amount)


def _unit_of(series: Series) -> str:
    """Return the unit of the series' documents as names of JSON end with it: ``kwh``, ``kva``."""
    return series.description.quantity.load_unit.lower()


# Days in these states are counted as complete.
_COMPLETE_TOO: Final = (DayState.AGAIN, DayState.FILE)


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
    """Return why the last call failed, by language; empty for a code that says so of itself."""
    causes = {language: translate_cause(code, supplier, language) for language in LANGUAGES}
    return {language: cause for language, cause in causes.items() if cause}


def _kind_to_json(stored: StoredDay) -> dict[str, Any]:
    """Return what the series of one kind alone have; nothing of daily energy and curves."""
    if stored.registers or stored.breaks:
        energies = stored.registers.by_period if stored.registers else {}
        periods = [{"period": period, "energy_kwh": watt_hours / 1000} for period, watt_hours in energies.items()]
        return {"periods": periods, "new_sequences": [break_to_json(one) for one in stored.breaks]}
    if stored.peak:
        subscribed = _load_or_none(stored.peak.subscribed)
        return {"peak_at": to_plain(stored.peak.at), "subscribed_kva": subscribed}
    if stored.state:
        return {"state_since": stored.state.key, "details": dict(stored.state.details or {})}
    if stored.gas:
        return {"from": stored.gas.key, "details": dict(stored.gas.details or {})}
    return {}
