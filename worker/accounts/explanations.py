"""Explanations, coverage and corrections as JSON, for the command line, the pages and the support bundle."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from worker.accounts.explain import Explanation, SeriesExplanation
from worker.domain.consent.consents import ConsentProof
from worker.domain.measures.completeness import half_hours_of
from worker.domain.measures.conservation import Discrepancy
from worker.domain.measures.coverage import Coverage, summarize_days
from worker.domain.measures.holes import COMPARED_SERIES, MissingCurve, find_holes, find_missing_curve
from worker.domain.measures.readings import Series
from worker.stores.registry.completeness import CompletenessTable
from worker.stores.registry.corrections import Correction

_MILLIWATT_HOURS_PER_KWH = 1_000_000

# The coverage of each series, and the missing curve if it is not collected at all.
AccountCoverage = tuple[Mapping[Series, Coverage], MissingCurve | None]


def coverage_of(account_id: str, *, completeness: CompletenessTable, today: date) -> AccountCoverage:
    """Return the coverage of both series, and the missing curve if there is one."""
    ledgers = {series: completeness.load_ledger(account_id, series) for series in Series}
    compared = [ledgers[series] for series in COMPARED_SERIES]
    holes = {Series.LOAD_CURVE: find_holes(*compared)}
    coverage = {series: summarize_days(series, ledger, today, holes.get(series)) for series, ledger in ledgers.items()}
    return coverage, find_missing_curve(*compared)


def coverage_to_json(account_id: str, account_coverage: AccountCoverage) -> dict[str, Any]:
    """Return the coverage as ``releve completeness --json`` prints it."""
    coverage_by_series, missing_curve = account_coverage
    return {
        "account": account_id,
        "series": {series.value: coverage.as_json() for series, coverage in coverage_by_series.items()},
        "curve_not_activated_since": missing_curve.since.isoformat() if missing_curve else None,
    }


def explanation_to_json(explanation: Explanation) -> dict[str, Any]:
    """Return an explanation as JSON: energies in kWh, moments in UTC, gaps in the meter's zone."""
    account, day, discrepancies = explanation.account, explanation.day, explanation.discrepancies
    return {
        "account": account.id,
        "day": day.isoformat(),
        "reason": explanation.reason.value,
        "sentence": dict(explanation.sentences),
        "consent": {
            "state": account.state.value,
            "reason": account.reason,
            "from": _format_day(account.consent_from),
            "until": _format_day(account.consent_until),
            "proof": _proof_to_json(explanation.proof),
        },
        "series": {
            series.value: _series_to_json(day, series_explanation)
            for series, series_explanation in explanation.series.items()
        },
        "corrections": [correction_to_json(correction) for correction in explanation.corrections],
        "totals": {
            "agree": None if discrepancies is None else not discrepancies,
            "findings": [discrepancy_to_json(discrepancy) for discrepancy in discrepancies or ()],
        },
    }


def correction_to_json(correction: Correction) -> dict[str, Any]:
    """Return a correction as JSON; ``key`` is the day, or the UTC start of a step."""
    return {
        "period": correction.period.value,
        "key": correction.key,
        "was_kwh": to_kwh(correction.was_mwh),
        "became_kwh": to_kwh(correction.became_mwh),
        "first_seen": _format_moment(correction.first_seen),
        "changed_at": _format_moment(correction.changed_at),
        "run": correction.run_id,
    }


def discrepancy_to_json(discrepancy: Discrepancy) -> dict[str, Any]:
    """Return a discrepancy as JSON, with both energies in kWh."""
    return {
        "law": discrepancy.law.value,
        "key": discrepancy.key,
        "expected_kwh": to_kwh(discrepancy.expected_mwh),
        "found_kwh": to_kwh(discrepancy.stored_mwh),
        "cause": discrepancy.cause.value,
    }


def to_kwh(milliwatt_hours: int | None) -> float | None:
    """Return the energy in kWh, or None if there is none."""
    return None if milliwatt_hours is None else milliwatt_hours / _MILLIWATT_HOURS_PER_KWH


def _series_to_json(day: date, explanation: SeriesExplanation) -> dict[str, Any]:
    stored, outcome = explanation.stored, explanation.outcome
    return {
        "reason": explanation.reason.value,
        "sentence": dict(explanation.sentences),
        "state": explanation.mark.state.name.lower(),
        "asked_on": _format_day(explanation.asked_on),
        "asked_next": _format_day(explanation.asked_next),
        "hole": explanation.hole.value if explanation.hole else None,
        "half_hours": stored.half_hours,
        "of": half_hours_of(day),
        "stored_kwh": to_kwh(stored.milliwatt_hours),
        "missing": [[start.isoformat(), end.isoformat()] for start, end in stored.gaps],
        "calls": [
            {"at": _format_moment(call.at), "window": str(call.window), "run": call.run, "answer": call.answer.value}
            for call in explanation.calls
        ],
        "last_run": {
            "at": _format_moment(outcome.updated_at),
            "error": outcome.code,
            "message": outcome.message,
            "last_success": _format_moment(outcome.last_success_at),
        }
        if outcome
        else None,
        "task": dict(explanation.state),
    }


def _proof_to_json(proof: ConsentProof | None) -> dict[str, Any] | None:
    # The supplier's reference is left out, because it identifies the consent there.
    if proof is None:
        return None
    return {
        "kind": proof.kind.value,
        "consented_at": _format_moment(proof.consented_at),
        "ended_at": _format_moment(proof.ended_at),
        "end_reason": proof.end_reason,
    }


def _format_day(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _format_moment(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None
