"""What a household with panels drew from the grid and what it fed in: their balance, and both in one row of a table.

The meter sees the grid alone: what panels make and the home uses at once passes no meter. So the two are never added
up, and their difference is named as what it is: more drawn than fed in, or more fed in than drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from worker.web.pages.day_slots import Slot
from worker.web.pages.measures import SpanMeasures, View
from worker.web.texts import Words


@dataclass(frozen=True, slots=True)
class Balance:
    """Energy drawn less energy fed in (mWh), over the days that both are known of; negative: more was fed in.

    ``whole``: those are all days that either is known of.
    """

    energy: int
    days: int
    whole: bool


def balance_of(drawn: SpanMeasures, fed: SpanMeasures) -> Balance | None:
    """Return what was drawn less what was fed in; None where no day is known of both."""
    both = drawn.days.keys() & fed.days.keys()
    if not both:
        return None
    energy = sum(drawn.days[day] - fed.days[day] for day in both)
    return Balance(energy, len(both), whole=drawn.days.keys() == fed.days.keys())


def describe_balance(balance: Balance, view: View, words: Words) -> str:
    """Return the balance in a sentence, such as ``Vous avez injecté 88 kWh de plus que vous n’en avez soutiré``."""
    places = 2 if view is View.DAY else None
    key = "equal" if balance.energy == 0 else ("drawn" if balance.energy > 0 else "fed")
    sentence = words(f"balance.{key}", energy=words.energy(abs(balance.energy), places))
    if balance.whole:
        return f"{sentence}."
    return f"{sentence} ({words.count('chart.over.days', balance.days)})."


def rows_of_both(drawn: SpanMeasures, fed: SpanMeasures) -> list[tuple[int | None, int | None]]:
    """Return for each slot of ``drawn`` what was fed in during the same time, and what was drawn less that.

    Both are None where they are unknown. The steps of two curves of one day may have different lengths, and of a month
    some days may be known of one direction alone: there the difference would compare unequal times.
    """
    rows: list[tuple[int | None, int | None]] = []
    for slot in drawn.slots:
        energy = _energy_within(slot, fed.slots)
        balance = None
        if energy is not None and slot.energy is not None and _knows_same_days(slot, drawn, fed):
            balance = slot.energy - energy
        rows.append((energy, balance))
    return rows


def _energy_within(slot: Slot, others: Sequence[Slot]) -> int | None:
    start, end = slot.start.timestamp(), slot.start.timestamp() + slot.length.total_seconds()
    within = [other for other in others if start <= other.start.timestamp() < end]
    energies = [other.energy for other in within if other.energy is not None]
    if len(energies) < len(within) or sum((other.length for other in within), timedelta()) != slot.length:
        return None
    return sum(energies)


def _knows_same_days(slot: Slot, drawn: SpanMeasures, fed: SpanMeasures) -> bool:
    if drawn.span.view is not View.YEAR:
        return True
    month = slot.start.month
    return [day for day in drawn.days if day.month == month] == [day for day in fed.days if day.month == month]
