"""Clock of the simulator, which starts at any moment, can be moved and runs at normal speed."""

from __future__ import annotations

from datetime import date, datetime

from worker.domain.clock import clock_from
from worker.domain.measures.readings import PARIS


class SimulatedClock:
    """Clock that every rule about "today" asks for the date in Paris."""

    def __init__(self, start: datetime | None = None) -> None:
        self.now = clock_from(start)

    def set(self, now: datetime) -> None:
        """Move the clock to ``now`` (zone-aware)."""
        self.now = clock_from(now)

    def local_now(self) -> datetime:
        """Return the simulated moment in Paris time."""
        return self.now().astimezone(PARIS)

    def today(self) -> date:
        """Return the simulated date in Paris."""
        return self.local_now().date()
