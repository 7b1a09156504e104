"""The further fields of a day's gas in words: volume, coefficient, index, and whether the value is provisional.

A word of the supplier's that nobody knows is shown as it was sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final

from worker.texts import load_texts
from worker.web.texts import Words

DayDetails = Mapping[date, Mapping[str, Any]]
PROVISIONAL: Final = "provisional"
_NUMBERS: Final = {"volume": "m³", "coefficient": "kWh/m³", "index_start": "m³", "index_end": "m³"}
_WORDS: Final = ("quality", "status")
_USUAL: Final = ("measured", "final")  # Nothing is said of these in a table.


def describe_day(details: Mapping[str, Any], words: Words) -> list[tuple[str, str]]:
    """Return the keys of the names of the figures that are known, and the figures with their units."""
    numbers = [
        (f"gas.{name}", with_unit(details[name], unit, words)) for name, unit in _NUMBERS.items() if name in details
    ]
    texts = [(f"gas.{name}", _in_words(name, details[name], words)) for name in _WORDS if name in details]
    return numbers + texts


def with_unit(value: Any, unit: str, words: Words) -> str:
    return f"{words.decimal(Decimal(str(value)))}\N{NO-BREAK SPACE}{unit}"


def list_marks(details: Mapping[str, Any], words: Words) -> list[str]:
    """Return what a table says of a value beside it, such as ``provisoire``; nothing of a measured and final one."""
    known = {name: str(details[name]) for name in reversed(_WORDS) if name in details}
    return [_in_words(name, value, words) for name, value in known.items() if value not in _USUAL]


def count_marks(details: DayDetails, words: Words) -> list[str]:
    """Return in words how many of the days have a provisional value; nothing where none has."""
    provisional = _count_provisional(details)
    return [words.count("gas.days_provisional", provisional)] if provisional else []


def notes_on_marks(details: DayDetails, is_day: bool, supplier: str, words: Words) -> Iterator[str]:
    """Yield what a chart says below it of values that may still change."""
    if is_day and details:
        yield words("gas.day")
    if provisional := _count_provisional(details):
        key = "gas.provisional.day" if is_day else "gas.provisional"
        yield words(key, supplier=supplier) if is_day else words.count(key, provisional, supplier=supplier)


def quality_of(details: Mapping[str, Any], words: Words) -> str:
    return _in_words("quality", details["quality"], words) if "quality" in details else ""


def _count_provisional(details: DayDetails) -> int:
    return sum(of_day.get("status") == PROVISIONAL for of_day in details.values())


def _in_words(name: str, value: Any, words: Words) -> str:
    key = f"gas.{name}.{value}"
    return words(key) if key in load_texts() else str(value)
