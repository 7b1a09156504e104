"""One raw value to energy, one raw length to minutes: where bad data is kept out.

A rejected value gives None, never zero (V1 to V3); the caller counts it (V4).
"""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Final

from worker.domain.measures.answers import Json

USUAL_STEP_MINUTES: Final = 30  # where a point does not tell its own (upstream-apis, 1.6)
_NUMBER = re.compile(r"[+-]?\d{1,12}(\.\d{0,12})?", re.ASCII)  # no exponent, no "NaN", no digit flood
_LARGEST: Final = Decimal(10**9)  # no connection draws a gigawatt: a value above is noise, not consumption
_DURATION = re.compile(r"PT(?:(\d{1,2})H)?(?:(\d{1,4})M)?", re.ASCII)
_MINUTES_PER_DAY: Final = 24 * 60
_DIGITS_AT_ONCE: Final = 9  # below ``_LARGEST`` in any case
_LONGEST_KEPT: Final = 16  # letters: what is kept of answers has a bound


def parse_number(raw: Json) -> Decimal | None:
    """A finite number of zero or more, sent as a number or as text; anything else is None.

    Rejects null, blanks, words, booleans, NaN and infinity, negatives (-1 and -2 are suppliers' markers).
    """
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    text = raw.strip() if isinstance(raw, str) else _plain(raw)
    if not _NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    return abs(number) if 0 <= number < _LARGEST else None


def _plain(number: int | float) -> str:
    """Digits of a JSON number; a huge integer must not be spelled out, Python refuses beyond 4300 digits."""
    if isinstance(number, int):
        return str(number) if -1 <= number < _LARGEST else ""
    return format(number, "f") if number >= 0 else ""  # six decimals would make a zero of -1e-7


def watt_hours_to_milliwatt_hours(watt_hours: Decimal) -> int:
    return _whole(watt_hours * 1000)


def to_energy(raw: Json, minutes: int) -> int | None:
    """One mean power as sent to milliwatt-hours; None where it is no number."""
    if type(raw) is str and len(raw) <= _LONGEST_KEPT:
        return _read_energy(raw, minutes)
    number = parse_number(raw)
    return None if number is None else watts_to_milliwatt_hours(number, minutes)


@lru_cache(maxsize=16384)  # homes draw the same few thousand powers
def _read_energy(text: str, minutes: int) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= _DIGITS_AT_ONCE:
        return (int(text) * minutes * 2000 + 60) // 120  # whole watts, as nearly all are: the same, half up
    number = parse_number(text)
    return None if number is None else watts_to_milliwatt_hours(number, minutes)


def watts_to_milliwatt_hours(watts: Decimal, minutes: int) -> int:
    """Mean power over a step to its energy: Wh = W x minutes / 60 (upstream-apis, 1.6)."""
    return _whole(watts * minutes * 1000 / 60)


def _whole(number: Decimal) -> int:
    return int(number.quantize(Decimal(1), ROUND_HALF_UP))


def parse_step_minutes(raw: Json) -> int | None:
    """Length of a step: ``PT30M``, ``PT1H``, seconds as in the oldest answers ("1800"); absent means 30.

    None where it is said but can't be a step that divides a day evenly.
    """
    if raw is None or raw == "":
        return USUAL_STEP_MINUTES
    if not isinstance(raw, str | int) or isinstance(raw, bool):
        return None
    return _read_step(str(raw).strip() if isinstance(raw, str) or 0 <= raw <= 86_400 else "")


@lru_cache(maxsize=64)
def _read_step(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= 5:
        seconds = int(text)
        minutes = seconds // 60 if seconds % 60 == 0 else 0
    else:
        match = _DURATION.fullmatch(text)
        minutes = int(match[1] or 0) * 60 + int(match[2] or 0) if match else 0
    return minutes if 0 < minutes <= 60 and _MINUTES_PER_DAY % minutes == 0 else None
