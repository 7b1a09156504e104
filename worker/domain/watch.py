"""Who tells the walk, the journal and the desk whether a failure is an incident's; the one that never does."""

from __future__ import annotations

from typing import Final, Protocol

from worker.domain.fleet.incidents import Burst, Kind
from worker.domain.measures.messages import Origin
from worker.domain.measures.readings import Series
from worker.errors import WorkerError


class Watch(Protocol):
    """Who sees how the supplier treats each account, and says what not to hold against whom."""

    def admit(self, origin: Origin) -> None:
        """Raises Held where nobody shall be asked now."""
        ...

    def failed(self, origin: Origin, error: WorkerError) -> None: ...

    def answered(self, origin: Origin, *, usable: bool) -> None: ...

    def spares(self, series: Series | None, error: WorkerError) -> Kind | None:
        """The open incident that a failure belongs to and not to its account; ``series`` None for either."""
        ...

    def is_held(self, series: Series) -> bool: ...

    def may_open(self, kind: Kind) -> bool: ...

    def open_refusals(self, kind: Kind, burst: Burst) -> bool:
        """Whether so many refusals are an incident, open from now on."""
        ...


class NoWatch:
    """Nothing is ever an incident."""

    def admit(self, origin: Origin) -> None:
        """Whoever comes is let through."""

    def failed(self, origin: Origin, error: WorkerError) -> None:
        """Nobody counts."""

    def answered(self, origin: Origin, *, usable: bool) -> None:
        """Nobody counts."""

    def spares(self, series: Series | None, error: WorkerError) -> Kind | None:
        return None

    def is_held(self, series: Series) -> bool:
        return False

    def may_open(self, kind: Kind) -> bool:
        return False

    def open_refusals(self, kind: Kind, burst: Burst) -> bool:
        return False


NO_WATCH: Final = NoWatch()
