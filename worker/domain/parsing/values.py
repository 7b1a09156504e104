"""Parsers of a single raw value to energy and of a raw step length to minutes.

A rejected value is None, never zero; the caller counts it.
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from worker.domain.measures.answers import Json

USUAL_STEP_MINUTES: Final = 30  # For a point without a step length of its own.
_NUMBER = re.compile(r"[+-]?\d{1,12}(\.\d{0,12})?", re.ASCII)  # No exponent, no "NaN", no endless digits.
_LARGEST: Final = Decimal(10**9)  # No connection draws a gigawatt, so a larger value is noise.
_DURATION = re.compile(r"PT(?:(\d{1,2})H)?(?:(\d{1,4})M)?", re.ASCII)
_MINUTES_PER_DAY: Final = 24 * 60


def parse_number(raw: Json) -> Decimal | None:
    """Parse a finite number of zero or more, sent as a number or as text; anything else is None.

    Rejects null, blanks, words, booleans, NaN, infinity and negative numbers (-1 and -2 are suppliers' markers).
    """
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    text = raw.strip() if isinstance(raw, str) else _digits_of_number(raw)
    if not _NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    return abs(number) if 0 <= number < _LARGEST else None


def _digits_of_number(number: int | float) -> str:
    """Return the digits of a JSON number; empty if it is out of range."""
    if isinstance(number, int):
        # Python refuses to write an integer of more than 4300 digits.
        return str(number) if -1 <= number < _LARGEST else ""
    return format(number, "f") if number >= 0 else ""  # Six decimals would turn -1e-7 into zero.


def to_energy(raw: Json, minutes: int) -> int | None:
    """Convert a raw mean power over a step to milliwatt-hours, rounded half up: Wh = W x minutes / 60.

    A raw energy in watt-hours is a power over 60 minutes. None if it is no number.
    """
    number = parse_number(raw)
    return None if number is None else int((number * minutes * 1000 / 60).quantize(Decimal(1), ROUND_HALF_UP))


def parse_step_minutes(raw: Json) -> int | None:
    """Parse the length of a step: ``PT30M``, ``PT1H`` or seconds as in the oldest answers ("1800"); absent means 30.

    None if it is no length that divides a day evenly.
    """
    if raw is None or raw == "":
        return USUAL_STEP_MINUTES
    if not isinstance(raw, str | int) or isinstance(raw, bool):
        return None
    text = str(raw).strip() if isinstance(raw, str) or 0 <= raw <= 86_400 else ""
    if text.isascii() and text.isdigit() and len(text) <= 5:
        seconds = int(text)
        minutes = seconds // 60 if seconds % 60 == 0 else 0
    else:
        match = _DURATION.fullmatch(text)
        minutes = int(match[1] or 0) * 60 + int(match[2] or 0) if match else 0
    return minutes if 0 < minutes <= 60 and _MINUTES_PER_DAY % minutes == 0 else None
