"""The calendar of Tempo: a file of colours by day.

    day,colour
    2024-09-01,BLUE

A colour holds from 06:00 of its day to 06:00 of the next, in the local time of Paris (``energy``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from typing import Final

from worker.domain.prices import Colour, PricesRefused

_HEADER: Final = "day,colour"
_DAY: Final = re.compile(r"20\d\d-\d\d-\d\d", re.ASCII)


def read_colours(text: str) -> dict[date, Colour]:
    """Return the colours of a file, in the order of their days. Raises PricesRefused."""
    lines = [line.replace(" ", "").replace(";", ",").lower() for line in text.lstrip("\ufeff").splitlines()]
    filled = [(number, line) for number, line in enumerate(lines, 1) if line]
    if not filled or filled[0][1] != _HEADER:
        raise PricesRefused(f"the first line must be {_HEADER}")
    colours: dict[date, Colour] = {}
    for number, line in filled[1:]:
        day, colour = _read_row(number, line)
        if colours.setdefault(day, colour) is not colour:
            raise PricesRefused(f"line {number}: {day} was {colours[day]} in a line before")
    if not colours:
        raise PricesRefused("it has no days")
    return dict(sorted(colours.items()))


def write_colours(colours: Mapping[date, Colour]) -> str:
    """Return the text of a file."""
    return "".join([f"{_HEADER}\n", *(f"{day},{colour.upper()}\n" for day, colour in sorted(colours.items()))])


def _read_row(number: int, line: str) -> tuple[date, Colour]:
    day, _, colour = line.partition(",")
    with suppress(ValueError):
        if _DAY.fullmatch(day):
            return date.fromisoformat(day), Colour(colour)
    raise PricesRefused(f"line {number}: must be a day and its colour (blue, white or red), such as 2024-01-31,BLUE")
