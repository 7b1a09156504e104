"""Alerts that a household sets: its limits, which of them a day exceeds, and which days it is told of.

It is told of a day only by a run that asks for newest or open days, and only when that run stores the day for the first
time. So nobody is alerted by a history, by a file, or by a correction of what was stored before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Final

from worker.domain.completeness import civil_day_of
from worker.domain.documents import MILLIWATT_HOURS_PER_KWH
from worker.domain.messages import LOOK_BACKS, REPAIR, Writes, run_kind, series_of, to_entries
from worker.domain.prices.cost import Cost, format_total
from worker.domain.prices.energy import EnergySource, PeriodEnergies
from worker.domain.series import Direction, Granularity, peaks_of_power
from worker.domain.totals import is_near
from worker.domain.windows import ONE_DAY

# What tells the energy that a series has; the maximum power tells none.
SOURCES: Final = {
    Granularity.DAY: EnergySource.DAILY,
    Granularity.STEP: EnergySource.CURVE,
    Granularity.REGISTER: EnergySource.REGISTERS,
}


class Limit(StrEnum):
    ENERGY = "energy"
    COST = "cost"
    POWER = "power"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertLimits:
    """The limits of an account; None where none is set.

    ``energy``: kWh a day. ``cost``: euros a day. ``power_since``: the first day whose maximum power is compared with
    the subscribed power.
    """

    energy: Decimal | None = None
    cost: Decimal | None = None
    power_since: date | None = None


def find_exceeded(
    limits: AlertLimits, energy: PeriodEnergies | None, cost: Cost | None, power: int | None, subscribed: int | None
) -> dict[Limit, EnergySource | None]:
    """Return the limits that a day exceeds, each with what told its energy.

    A cost that isn't known for the whole day exceeds nothing. ``power`` and ``subscribed``: in mVA; a power within 10 %
    of the subscribed one is too much.
    """
    found = dict[Limit, EnergySource | None]()
    used = sum(energy.by_period.values()) if energy else 0
    if limits.energy is not None and energy and used > limits.energy * MILLIWATT_HOURS_PER_KWH:
        found[Limit.ENERGY] = energy.source
    paid = Decimal(format_total(cost) or 0) if cost and cost.known >= cost.expected else 0
    if limits.cost is not None and cost and paid > limits.cost:
        found[Limit.COST] = cost.source
    if limits.power_since and power and subscribed and is_near(power, subscribed):
        found[Limit.POWER] = None
    return found


def days_to_tell(writes: Writes, limits: AlertLimits, today: date) -> list[date]:
    """Return the days, sorted, that a window stores for the first time and of which the household is told."""
    series = series_of(writes)
    if run_kind(writes) not in {*LOOK_BACKS, REPAIR} or series.description.direction is Direction.PRODUCTION:
        return []
    # A register's midnight ends the day before. Steps with other bounds correct those that they replace.
    shift = ONE_DAY * (series.description.granularity is Granularity.REGISTER)
    new = (one for one in to_entries(writes["changed"]) if one.replaced_amount is None)
    days = {civil_day_of(one.key, series) - shift for one in new if one.key not in writes["reshaped"]}
    first = limits.power_since or date.max if series is peaks_of_power() else today - 2 * ONE_DAY
    return sorted(day for day in days if first <= day < today)
