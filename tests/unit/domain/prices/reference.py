"""A plain reference for energy by tariff period and its cost: minute by minute, and nothing of ours is imported."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

PARIS = ZoneInfo("Europe/Paris")
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


class Step(NamedTuple):
    """``start`` is in UTC, ``energy`` in mWh."""

    start: datetime
    minutes: int
    energy: int


class Contract(NamedTuple):
    """What holds on a day; ``hours`` are minutes of the clock, from and until."""

    option: str
    hours: Sequence[tuple[int, int]] | None = None


@dataclass
class Known:
    """The energy by period, the minutes that are known, those of the day that are covered, and whether it is exact."""

    by_period: dict[str, Fraction] = field(default_factory=dict)
    minutes: int = 0
    covered: int = 0
    divided: bool = False


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=PARIS).astimezone(UTC)


def minutes_of_day(day: date) -> int:
    return int((midnight(day + DAY) - midnight(day)) / MINUTE)


def is_within(clock: int, start: int, end: int) -> bool:
    return start <= clock < end if start < end else clock >= start or clock < end


def period_at(instant: datetime, contract: Contract, colours: Mapping[date, str]) -> str | None:
    local = instant.astimezone(PARIS)
    clock = 60 * local.hour + local.minute
    if contract.option == "base":
        return "base"
    if contract.option == "tempo":
        colour = colours.get(local.date() if local.hour >= 6 else local.date() - DAY)
        return f"{colour}_{'hp' if 6 <= local.hour < 22 else 'hc'}" if colour else None
    if contract.hours is None:
        return None
    return "hc" if any(is_within(clock, start, end) for start, end in contract.hours) else "hp"


def by_day(steps: Sequence[Step], contracts: Mapping[date, Contract], colours: Mapping[date, str]) -> dict[date, Known]:
    """Return what is known of each day."""
    return _add_up(steps, contracts, colours, by_hour=False)


def by_hour(
    steps: Sequence[Step], contracts: Mapping[date, Contract], colours: Mapping[date, str]
) -> dict[datetime, Known]:
    """Return what is known of each hour, by its start in UTC."""
    return _add_up(steps, contracts, colours, by_hour=True)


def _add_up(
    steps: Sequence[Step], contracts: Mapping[date, Contract], colours: Mapping[date, str], by_hour: bool
) -> dict[Any, Known]:
    found: dict[Any, Known] = {}
    carried: dict[date, int] = {}
    for step in steps:
        day = step.start.astimezone(PARIS).date()
        end = step.start + step.minutes * MINUTE
        carried[day + DAY] = max(0, int((end - midnight(day + DAY)) / MINUTE))
        if day not in contracts:
            continue
        known = found.setdefault(step.start.replace(minute=0) if by_hour else day, Known())
        periods = []
        for minute in range(step.minutes):
            instant = step.start + minute * MINUTE
            period = period_at(instant, contracts[day], colours)
            periods.append(period)
            if period:
                known.by_period[period] = known.by_period.get(period, Fraction(0)) + Fraction(step.energy, step.minutes)
                known.minutes += 1
                known.covered += instant < midnight(day + DAY)
        known.divided |= len(set(periods)) > 1
    if not by_hour:
        for day, known in found.items():
            known.covered += carried.get(day, 0)
    return {key: known for key, known in found.items() if known.by_period}


def cost_of(
    by_period: Mapping[str, Fraction | int], prices: Mapping[str, Decimal], yearly: Decimal, day: date
) -> tuple[Fraction, Fraction]:
    """Return the euros of a day's energy, and of its subscription."""
    euros = sum(
        (Fraction(energy) * Fraction(prices[name]) / 1_000_000 for name, energy in by_period.items()), Fraction(0)
    )
    return euros, Fraction(yearly) / 12 / monthrange(day.year, day.month)[1]
