"""Which refusal a well-formed question gets: rules in the order in which the supplier asks them.

Token and quota come before, in the gateway; then meter and date formats, in ``questions``.  Order: upstream-apis,
end of 1.9, inferred there.
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
    NO_CONSENT,
    NO_DATA,
    START_AFTER_END,
    TABLE,
    TOO_LONG,
    WRONG_DIRECTION,
    Refusal,
    Verbatim,
)
from worker.simulator.api.requests import Question
from worker.simulator.consents import Consent
from worker.simulator.homes.meters import Meter
from worker.simulator.homes.series import MeasureKind
from worker.simulator.state import SimulatorState

AnyRefusal = Refusal | Verbatim
_EXTRA_HISTORY: Final = timedelta(days=15)
_LONGEST_CURVE_DAYS: Final = 7


def refusal_of(world: SimulatorState, question: Question, consent: Consent | None) -> AnyRefusal | None:
    """The first rule that the question breaks; ``consent`` stands behind a user's token, None for an application's."""
    if question.end > world.clock.today():
        return END_TOO_LATE
    if question.start >= question.end:
        return START_AFTER_END
    if refusal := refusal_of_usage_point(world, question.usage_point, consent):
        return refusal
    meter = world.meters.get(question.usage_point)
    return next((refusal for rule in _RULES if (refusal := rule(world, question, meter))), None)


def refusal_of_usage_point(world: SimulatorState, usage_point: str, consent: Consent | None) -> AnyRefusal | None:
    """Consent, then whatever refusal was switched on for this meter."""
    switches = world.meters.switches(usage_point)
    if consent is not None and usage_point not in consent.usage_points:
        return NO_CONSENT
    if switches.consent_revoked or world.consents.ended(usage_point):
        return NO_CONSENT
    return TABLE[switches.refusal] if switches.refusal is not None else None


def _direction(world: SimulatorState, question: Question, meter: Meter) -> AnyRefusal | None:
    return None if meter.measured.measures(question.resource.direction) else WRONG_DIRECTION


def _period_length(world: SimulatorState, question: Question, meter: Meter) -> AnyRefusal | None:
    if question.resource.kind is not MeasureKind.LOAD_CURVE:
        return None
    longest = _LONGEST_CURVE_DAYS - world.switches.seven_days_refused
    return TOO_LONG if (question.end - question.start).days > longest else None


def _history(world: SimulatorState, question: Question, meter: Meter) -> AnyRefusal | None:
    options = world.options
    curve = question.resource.kind is MeasureKind.LOAD_CURVE
    months = options.load_curve_history_months if curve else options.daily_history_months
    deadline = months_before(world.clock.today(), months) - _EXTRA_HISTORY
    return BEFORE_HISTORY if question.start < deadline else None


def _activation(world: SimulatorState, question: Question, meter: Meter) -> AnyRefusal | None:
    active = meter.activated_on
    return BEFORE_ACTIVATION if active is not None and question.start < active else None


def _curve_switched_on(world: SimulatorState, question: Question, meter: Meter) -> AnyRefusal | None:
    """Without hourly collection there is just no data; an objection is said as such (1.3, 1.9)."""
    if question.resource.kind is not MeasureKind.LOAD_CURVE:
        return None
    if meter.switches.curve_objected:
        return CURVE_OBJECTED
    return None if meter.switches.curve_enabled else NO_DATA


_RULES: Final[tuple[Callable[[SimulatorState, Question, Meter], AnyRefusal | None], ...]] = (
    _direction,
    _period_length,
    _history,
    _activation,
    _curve_switched_on,
)


def months_before(day: date, months: int) -> date:
    """The same day of an earlier month, or its last day."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
