"""The fleet's freshness over time: hours as they were kept, gathered by hour of the day or drawn as a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from worker.domain.measures.readings import PARIS

_BARS: Final = "▁▂▃▄▅▆▇█"
_NOTHING: Final = "·"


def share_of(complete: int, active: int) -> float | None:
    """None where there is nobody."""
    return complete / active if active else None


def by_hour_of_day(kept: Iterable[tuple[datetime, int, int]]) -> dict[int, float]:
    """Hour in Paris to the share of accounts that were fresh in it, over all days; hours never kept are left out.

    ``kept``: hour, active accounts, and those of them whose yesterday was whole.
    """
    active: Counter[int] = Counter()
    complete: Counter[int] = Counter()
    for at, all_of_them, whole in kept:
        hour = at.astimezone(PARIS).hour
        active[hour] += all_of_them
        complete[hour] += whole
    return {hour: complete[hour] / active[hour] for hour in sorted(active) if active[hour]}


def spark(shares: Sequence[float | None]) -> str:
    """One sign a share, from nobody to everybody; a dot where it isn't known."""
    return "".join(_NOTHING if share is None else _BARS[round(share * (len(_BARS) - 1))] for share in shares)
