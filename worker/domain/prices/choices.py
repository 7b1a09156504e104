"""What an account is on, by day: the regulated tariff or its own prices, and its off-peak hours.

Of regulated choices and own prices, the one that began last holds. Off-peak hours that the household gives come first.
Else those of the contract series hold from the day on which they were told, and as an estimate back to that contract's
activation, but not before a day on which others were told. Before that they are unknown.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from typing import Any, Final, NamedTuple, Self, TypeVar

from worker.domain.documents import Entry
from worker.domain.prices import PERIODS, Option, Price, PricesRefused, find_price
from worker.domain.prices.regulated import RegulatedTariff
from worker.domain.tariffs import TimeRange, parse_off_peak_hours
from worker.domain.windows import ONE_DAY, DateWindow

_OPTIONS: Final = {frozenset(periods): option for option, periods in PERIODS.items()}
KINDS: Final = ("electricity", "gas", "production")
DAY_MINUTES: Final = 24 * 60  # Of the clock, also on the days of 23 and 25 hours.
_Dated = TypeVar("_Dated", bound="RegulatedChoice | OffPeakHours | Price")


@dataclass(frozen=True, slots=True)
class RegulatedChoice:
    """The regulated tariff from the day ``first`` on; ``power`` in kVA."""

    first: date
    option: Option
    power: int


def option_of(choice: RegulatedChoice | Price) -> Option:
    """Return the option of a choice of electricity: that of a price is the one whose tariff periods it has."""
    return choice.option if isinstance(choice, RegulatedChoice) else _OPTIONS[frozenset(choice.energy)]


@dataclass(frozen=True, slots=True)
class OffPeakHours:
    """Off-peak hours from the day ``first`` on, in the local time of Paris; without ``ranges`` they are unknown.

    ``estimated``: a contract that was told later has them.
    """

    first: date
    ranges: tuple[TimeRange, ...]
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class TariffChoices:
    """The dated choices of a household, or of an operator for a tenant; each in the order of its days.

    A price is an own one; it holds until its last day, or until the next choice begins. Those of gas and of production
    have the period ``price``.
    """

    electricity: tuple[RegulatedChoice | Price, ...] = ()
    gas: tuple[Price, ...] = ()
    production: tuple[Price, ...] = ()
    hours: tuple[OffPeakHours, ...] = ()

    def put(self, kind: str, *new: RegulatedChoice | Price | OffPeakHours) -> Self:
        """Return the choices with others of a kind, which is named as its field.

        Each replaces the one that begins on the same day; later ones stay.
        """
        by_day = {one.first: one for one in (*getattr(self, kind), *new)}
        fields: dict[str, Any] = {kind: tuple(by_day[day] for day in sorted(by_day))}
        return replace(self, **fields)

    def with_own(self, own: Self) -> Self:
        """Return the choices with all own prices of the kinds that ``own`` has; other kinds stay.

        They replace the regulated choices on their days: what would hold after the last of these holds from then on.
        """
        choices = self
        for kind in KINDS:
            if prices := getattr(own, kind):
                regulated = [one for one in getattr(self, kind) if isinstance(one, RegulatedChoice)]
                kept: dict[str, Any] = {kind: [one for one in regulated if not find_price(prices, one.first)]}
                choices = replace(choices, **kept).put(kind, *prices)
                if (last := prices[-1].last) and (after := _in_force(regulated, last + ONE_DAY)):
                    choices = choices.put(kind, replace(after, first=last + ONE_DAY))
        return choices


class Terms(NamedTuple):
    """What holds on a day; ``price`` is None where it has none, ``hours`` where they are unknown or not needed."""

    option: Option
    price: Price | None = None
    hours: OffPeakHours | None = None


def terms_by_day(
    window: DateWindow,
    choices: Sequence[TariffChoices],
    tariffs: Mapping[Option, RegulatedTariff],
    contracts: Iterable[Entry] = (),
) -> dict[date, Terms]:
    """Return what holds on each day; no days before the first choice.

    ``choices``: those of the household, then an operator's, which hold before the household's first one; their hours
    never do. ``contracts``: the rows of the contract series in key order.
    """
    told, given = list(hours_of_contracts(contracts)), choices[0].hours if choices else ()
    terms = {}
    for day in window.dates():
        if not (choice := choice_on(choices, "electricity", day)):
            continue
        option, price = option_of(choice), price_of(choice, tariffs, day)
        hours = (_in_force(given, day) or _in_force(told, day)) if option is Option.HPHC else None
        terms[day] = Terms(option, price, hours)
    return terms


def choice_on(choices: Iterable[TariffChoices], kind: str, day: date) -> RegulatedChoice | Price | None:
    """Return what was set of a kind for a day; an own price may have ended before it."""
    return next((found for one in choices if (found := _in_force(getattr(one, kind), day))), None)


def first_change(before: TariffChoices, after: TariffChoices) -> date | None:
    """Return the first day from which choices of any kind differ; None if they are the same."""
    kinds = ((getattr(before, kind), getattr(after, kind)) for kind in (*KINDS, "hours"))
    changed = (one for old, new in kinds for one in (*old, *new) if one not in old or one not in new)
    return min((one.first for one in changed), default=None)


def price_of(
    choice: RegulatedChoice | Price | None, tariffs: Mapping[Option, RegulatedTariff], day: date
) -> Price | None:
    """Return the price by which a choice pays a day; None if the price has ended or isn't known."""
    if isinstance(choice, RegulatedChoice):
        tariff = tariffs.get(choice.option)
        return find_price(tariff.by_power.get(choice.power, ()), day) if tariff else None
    return find_price([choice], day) if choice else None


def hours_of_contracts(rows: Iterable[Entry]) -> Iterator[OffPeakHours]:
    """Yield the hours that the contract series tells, in the order of their days; ``rows`` in key order."""
    before = date.min
    for row in rows:
        details, day = row.details or {}, date.fromisoformat(row.key)
        ranges = parse_off_peak_hours(details.get("off_peak_hours"))
        activated = date.fromisoformat(details["activated_on"]) if details.get("activated_on") else day
        if before < activated < day:
            yield OffPeakHours(activated, ranges, estimated=True)
        yield OffPeakHours(day, ranges)
        before = day


def read_hours(text: str) -> tuple[TimeRange, ...]:
    """Return the off-peak hours that a person writes as ``22:00-06:00,12:30-14:30``. Raises PricesRefused."""
    ranges = [one for number, part in enumerate(re.split("[,;]", text), 1) for one in _read_range(number, part)]
    spans = sorted((*span, one) for one in ranges for span in minutes_of([one]))
    if sum(end - start for start, end, _ in spans) > DAY_MINUTES:
        raise PricesRefused("off-peak hours: together the ranges are longer than 24 hours")
    for (_, end, one), (start, _, other) in pairwise(spans):
        if start < end:
            raise PricesRefused(f"off-peak hours: {format_hours([one])} and {format_hours([other])} overlap")
    return tuple(sorted(ranges))


def format_hours(ranges: Iterable[TimeRange]) -> str:
    """Return the text that ``read_hours`` reads."""
    return ",".join(f"{start:%H:%M}-{end:%H:%M}" for start, end in ranges)


def minutes_of(ranges: Iterable[TimeRange]) -> Iterator[tuple[int, int]]:
    """Yield the ranges in minutes of the clock, end excluded; one that passes midnight is two."""
    for start, end in ranges:
        first, last = 60 * start.hour + start.minute, 60 * end.hour + end.minute
        yield first, last if first < last else DAY_MINUTES
        if 0 < last <= first:
            yield 0, last


def _read_range(number: int, text: str) -> tuple[TimeRange, ...]:
    start, _, end = (part.strip() for part in text.partition("-"))
    if start and start == end:
        hint = "it must end at another time than it begins"
    elif re.match("24", start) or re.match("24", end):
        hint = "write 00:00 for 24:00"
    elif ranges := parse_off_peak_hours(text):
        return ranges
    else:
        hint = "write it as 22:00-06:00, with times from 00:00 to 23:59"
    raise PricesRefused(f"off-peak hours, range {number}: {hint}")


def _in_force(items: Sequence[_Dated], day: date) -> _Dated | None:
    """Return the item that began last up to a day."""
    place = bisect_right(items, day, key=lambda item: item.first)
    return items[place - 1] if place else None
