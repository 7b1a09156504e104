"""Checks and types of single settings: URLs, durations, origins; which hosts are the supplier's own.

A check raises ValueError with a text for the operator that doesn't repeat the value, for it may hold a password.
"""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator

PRODUCTION_DOMAIN: Final = "enedis.fr"

_DURATION: Final = re.compile(r"P(?=\d)(?:(\d{1,4})Y)?(?:(\d{1,4})M)?(?:(\d{1,4})W)?(?:(\d{1,4})D)?", re.ASCII)
_UNIT_DAYS: Final = (365, 30.4, 7, 1)  # Days of a year, a month, a week and a day.
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# Like https://*.cozy.example or http://localhost:8080.  Authorization codes travel to these origins, so that plain http
# is for the operator's own machine alone.
_ORIGIN: Final = re.compile(
    rf"(?:https://(?:(?:\*|{_LABEL})\.)*{_LABEL}\.{_LABEL}|https?://(?:(?:\*|{_LABEL})\.)*(?:localhost|127\.0\.0\.1))(?::\d{{1,5}})?",
    re.IGNORECASE,
)


def is_production(enedis_url: str | None, sandbox: bool) -> bool:
    """Return whether these are the supplier's own hosts, with real meters behind them."""
    if enedis_url is None:
        return not sandbox
    host = urlsplit(enedis_url).hostname or ""
    return host.endswith(PRODUCTION_DOMAIN) and "sandbox" not in host and ".hml." not in host


def check_http_url(url: str) -> None:
    """Raise ValueError for what is no http:// or https:// URL."""
    parts = _split_url(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("needs an http:// or https:// URL")


def check_consent_duration(duration: str) -> str:
    """Return the ISO 8601 duration, like P6M.  Raise ValueError where it is none or longer than three years."""
    match = _DURATION.fullmatch(duration)
    counts = match.groups(default="0") if match else ("0", "0", "0", "0")
    days = sum(int(count) * unit for count, unit in zip(counts, _UNIT_DAYS, strict=True))
    if not 1 <= days <= 3 * 365 + 1:
        raise ValueError("needs a duration of at most three years, like P6M, P1Y or P1095D")
    return duration


def check_origins(origins: str) -> str:
    """Return the origins, separated by commas.  Raise ValueError where one is none or is too broad."""
    for origin in filter(None, (part.strip() for part in origins.split(","))):
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                "needs origins like https://*.cozy.example: scheme and host, * for one label of the host, never "
                "for its last two"
            )
    return origins


ConsentDuration = Annotated[str, AfterValidator(check_consent_duration)]
Origins = Annotated[str, AfterValidator(check_origins)]


def _split_url(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return parts if parts.port is None or parts.port else None
    except ValueError:  # The library's message may quote a password, so that it goes no further.
        return None
