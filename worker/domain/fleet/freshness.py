"""Freshness of the fleet over time: the share of accounts whose yesterday is complete, by hour of the day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from worker.domain.measures.readings import PARIS

_BARS: Final = "▁▂▃▄▅▆▇█"
_UNKNOWN: Final = "·"


def share_of(complete: int, active: int) -> float | None:
    """Return the share of complete accounts, or None if there are no active ones."""
    return complete / active if active else None


def share_by_hour_of_day(hours: Iterable[tuple[datetime, int, int]]) -> dict[int, float]:
    """Return the share of fresh accounts for each hour of the day in Paris, over all days together.

    ``hours`` holds one row an hour: its start, the active accounts, and those whose yesterday was complete.
    An hour of the day without a row is left out.
    """
    active: Counter[int] = Counter()
    complete: Counter[int] = Counter()
    for start, active_accounts, complete_accounts in hours:
        hour = start.astimezone(PARIS).hour
        active[hour] += active_accounts
        complete[hour] += complete_accounts
    return {hour: complete[hour] / active[hour] for hour in sorted(active) if active[hour]}


def sparkline(shares: Sequence[float | None]) -> str:
    """Draw one bar a share, from none to all accounts, and a dot where the share is unknown."""
    return "".join(_UNKNOWN if share is None else _BARS[round(share * (len(_BARS) - 1))] for share in shares)
