"""Rules that refuse a well-formed query, in the order in which the supplier applies them.

The gateway checks token, subscription and quota before; ``requests`` then checks the formats of meter and dates.
Enedis does not publish this order; it is inferred from answers that clients have reported.
"""

from __future__ import annotations

import calendar
from datetime import date, timedelta
from typing import Final

from worker.simulator.api.errors import ERROR_TABLE, Refused
from worker.simulator.api.requests import MeasureQuery
from worker.simulator.consents import Consent
from worker.simulator.homes.series import MeasureKind
from worker.simulator.state import SimulatorState

_EXTRA_HISTORY: Final = timedelta(days=15)
_LONGEST_CURVE_DAYS: Final = 7


def check_query(simulator: SimulatorState, query: MeasureQuery, consent: Consent | None) -> None:
    """Raise Refused for the first rule that the query breaks; ``consent`` is that of a user's token."""
    today, options = simulator.clock.today(), simulator.options
    _refuse_first(("end_too_late", query.end > today), ("start_after_end", query.start >= query.end))
    check_usage_point(simulator, query.usage_point, consent)
    meter = simulator.meters.get(query.usage_point)
    is_curve = query.resource.kind is MeasureKind.LOAD_CURVE
    longest_days = _LONGEST_CURVE_DAYS - simulator.switches.seven_days_refused
    months = options.load_curve_history_months if is_curve else options.daily_history_months
    _refuse_first(
        ("ADAM-ERR0069", not meter.series.measures(query.resource.direction)),
        ("ADAM-ERR0126", is_curve and (query.end - query.start).days > longest_days),
        ("ADAM-ERR0125", query.start < months_before(today, months) - _EXTRA_HISTORY),
        ("ADAM-ERR0123", meter.activated_on is not None and query.start < meter.activated_on),
        ("ADAM-ERR0075", is_curve and meter.switches.curve_objected),
        ("no_data_found", is_curve and not meter.switches.curve_enabled),
    )


def check_usage_point(simulator: SimulatorState, usage_point: str, consent: Consent | None) -> None:
    """Raise Refused for a missing consent, or with the refusal switched on for this meter."""
    switches = simulator.meters.switches_of(usage_point)
    is_of_another = consent is not None and usage_point not in consent.usage_points
    has_ended = switches.consent_revoked or simulator.consents.has_ended(usage_point)
    _refuse_first(("ADAM-DC-0008", is_of_another or has_ended), (switches.refusal or "", switches.refusal is not None))


def _refuse_first(*rules: tuple[str, bool]) -> None:
    for name, is_broken in rules:
        if is_broken:
            raise Refused(ERROR_TABLE[name])


def months_before(day: date, months: int) -> date:
    """Return the same day some months earlier, or the last day of that month."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
