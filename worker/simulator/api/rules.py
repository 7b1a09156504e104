"""Rules that refuse a well-formed query, in the order in which the supplier applies them.

The gateway checks token, subscription and quota before; ``requests`` then checks the formats of meter and dates.
Enedis does not publish this order; it is inferred from answers that clients have reported.
"""

from __future__ import annotations

import calendar
from collections.abc import Callable
from datetime import date, timedelta
from typing import Final

from worker.simulator.api.errors import (
    BEFORE_ACTIVATION,
    BEFORE_HISTORY,
    CURVE_OBJECTED,
    END_TOO_LATE,
    ERROR_TABLE,
    NO_CONSENT,
    NO_DATA,
    START_AFTER_END,
    TOO_LONG,
    WRONG_DIRECTION,
    FixedRefusal,
    Refusal,
)
from worker.simulator.api.requests import MeasureQuery
from worker.simulator.consents import Consent
from worker.simulator.homes.meters import Meter
from worker.simulator.homes.series import MeasureKind
from worker.simulator.state import SimulatorState

AnyRefusal = Refusal | FixedRefusal
_EXTRA_HISTORY: Final = timedelta(days=15)
_LONGEST_CURVE_DAYS: Final = 7


def find_refusal(simulator: SimulatorState, query: MeasureQuery, consent: Consent | None) -> AnyRefusal | None:
    """Return the refusal of the first rule that the query breaks, or None.

    ``consent`` is that of a user's token, None with an application's token.
    """
    if query.end > simulator.clock.today():
        return END_TOO_LATE
    if query.start >= query.end:
        return START_AFTER_END
    if refusal := find_usage_point_refusal(simulator, query.usage_point, consent):
        return refusal
    meter = simulator.meters.get(query.usage_point)
    return next((refusal for rule in _RULES if (refusal := rule(simulator, query, meter))), None)


def find_usage_point_refusal(simulator: SimulatorState, usage_point: str, consent: Consent | None) -> AnyRefusal | None:
    """Return the refusal for a missing consent, else the one switched on for this meter, else None."""
    switches = simulator.meters.switches_of(usage_point)
    if consent is not None and usage_point not in consent.usage_points:
        return NO_CONSENT
    if switches.consent_revoked or simulator.consents.has_ended(usage_point):
        return NO_CONSENT
    return ERROR_TABLE[switches.refusal] if switches.refusal is not None else None


def _check_direction(simulator: SimulatorState, query: MeasureQuery, meter: Meter) -> AnyRefusal | None:
    return None if meter.series.measures(query.resource.direction) else WRONG_DIRECTION


def _check_period_length(simulator: SimulatorState, query: MeasureQuery, meter: Meter) -> AnyRefusal | None:
    if query.resource.kind is not MeasureKind.LOAD_CURVE:
        return None
    longest = _LONGEST_CURVE_DAYS - simulator.switches.seven_days_refused
    return TOO_LONG if (query.end - query.start).days > longest else None


def _check_history(simulator: SimulatorState, query: MeasureQuery, meter: Meter) -> AnyRefusal | None:
    options = simulator.options
    curve = query.resource.kind is MeasureKind.LOAD_CURVE
    months = options.load_curve_history_months if curve else options.daily_history_months
    deadline = months_before(simulator.clock.today(), months) - _EXTRA_HISTORY
    return BEFORE_HISTORY if query.start < deadline else None


def _check_activation(simulator: SimulatorState, query: MeasureQuery, meter: Meter) -> AnyRefusal | None:
    active = meter.activated_on
    return BEFORE_ACTIVATION if active is not None and query.start < active else None


def _check_curve_collection(simulator: SimulatorState, query: MeasureQuery, meter: Meter) -> AnyRefusal | None:
    """Refuse a curve that is not collected: "no data" where it is not activated, an error where the holder objected."""
    if query.resource.kind is not MeasureKind.LOAD_CURVE:
        return None
    if meter.switches.curve_objected:
        return CURVE_OBJECTED
    return None if meter.switches.curve_enabled else NO_DATA


_RULES: Final[tuple[Callable[[SimulatorState, MeasureQuery, Meter], AnyRefusal | None], ...]] = (
    _check_direction,
    _check_period_length,
    _check_history,
    _check_activation,
    _check_curve_collection,
)


def months_before(day: date, months: int) -> date:
    """Return the same day some months earlier, or the last day of that month."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
