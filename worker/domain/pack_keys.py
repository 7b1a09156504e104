"""Which pack a value lies in, and where: the load curve by local day, daily values by year.

A pack holds a series' readings and the totals made of them: minutes and hours of one local day, or days, months and
the total of one year.  No total is made of readings in another pack, so one document read or written is consistent
in itself.  A place is counted from the pack's first instant, so days of 46, 48 and 50 half-hours need no rule.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

from worker.domain.measures.documents import period_key
from worker.domain.measures.readings import ONE_DAY, PARIS, Period, Series, local_midnight

PERIODS: Final = {series: (series.inputs, *series.totals) for series in Series}  # readings first
SERIES: Final = {period: series for series, periods in PERIODS.items() for period in periods}
_UNIT: Final = {Period.MINUTE: timedelta(minutes=1), Period.HOUR: timedelta(hours=1)}
_LEAST_OF_YEAR: Final = {Period.DAY: "-01-01", Period.MONTH: "-01", Period.YEAR: ""}
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_YEAR: Final = re.compile(r"[0-9]{4}")
_MINUTE_KEY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}Z")
_AFTER_ALL: Final = "~"
_MOST_NAMED: Final = 500


@lru_cache(maxsize=65_536)  # all accounts of a night have the same keys
def place_of(key: str, period: Period) -> tuple[str, int]:
    """The pack's key and the place in it.  Raises ValueError for a key that no period of this kind has."""
    try:
        pack, place = _curve_place(key, period) if period in _UNIT else _daily_place(key, period)
        if key_at(pack, place, period) == key:
            return pack, place
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"no key of a {period.value}")


@lru_cache(maxsize=65_536)
def key_at(pack: str, place: int, period: Period) -> str:
    """The other way.  Raises ValueError or OverflowError."""
    if period in _UNIT:
        return period_key(local_midnight(date.fromisoformat(pack)).astimezone(UTC) + place * _UNIT[period], period)
    if period is Period.DAY:
        return (date(int(pack), 1, 1) + place * ONE_DAY).isoformat()
    return f"{pack}-{place + 1:02}" if period is Period.MONTH else pack


def pack_range(first_key: str, end_key: str, period: Period) -> tuple[str, str]:
    """First and end key of packs that hold every key with ``first_key <= key < end_key``, whatever texts these are."""
    if period in _UNIT:
        return _first_day(first_key), _end_day(end_key)
    year = end_key[:4]
    return first_key[:4], year if end_key <= year + _LEAST_OF_YEAR[period] else year + _AFTER_ALL


def packs_between(first: str, end: str, series: Series) -> list[str] | None:
    """Keys of all packs there can be with ``first <= key < end``; None where these are not known, or too many."""
    keys: list[str] = []
    try:
        day = date.fromisoformat(first if series is Series.LOAD_CURVE else f"{first}-01-01")
        if not day.isoformat().startswith(first):  # a date in another notation
            return None
        while (key := day.isoformat()[: len(first)]) < end:
            if len(keys) == _MOST_NAMED:
                return None
            keys.append(key)
            day = day + ONE_DAY if series is Series.LOAD_CURVE else date(day.year + 1, 1, 1)
    except (ValueError, OverflowError):
        return None
    return keys


def _curve_place(key: str, period: Period) -> tuple[str, int]:
    if not _MINUTE_KEY.fullmatch(key):
        raise ValueError
    day = _local_day(key)
    since = datetime.fromisoformat(key) - local_midnight(day).astimezone(UTC)
    return day.isoformat(), since // _UNIT[period]


def _daily_place(key: str, period: Period) -> tuple[str, int]:
    year = key[:4]
    if period is Period.DAY:
        return year, (date.fromisoformat(key) - date(int(year), 1, 1)).days
    first = date.fromisoformat(f"{key}-01" if period is Period.MONTH else f"{key}-01-01")
    return year, first.month - 1


def _local_day(key: str) -> date:
    return datetime.fromisoformat(key).astimezone(PARIS).date()


def _first_day(first_key: str) -> str:
    if _MINUTE_KEY.match(first_key):
        try:
            return _local_day(first_key[:17]).isoformat()
        except (ValueError, OverflowError):
            pass
    return first_key[:10]  # the local day is that of the UTC date, or the next


def _end_day(end_key: str) -> str:
    try:
        if _MINUTE_KEY.match(end_key):
            last = datetime.fromisoformat(end_key[:17])
            if len(end_key) == 17:
                last -= _UNIT[Period.MINUTE]
            return (last.astimezone(PARIS).date() + ONE_DAY).isoformat()
        if _DATE.match(end_key):
            return (date.fromisoformat(end_key[:10]) + 2 * ONE_DAY).isoformat()
    except (ValueError, OverflowError):
        pass
    # No date that we know: up to the last day that a key of this year may lie in, or all there is.
    return f"{int(end_key[:4]) + 1:04}-01-02" if _YEAR.match(end_key) else _AFTER_ALL
