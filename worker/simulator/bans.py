"""The bans of the simulated gateway: an address that calls too often in half a day gets nothing any more."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from typing import Final

USUAL_LIMIT: Final = 100


class Bans:
    """The calls of each address in each half of a day (0 to 12 h, 12 to 24 h), and the addresses that are banned.

    As at conso-api, nothing lifts a ban but its author: here ``forget``.
    """

    def __init__(self, limit: int = USUAL_LIMIT) -> None:
        self.limit = limit
        self.banned: set[str] = set()
        self._calls: Counter[tuple[str, date, bool]] = Counter()

    def count(self, address: str, now: datetime) -> bool:
        """Count a call at the local time ``now``, and return whether the address is banned."""
        half_day = address, now.date(), now.hour >= 12
        self._calls[half_day] += 1
        if self._calls[half_day] >= self.limit:
            self.banned.add(address)
        return address in self.banned

    def most_calls(self) -> int:
        """Return the most calls of an address in half a day."""
        return max(self._calls.values(), default=0)

    def forget(self) -> None:
        """Lift all bans, and restart the counts."""
        self.banned.clear()
        self._calls.clear()
