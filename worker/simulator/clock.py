"""The simulator's clock: it may start anywhere and be moved, and flows as time does."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from worker.domain.measures.readings import PARIS


class Clock:
    """All "today" rules ask this clock for the Paris date (upstream-apis, part 4)."""

    def __init__(self, start: datetime | None = None, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self.set(start or datetime.now(UTC))

    def now(self) -> datetime:
        """The simulated moment, in UTC."""
        return self._base + timedelta(seconds=self._monotonic_s() - self._set_at_s)

    def set(self, now: datetime) -> None:
        """Let it be ``now`` (zone-aware)."""
        self._base = now.astimezone(UTC)
        self._set_at_s = self._monotonic_s()

    def advance(self, delay_s: float) -> None:
        self.set(self.now() + timedelta(seconds=delay_s))

    def local(self) -> datetime:
        return self.now().astimezone(PARIS)

    def today(self) -> date:
        return self.local().date()
