"""Explanations, coverage and corrections as doors show them: put together from the house, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from worker.accounts.explain import Explainer, Explanation, SeriesExplained
from worker.domain.consent.consents import ConsentProof
from worker.domain.measures.completeness import half_hours_of
from worker.domain.measures.conservation import Discrepancy
from worker.domain.measures.coverage import Coverage, sum_up
from worker.domain.measures.holes import MissingCurve, find_holes, missing_curve
from worker.domain.measures.readings import Series
from worker.runtime.process import Runtime
from worker.stores.registry.corrections import Correction
from worker.sync.completeness import Rebuild

_MILLIWATT_HOURS_PER_KWH = 1_000_000

Covered = tuple[Mapping[Series, Coverage], MissingCurve | None]


def explainer_of(runtime: Runtime) -> Explainer:
    return Explainer(
        runtime.registry, runtime.consents, runtime.measures, runtime.corrections, runtime.state, runtime.history
    )


def rebuild_of(runtime: Runtime) -> Rebuild:
    return Rebuild(runtime.measures, runtime.registry.completeness, runtime.state, runtime.dispatcher.today)


def coverage_of(runtime: Runtime, account_id: str) -> Covered:
    """Both series summed up, and whether the curve isn't collected at all."""
    book, today = runtime.registry.completeness, runtime.dispatcher.today()
    daily, curve = (book.ledger(account_id, series) for series in Series)
    coverage = {
        Series.DAILY: sum_up(Series.DAILY, daily, today),
        Series.LOAD_CURVE: sum_up(Series.LOAD_CURVE, curve, today, find_holes(daily, curve)),
    }
    return coverage, missing_curve(daily, curve)


def coverage_to_json(account_id: str, covered: Covered) -> dict[str, Any]:
    coverage, missing = covered
    return {
        "account": account_id,
        "series": {series.value: each.as_json() for series, each in coverage.items()},
        "curve_not_activated_since": missing.since.isoformat() if missing else None,
    }


def explanation_to_json(told: Explanation) -> dict[str, Any]:
    """Energies in kWh, moments in UTC, gaps in the meter's own time."""
    account = told.account
    return {
        "account": account.id,
        "day": told.day.isoformat(),
        "reason": told.reason.value,
        "sentence": dict(told.sentences),
        "consent": {
            "state": account.state.value,
            "reason": account.reason,
            "from": _iso(account.consent_from),
            "until": _iso(account.consent_until),
            "proof": _proof(told.proof),
        },
        "series": {series.value: _series(told.day, each) for series, each in told.series.items()},
        "corrections": [correction_to_json(each) for each in told.corrections],
        "totals": {
            "agree": None if told.findings is None else not told.findings,
            "findings": [finding_to_json(each) for each in told.findings or ()],
        },
    }


def correction_to_json(each: Correction) -> dict[str, Any]:
    """``key`` is the day, or the UTC start of a step."""
    return {
        "period": each.period.value,
        "key": each.key,
        "was_kwh": to_kwh(each.was_mwh),
        "became_kwh": to_kwh(each.became_mwh),
        "first_seen": _moment(each.first_seen),
        "changed_at": _moment(each.changed_at),
        "run": each.run_id,
    }


def finding_to_json(found: Discrepancy) -> dict[str, Any]:
    return {
        "law": found.law.value,
        "key": found.key,
        "expected_kwh": to_kwh(found.expected_mwh),
        "found_kwh": to_kwh(found.found_mwh),
        "cause": found.cause.value,
    }


def to_kwh(milliwatt_hours: int | None) -> float | None:
    return None if milliwatt_hours is None else milliwatt_hours / _MILLIWATT_HOURS_PER_KWH


def _series(day: date, told: SeriesExplained) -> dict[str, Any]:
    return {
        "reason": told.reason.value,
        "sentence": dict(told.sentences),
        "state": told.mark.state.name.lower(),
        "asked_on": _iso(told.asked_on),
        "asked_next": _iso(told.asked_next),
        "hole": told.hole.value if told.hole else None,
        "half_hours": told.stored.half_hours,
        "of": half_hours_of(day),
        "stored_kwh": to_kwh(told.stored.milliwatt_hours),
        "missing": [[first.isoformat(), after.isoformat()] for first, after in told.stored.gaps],
        "calls": [
            {"at": _moment(call.at), "window": str(call.window), "run": call.run, "answer": call.answer.value}
            for call in told.calls
        ],
        "last_run": {
            "at": _moment(told.outcome.updated_at),
            "error": told.outcome.code,
            "message": told.outcome.message,
            "last_success": _moment(told.outcome.last_success_at),
        }
        if told.outcome
        else None,
        "task": dict(told.state),
    }


def _proof(proof: ConsentProof | None) -> dict[str, Any] | None:
    """Without the supplier's reference: it names the consent there."""
    if proof is None:
        return None
    return {
        "kind": proof.kind.value,
        "consented_at": _moment(proof.consented_at),
        "ended_at": _moment(proof.ended_at),
        "end_reason": proof.end_reason,
    }


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _moment(at: datetime | None) -> str | None:
    return at.isoformat(timespec="seconds") if at else None
