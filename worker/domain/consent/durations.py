"""The duration of a consent, as an ISO 8601 duration of years, months, weeks and days."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date, timedelta
from typing import Final

_DURATION: Final = re.compile(r"P(?=\d)(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,4})W)?(?:(\d{1,4})D)?", re.ASCII)


def last_day_of(first_day: date, duration: str) -> date:
    """Return the last day, included, of a consent that begins on ``first_day``.

    A month without that day counts to its end, so ``P6M`` from 31 August ends in February. Raises ValueError for a
    text that is no duration, and for a date after the year 9999.
    """
    years, months, weeks, days = _parts(duration)
    month = first_day.month - 1 + 12 * years + months
    year, month = first_day.year + month // 12, month % 12 + 1
    try:
        after_months = date(year, month, min(first_day.day, monthrange(year, month)[1]))
        return after_months + timedelta(weeks=weeks, days=days - 1)
    except (ValueError, OverflowError):
        raise ValueError(f"a consent of {duration} does not end in this calendar") from None


def without_years(duration: str) -> str:
    """Return the same duration in months, weeks and days.

    The consent page of 2026 may show an error for whole years: it is seen to read months and days only
    (homey.enedis.connect.proxy; conso-api, issue 159).
    """
    years, months, weeks, days = _parts(duration)
    parts = ((12 * years + months, "M"), (weeks, "W"), (days, "D"))
    return "P" + "".join(f"{count}{unit}" for count, unit in parts if count)


def _parts(duration: str) -> tuple[int, int, int, int]:
    match = _DURATION.fullmatch(duration)
    if match is None or not any(int(count or 0) for count in match.groups()):
        raise ValueError("a consent's duration is written like P6M, P1Y or P1095D")
    years, months, weeks, days = (int(count or 0) for count in match.groups())
    return years, months, weeks, days
