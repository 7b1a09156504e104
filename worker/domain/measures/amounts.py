"""Amounts as texts: stored energy in kWh, shares and changes in percent; rounded half up, away from zero.

Energy comes in whole milliwatt-hours (mWh), the sixth decimal of a kWh, and nothing here is reckoned in floats: a value
at the half would be rounded by chance, or to the even neighbour.

What is listed is shown with all its places (``count_places``), so that it adds up to its total exactly. A total that is
shown with fewer is the true total rounded, never the sum of rounded parts. Days are whole Wh: 3 places. Half-hours of
whole watts are half Wh: 4 places. Steps of 5 and 10 minutes have thirds of a Wh, and are stored in whole mWh: 6 places.
What lies beyond these is lost when they are stored: 288 steps at 1 kW are 23.999904 kWh, shown as 24.00.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

MILLIWATT_HOURS_PER_KWH: Final = 1_000_000
MILLIWATT_HOURS_PER_WH: Final = 1000
DAY_PLACES: Final = 3
STEP_PLACES: Final = 4
_MOST_PLACES: Final = 6


def round_half_up(value: int, unit: int) -> int:
    """Round to a multiple of ``unit``; a half is rounded away from zero."""
    size = (2 * abs(value) + unit) // (2 * unit) * unit
    return size if value >= 0 else -size


def round_kwh(milliwatt_hours: int, places: int) -> Decimal:
    """Return the energy in kWh with so many decimals, at most six."""
    unit = 10 ** (_MOST_PLACES - places)
    return Decimal(round_half_up(milliwatt_hours, unit) // unit).scaleb(-places)


def format_kwh(milliwatt_hours: int, places: int | None = None) -> str:
    """Return the energy in kWh as ``0.063``; without ``places`` with all it has and at least three, as ``0.0625``.

    It has a point and no groups, for files and the command line. Pages write ``round_kwh`` as their language does.
    """
    return f"{round_kwh(milliwatt_hours, count_places([milliwatt_hours]) if places is None else places):f}"


def count_places(energies: Iterable[int], least: int = DAY_PLACES) -> int:
    """Return how many decimals of a kWh show each of the energies (mWh) exactly, at least ``least``."""
    places = least
    for energy in energies:
        while energy % 10 ** (_MOST_PLACES - places):
            places += 1
    return places


def to_kwh(milliwatt_hours: int) -> float:
    """Return the energy in kWh as a number for JSON, where its shortest text has all its places."""
    return milliwatt_hours / MILLIWATT_HOURS_PER_KWH


def round_share(part: int, whole: int, steps: int) -> int:
    """Return ``part`` of ``whole`` (not 0) as a number of ``steps``.

    It is ``steps`` only where nothing lacks, and 0 only where nothing is there.
    """
    share = round_half_up(part * steps, whole) // whole
    if 0 < part < whole:
        return min(max(share, 1), steps - 1)
    return share


def round_percent(part: int, whole: int) -> Decimal:
    """Return the share of ``whole`` (not 0) in percent with one decimal; 100 only where nothing lacks."""
    return Decimal(round_share(part, whole, 1000)).scaleb(-1)


def format_percent(part: int, whole: int) -> str:
    """Return the share of ``whole`` (not 0) as ``99.6%``, for the command line."""
    return f"{round_percent(part, whole)}%"


def round_change(now: int, before: int) -> int:
    """Return the change from ``before`` (not 0) in whole percents: 13 from 8 to 9; -100 only where nothing is left."""
    change = round_half_up(100 * (now - before), before) // before
    return max(change, -99) if now else change
