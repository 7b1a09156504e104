"""Clock of the simulator, which starts at any moment, can be moved and runs at normal speed."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta

from worker.domain.measures.readings import PARIS


class SimulatedClock:
    """Clock that every rule about "today" asks for the date in Paris."""

    def __init__(self, start: datetime | None = None) -> None:
        self.set(start or datetime.now(UTC))

    def now(self) -> datetime:
        """Return the simulated moment, in UTC."""
        return self._base + timedelta(seconds=time.monotonic() - self._set_at_s)

    def set(self, now: datetime) -> None:
        """Move the clock to ``now`` (zone-aware)."""
        self._base = now.astimezone(UTC)
        self._set_at_s = time.monotonic()

    def local_now(self) -> datetime:
        """Return the simulated moment in Paris time."""
        return self.now().astimezone(PARIS)

    def today(self) -> date:
        """Return the simulated date in Paris."""
        return self.local_now().date()
