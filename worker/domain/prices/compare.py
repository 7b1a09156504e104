"""Whether another option would have been cheaper: the last twelve months under each one, on the same days.

Compared are the days that are known whole, with their price, under every option that is shown. Of options, those with
most days come first; one that would leave the others fewer than ``LEAST_DAYS`` is not shown, and says what its days
lack.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Final

from worker.domain.prices import Colour, Option
from worker.domain.prices.choices import Terms
from worker.domain.prices.cost import Cost, row_of_days
from worker.domain.windows import ONE_DAY, DateWindow

LEAST_DAYS: Final = 330


class Lack(StrEnum):
    """What a day lacks, the first that it does."""

    PRICE = "price"
    HOURS = "hours"
    COLOURS = "colours"
    DAILY = "daily"  # A daily value.
    CURVE = "curve"  # Registers or a whole curve.


@dataclass(frozen=True, slots=True)
class ComparedOption:
    """An option. ``costs``: of the days that are compared; none if it isn't shown.

    ``known``: how many days it could be compared on. ``lacks``: what its other days lack, if it isn't shown.
    """

    option: Option
    costs: Mapping[date, Cost]
    known: int
    lacks: Mapping[Lack, int]

    def to_row(self, window: DateWindow) -> dict[str, Any]:
        """Return its row, as those of any days."""
        estimated = sum(cost.estimated for cost in self.costs.values())
        row = row_of_days(window, self.costs) | {"days": self.known, "estimated_days": estimated}
        return {"option": self.option, **row}


def last_year(today: date) -> DateWindow:
    """Return the twelve months that end with yesterday."""
    is_leap_day = (today.month, today.day) == (2, 29)
    start = date(today.year - 1, 3, 1) if is_leap_day else today.replace(year=today.year - 1)
    return DateWindow(start, today)


def compare(
    window: DateWindow,
    costs: Mapping[Option, Mapping[date, Cost]],
    terms: Mapping[Option, Mapping[date, Terms]],
    colours: Mapping[date, Colour],
    least_days: int = LEAST_DAYS,
) -> Iterator[ComparedOption]:
    """Yield each option of ``costs``."""
    known = {option: {day for day, cost in days.items() if cost.known} for option, days in costs.items()}
    common, shown = set(window.dates()), set()
    for option in sorted(known, key=lambda one: -len(known[one])):
        if len(common & known[option]) >= least_days:
            common &= known[option]
            shown.add(option)
    for option, days in costs.items():
        if option in shown:
            yield ComparedOption(option, {day: days[day] for day in sorted(common)}, len(common), {})
        else:
            lacking = (day for day in window.dates() if day not in known[option])
            lacks = Counter(_find_lack(day, terms[option][day], colours) for day in lacking)
            yield ComparedOption(option, {}, len(common & known[option]), lacks)


def _find_lack(day: date, terms: Terms, colours: Mapping[date, Colour]) -> Lack:
    if terms.price is None:
        return Lack.PRICE
    if terms.option is Option.BASE:
        return Lack.DAILY
    if terms.option is Option.HPHC and not (terms.hours and terms.hours.ranges):
        return Lack.HOURS
    if terms.option is Option.TEMPO and not {day - ONE_DAY, day} <= colours.keys():
        return Lack.COLOURS
    return Lack.CURVE
