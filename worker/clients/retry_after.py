"""How long a refusing supplier asks us to wait, in whichever of its ways it says so.

Source: upstream-apis, 1.9 (the rows of status 429).  English month names are read from a table, not from
the locale.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Final

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import PARIS

DEFAULT_WAIT_S: Final = 60.0
_LONGEST_WAIT_S: Final = 24 * 3600.0
_SECOND_QUOTA_WAIT_S: Final = 1.0
_WRONG_CLOCK: Final = timedelta(minutes=15)
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_GATEWAY_TIME: Final = re.compile(
    r"([0-9]{4})-([A-Za-z]{3})-([0-9]{1,2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})([+-])([0-9]{2})([0-9]{2})"
)
_OLD_QUOTA: Final = re.compile(r"\bquota q([34])\b", re.IGNORECASE)
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


def to_wait_s(headers: Mapping[str, str], envelope: Mapping[str, Json], now: datetime) -> float:
    """Seconds until the next call is allowed: from the body, else from ``Retry-After``, else a minute.

    A moment already gone means a minute too; no wait is longer than a day.  ``now`` is zone-aware; where the
    answer's ``Date`` is near it, that counts, for a moment is meant by the supplier's clock and not by ours.
    """
    announced, now = _announced(envelope), _by_their_clock(headers, now)
    if announced is not None:
        return _until(announced, now)
    if (from_header := retry_after_s(headers, now)) is not None:
        return from_header
    # In the oldest form nothing but the text tells the two quotas apart.
    if old := _OLD_QUOTA.search(_text(envelope.get("error_description"))):
        return _SECOND_QUOTA_WAIT_S if old[1] == "3" else _until(_next_hour(now), now)
    return DEFAULT_WAIT_S


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """What the header ``Retry-After`` says, as seconds or as a date; None where it says nothing readable."""
    value = _header(headers, "retry-after")
    if _SECONDS.fullmatch(value):
        return min(max(float(value), 1.0), _LONGEST_WAIT_S)
    moment = _http_date(value)
    return None if moment is None else _until(moment, now)


def _by_their_clock(headers: Mapping[str, str], now: datetime) -> datetime:
    """A clock that is further away is none that goes wrong, but a pretended one."""
    theirs = _http_date(_header(headers, "date"))
    return theirs if theirs is not None and abs(theirs - now) <= _WRONG_CLOCK else now


def _header(headers: Mapping[str, str], wanted: str) -> str:
    return next((text.strip() for name, text in headers.items() if name.lower() == wanted), "")


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _announced(envelope: Mapping[str, Json]) -> datetime | None:
    for field in ("nextAccessTime", "description"):
        if moment := _gateway_time(_text(envelope.get(field))):
            return moment
    return _local_time(_text(envelope.get("quota_reset_at")))


def _gateway_time(text: str) -> datetime | None:
    """The moment in ``2030-Jan-17 05:00:00+0000 UTC``, wherever it stands in ``text``."""
    found = _GATEWAY_TIME.search(text)
    if not found or found[2].lower() not in _MONTHS:
        return None
    year, day, hour, minute, second, off_hours, off_minutes = (int(found[n]) for n in (1, 3, 4, 5, 6, 8, 9))
    offset = timedelta(hours=off_hours, minutes=off_minutes) * (-1 if found[7] == "-" else 1)
    try:
        month = _MONTHS.index(found[2].lower()) + 1
        return datetime(year, month, day, hour, minute, second, tzinfo=timezone(offset))
    except ValueError:
        return None


def _local_time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=PARIS)


def _next_hour(now: datetime) -> datetime:
    """The quota of the hour counts by the clock."""
    return now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def _until(moment: datetime, now: datetime) -> float:
    try:
        wait_s = (moment - now).total_seconds()
    except OverflowError:  # the years 1 and 9999, moved across a zone
        return DEFAULT_WAIT_S
    return min(wait_s, _LONGEST_WAIT_S) if wait_s > 0 else DEFAULT_WAIT_S


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
