"""The parser of one value: a number as JSON or as text, its amount in whole thousandths of its unit, words and days."""

from __future__ import annotations

import re
import unicodedata
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Final

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import civil_date

_NUMBER = re.compile(r"[+-]?\d{1,12}(\.\d{0,12})?", re.ASCII)  # No exponent, no "NaN", no endless digits.
_LARGEST: Final = Decimal(10**9)  # No connection draws a gigawatt, so a larger value is noise.
_LONGEST_TEXT: Final = 200
_DECIMAL: Final = re.compile(r"[+-]?\d{1,30}(\.\d{0,60})?(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)
_DATE: Final = re.compile(r"(20\d\d|19\d\d)-\d\d-\d\d(?:[+-]\d\d:?\d\d|Z)?", re.ASCII)


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


def parse_decimal(raw: Json) -> Decimal | None:
    """Parse a finite number of zero or more with all its digits; what ``parse_number`` rejects is None."""
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    # The shortest text of a float is the number that was sent.
    text = raw.strip() if isinstance(raw, str) else repr(raw) if isinstance(raw, float) else _digits_of_number(raw)
    try:
        number = Decimal(text) if _DECIMAL.fullmatch(text) else None
    except InvalidOperation:
        return None
    return abs(number) if number is not None and 0 <= number < _LARGEST else None


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
    return None if number is None else to_whole(number * minutes * 1000 / 60)


def to_thousandths(raw: Json) -> int | None:
    """Convert a raw value to whole thousandths of its unit, rounded half up; None if it is no number."""
    number = parse_number(raw)
    return None if number is None else to_whole(number * 1000)


def to_whole(number: Decimal) -> int:
    """Round to a whole number, half up."""
    return int(number.quantize(Decimal(1), ROUND_HALF_UP))


def parse_text(raw: Json) -> str | None:
    """Return a short text without the blanks around it; None for anything else and for an empty one."""
    text = " ".join(raw.split()) if isinstance(raw, str) and len(raw) <= _LONGEST_TEXT else ""
    return text or None


def parse_date(raw: Json) -> str | None:
    """Return the day of a date, also with an offset glued on, or of a moment in Europe/Paris; ``YYYY-MM-DD``."""
    text = parse_text(raw) or ""
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text[:10]).isoformat()
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not 1900 < moment.year < 9999:
        return None
    return (civil_date(moment) if moment.tzinfo else moment.date()).isoformat()


def to_plain(text: str) -> str:
    """Return a text in lower case without accents, with straight quotes and single blanks, to compare words."""
    letters = unicodedata.normalize("NFKD", text.replace("\u2019", "'"))
    return " ".join("".join(letter for letter in letters if not unicodedata.combining(letter)).casefold().split())
