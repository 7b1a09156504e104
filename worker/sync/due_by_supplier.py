"""What is due of all suppliers: each has a quota and a gate of its own, so each has its own room in every lane."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from worker.domain.messages import WindowJob
from worker.domain.series import Series
from worker.sync.due import Due, DueWindows


@dataclass(frozen=True)
class DueBySupplier:
    """The windows that are due of each supplier; see ``DueWindows``. Methods raise StoreUnavailable."""

    suppliers: Sequence[DueWindows]

    def night(self, before: datetime) -> Due:
        """Claim the look-backs of series that were not asked since ``before``."""
        return self._gather(lambda due: due.night(before))

    def catch_up(self, since: datetime, before: datetime) -> Due:
        """Claim the series without a reading of yesterday that were not asked since ``before``."""
        return self._gather(lambda due: due.catch_up(since, before))

    def repairs(self) -> list[WindowJob]:
        """Claim the newest open days of each series."""
        return [job for due in self.suppliers for job in due.repairs()]

    def histories(self) -> list[tuple[str, Series]]:
        """Return the accounts and series whose history goes on now."""
        return [history for due in self.suppliers for history in due.histories()]

    def next_of_history(self, account_id: str, series: Series) -> list[WindowJob]:
        """Claim the next window of a history."""
        return self._of(series).next_of_history(account_id, series)

    def has_history_room(self, series: Series) -> bool:
        """Return whether one more window of a history may be in flight."""
        return self._of(series).has_history_room(series)

    def _gather(self, claim: Callable[[DueWindows], Due]) -> Due:
        parts = [claim(due) for due in self.suppliers]
        return Due([job for part in parts for job in part.jobs], any(part.more for part in parts))

    def _of(self, series: Series) -> DueWindows:
        # A series whose supplier is not set up any more gets no answer, and what asks for it says so.
        return next((due for due in self.suppliers if series in due.series), self.suppliers[0])
