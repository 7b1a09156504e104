"""The number and the delays of retries after failures, and the wait that a supplier demands with a 429.

The constants below set all retries. Three similar things aren't retries and are set elsewhere: the days after which a
gap is requested again (``domain.completeness``), the probes of an incident (``domain.incident``), and the pause of all
calls after a 429 (``quota.ledger``).

A supplier that refuses a call (429) says in one of these forms how long to wait:

    body (v5)        {"nextAccessTime": "2030-Jan-17 05:00:00+0000 UTC", "description": "... access API after 2030-..."}
    body (gateways)  {"quota_reset_at": "2030-01-17T06:00:00"}, local time
    body (v4)        {"error_description": "Quota Q4 reached ..."}; Q3 is the quota per second, Q4 per hour
    header           Retry-After: 120, or an HTTP date

English month names are parsed like those of an HTTP date, because the locale's names may be French.
Source: RFC 9110, 10.2.3; real refusals in the issues of DomoticzLinky (84) and ha-linky (192).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from worker.domain.answers import Json
from worker.domain.windows import PARIS

# The retries of a window's task, or of a whole window in a command with --inline: after at most 2, 4, 8 and 16 s,
# unless the other side asks for a wait (``retry_delay_s``).
MAX_RETRIES: Final = 4
FIRST_DELAY_S: Final = 2.0
# A worker keeps a delayed message in memory until it is due, so longer waits are left to the next scheduled run.
LONGEST_DELAY_S: Final = 60.0
# A window whose retries have all failed is tried again after the first of these delays. After each further failure, the
# next delay applies. If no delay is left, the series waits for its next night.
WINDOW_DELAYS: Final = tuple(timedelta(minutes=minutes) for minutes in (5, 15, 30, 60, 120))
# The delay stored with each attempt to send a notice. There are as many attempts as delays, eight in about a day. So no
# attempt follows the last delay; it has no effect.
NOTICE_DELAYS: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 180, 360, 720, 720))
# Delays of an output after its first failure, its second and so on; then the last delay is repeated without end.
OUTPUT_DELAYS: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 2, 5, 15, 30))
# The retries of publishing a message, as options of kombu. They last about 20 s, long enough for a restart of the
# broker. SHORT_PUBLISH_POLICY is for messages for which a person waits.
PUBLISH_POLICY: Final[Mapping[str, float]] = {
    "max_retries": 23,
    "interval_start": 0.1,
    "interval_step": 0.2,
    "interval_max": 1.0,
}
SHORT_PUBLISH_POLICY: Final[Mapping[str, float]] = {**PUBLISH_POLICY, "max_retries": 2, "interval_max": 0.5}
# The retries of a Redis command after a timeout or a lost connection: the delay doubles each time, with jitter.
REDIS_RETRIES: Final = 3
REDIS_FIRST_DELAY_S: Final = 0.05
REDIS_LONGEST_DELAY_S: Final = 1.0
# The wait that we ask of a browser or an API client while one of our servers is down.
CLIENT_DELAY_S: Final = 5.0
# The wait after a refusal that doesn't say how long to wait.
_DEFAULT_WAIT_S: Final = 60.0
_LONGEST_WAIT_S: Final = 24 * 3600.0
_SECOND_QUOTA_WAIT_S: Final = 1.0
_MAX_CLOCK_ERROR: Final = timedelta(minutes=15)
_GATEWAY_TIME: Final = re.compile(r"([0-9]{4})-([A-Za-z]{3})-([0-9]{1,2}) ([0-9]{2}:[0-9]{2}:[0-9]{2})([+-][0-9]{4})")
_V4_QUOTA: Final = re.compile(r"\bquota q([34])\b", re.IGNORECASE)
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


def retry_delay_s(retries: int, asked_s: float | None, jitter: Callable[[], float]) -> float:
    """Return the seconds to wait after ``retries`` earlier retries: a delay that doubles with each retry.

    ``jitter`` (0 to 1) spreads the delay. ``asked_s``: the wait that the other side asked for, if any. The result is
    then ``asked_s`` plus the delay, so that clients that wait for the same moment don't all return at once.
    """
    ceiling = min(FIRST_DELAY_S * float(2 ** min(retries, 10)), LONGEST_DELAY_S)
    if asked_s is not None:
        return asked_s + ceiling * jitter()
    return ceiling * (0.5 + 0.5 * jitter())


def quota_wait_s(headers: Mapping[str, str], envelope: Mapping[str, Json], now: datetime) -> float:
    """Return the seconds until the next call is allowed, according to the body or to ``Retry-After``.

    The wait is a minute if neither says how long, or if the moment is past, and never more than a day. ``now`` is
    zone-aware. If the answer's header ``Date`` is close to ``now``, it replaces ``now``: it shows the supplier's clock.
    """
    next_access, now = _next_access(envelope), _supplier_time(headers, now)
    if next_access is not None:
        return _seconds_until(next_access, now)
    if (wait_s := retry_after_s(headers, now)) is not None:
        return wait_s
    # In v4 only the text of the error shows which of the two quotas is used up.
    if match := _V4_QUOTA.search(_text(envelope.get("error_description"))):
        next_hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        return _SECOND_QUOTA_WAIT_S if match[1] == "3" else _seconds_until(next_hour, now)
    return _DEFAULT_WAIT_S


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds to wait according to the header ``Retry-After``; None if it is missing or unreadable."""
    value = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(value):
        return min(max(float(value), 1.0), _LONGEST_WAIT_S)
    moment = _http_date(value)
    return None if moment is None else _seconds_until(moment, now)


def _supplier_time(headers: Mapping[str, str], now: datetime) -> datetime:
    """Return the answer's ``Date``; ``now`` if ``Date`` is missing or far from ``now``, as in simulated time."""
    date = _http_date(headers.get("Date", ""))
    return date if date is not None and abs(date - now) <= _MAX_CLOCK_ERROR else now


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _next_access(envelope: Mapping[str, Json]) -> datetime | None:
    for field in ("nextAccessTime", "description"):
        if moment := _gateway_time(_text(envelope.get(field))):
            return moment
    return _local_time(_text(envelope.get("quota_reset_at")))


def _gateway_time(text: str) -> datetime | None:
    """Return the moment that a text contains in the form ``2030-Jan-17 05:00:00+0000 UTC``; None for any other text."""
    match = _GATEWAY_TIME.search(text)
    if match is None:
        return None
    year, month, day, time, offset = match.groups()
    return _http_date(f"{day} {month} {year} {time} {offset}")


def _local_time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=PARIS)


def _seconds_until(moment: datetime, now: datetime) -> float:
    try:
        wait_s = (moment - now).total_seconds()
    except OverflowError:
        # A date near the year 1 or 9999 leaves the calendar when it is converted to another zone.
        return _DEFAULT_WAIT_S
    return min(wait_s, _LONGEST_WAIT_S) if wait_s > 0 else _DEFAULT_WAIT_S


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
