"""What an account is on, by day: the regulated tariff or its own prices, and its off-peak hours.

Of the regulated choices and the own prices of electricity, the one that began last holds. Off-peak hours that the
household gives come first. Else those of the contract series hold from the day on which they were told, and as an
estimate back to that contract's activation, but not before a day on which others were told. Before that they are
unknown.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, time
from itertools import pairwise
from typing import Any, Final, Self, TypeVar

from worker.domain.documents import Entry
from worker.domain.prices import Option, Price, PricesRefused, find_price
from worker.domain.prices.own_prices import OwnPrices, option_of
from worker.domain.prices.regulated import RegulatedTariff
from worker.domain.tariffs import TimeRange, parse_off_peak_hours
from worker.domain.windows import DateWindow

DAY_MINUTES: Final = 24 * 60  # Of the clock, also on the days of 23 and 25 hours.
_RANGE: Final = re.compile(r"(\d{1,2})[:h](\d\d)? ?- ?(\d{1,2})[:h](\d\d)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RegulatedChoice:
    """The regulated tariff from the day ``first`` on; ``power`` in kVA."""

    first: date
    option: Option
    power: int


@dataclass(frozen=True, slots=True)
class OffPeakHours:
    """Off-peak hours from the day ``first`` on, in the local time of Paris; ``ranges`` is None where they are unknown.

    ``estimated``: a contract that was told later has them.
    """

    first: date
    ranges: tuple[TimeRange, ...] | None
    estimated: bool = False


_Dated = TypeVar("_Dated", bound=RegulatedChoice | OffPeakHours | Price)


@dataclass(frozen=True, slots=True)
class TariffChoices:
    """The dated choices of a household, or of an operator for a tenant; each in the order of its days."""

    regulated: tuple[RegulatedChoice, ...] = ()
    own: OwnPrices = field(default_factory=OwnPrices)
    hours: tuple[OffPeakHours, ...] = ()

    def with_regulated(self, choice: RegulatedChoice) -> Self:
        """Return the choices with this one; it replaces what begins on the same day, and later ones stay."""
        own = replace(self.own, electricity=_without(self.own.electricity, {choice.first}))
        return replace(self, regulated=_put(self.regulated, choice), own=own)

    def with_price(self, kind: str, price: Price) -> Self:
        """Return the choices with this own price of ``electricity``, ``gas`` or ``production``, likewise."""
        kinds: dict[str, Any] = {kind: _put(getattr(self.own, kind), price)}
        return self.with_own(OwnPrices(self.own.supplier, **kinds))

    def with_own(self, own: OwnPrices) -> Self:
        """Return the choices with all own prices of the kinds that ``own`` has; other kinds stay."""
        kinds = {kind: getattr(own, kind) or getattr(self.own, kind) for kind in ("electricity", "gas", "production")}
        days = {price.first for price in own.electricity}
        return replace(self, regulated=_without(self.regulated, days), own=replace(own, **kinds))

    def with_hours(self, hours: OffPeakHours) -> Self:
        """Return the choices with these hours; they replace those of the same day, and later ones stay."""
        return replace(self, hours=_put(self.hours, hours))

    def choice_on(self, day: date) -> RegulatedChoice | Price | None:
        """Return what holds on a day; an own price also after its last day, until another choice begins."""
        found = [one for one in (_in_force(self.regulated, day), _in_force(self.own.electricity, day)) if one]
        return max(found, key=lambda one: one.first, default=None)

    def to_json(self) -> dict[str, Any]:
        return {
            "regulated": [[str(one.first), one.option, one.power] for one in self.regulated],
            "own": self.own.to_json(),
            "hours": [[str(one.first), format_hours(one.ranges or ())] for one in self.hours],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        regulated = ((date.fromisoformat(day), Option(name), power) for day, name, power in stored["regulated"])
        hours = ((date.fromisoformat(day), read_hours(text)) for day, text in stored["hours"])
        own = OwnPrices.from_json(stored["own"])
        return cls(tuple(RegulatedChoice(*one) for one in regulated), own, tuple(OffPeakHours(*one) for one in hours))


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds on a day; ``price`` is None where it has none.

    ``hours``: the off-peak hours of an option that needs them, None where they are unknown. ``estimated``: they are.
    """

    option: Option
    price: Price | None = None
    hours: tuple[TimeRange, ...] | None = None
    estimated: bool = False


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
        choice = next((found for one in choices if (found := one.choice_on(day))), None)
        if isinstance(choice, RegulatedChoice):
            tariff = tariffs.get(choice.option)
            terms[day] = Terms(choice.option, find_price(tariff.prices(choice.power), day) if tariff else None)
        elif choice:
            terms[day] = Terms(option_of(choice), find_price([choice], day))
        if choice and terms[day].option is Option.HPHC and (hours := _in_force(given, day) or _in_force(told, day)):
            terms[day] = replace(terms[day], hours=hours.ranges, estimated=hours.estimated)
    return terms


def hours_of_contracts(rows: Iterable[Entry]) -> Iterator[OffPeakHours]:
    """Yield the hours that the contract series tells, in the order of their days; ``rows`` in key order."""
    before = date.min
    for row in rows:
        details, day = row.details or {}, date.fromisoformat(row.key)
        ranges = parse_off_peak_hours(details.get("off_peak_hours")) or None
        activated = date.fromisoformat(details["activated_on"]) if details.get("activated_on") else day
        if before < activated < day:
            yield OffPeakHours(activated, ranges, estimated=True)
        yield OffPeakHours(day, ranges)
        before = day


def read_hours(text: str) -> tuple[TimeRange, ...]:
    """Return the off-peak hours that a person writes as ``22:00-06:00,12:30-14:30``. Raises PricesRefused."""
    ranges = [_read_range(number, part.strip()) for number, part in enumerate(re.split("[,;]", text), 1)]
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


def _read_range(number: int, text: str) -> TimeRange:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise PricesRefused(f"off-peak hours, range {number}: write ranges such as 22:00-06:00,12:30-14:30")
    start, end = (_read_time(number, match[place], match[place + 1] or "00") for place in (1, 3))
    if start == end:
        raise PricesRefused(f"off-peak hours, range {number}: it ends when it begins, at {start:%H:%M}")
    return start, end


def _read_time(number: int, hour: str, minute: str) -> time:
    if int(hour) > 23 or int(minute) > 59:
        hint = "write 00:00" if (hour, minute) == ("24", "00") else "the last time of a day is 23:59"
        raise PricesRefused(f"off-peak hours, range {number}: {hour}:{minute} does not exist, {hint}")
    return time(int(hour), int(minute))


def _put(items: Iterable[_Dated], new: _Dated) -> tuple[_Dated, ...]:
    return tuple(sorted([*_without(items, {new.first}), new], key=lambda item: item.first))


def _without(items: Iterable[_Dated], days: Collection[date]) -> tuple[_Dated, ...]:
    """Return the items that begin on none of these days."""
    return tuple(item for item in items if item.first not in days)


def _in_force(items: Sequence[_Dated], day: date) -> _Dated | None:
    """Return the item that began last up to a day."""
    place = bisect_right(items, day, key=lambda item: item.first)
    return items[place - 1] if place else None
