"""Histories begun or taken up again: those that are due and have no window in flight, a few at a time.

A turn walks on from where the last one stopped, so no account waits behind the others for ever, and publishes no
more than the queues have room for: a million new accounts are a million rows in the registry, not messages.  First
screens go before the rest: an account's daily values have a queue, and so room, of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from worker.domain.measures.readings import Series
from worker.stores.redis.progress import ProgressStore
from worker.sync.claims import ClaimPolicy
from worker.sync.due import House, most_waiting, never

QUEUES: Final = {Series.DAILY: "first_screen", Series.LOAD_CURVE: "backfill"}
_STARTED_IN: Final = "control"  # where each of them waits for its first window to be chosen
_CURSOR_TTL_S: Final = 24 * 3600
MOST_ACCOUNTS: Final = 20_000  # looked at in one turn of a lane


@dataclass(frozen=True)
class Capacity:
    """How many more windows of a series' history may wait."""

    queue_length: Callable[[str], int]
    most_waiting: int

    def __call__(self, series: Series) -> bool:
        return self.queue_length(QUEUES[series]) < self.most_waiting


@dataclass(frozen=True)
class Resumption:
    """``publish`` starts the history of one account.  ``held``: nothing shall be published now."""

    dispatcher: ClaimPolicy
    state: ProgressStore
    publish: Callable[[str], object]
    queue_length: Callable[[str], int]
    most_waiting: int
    held: Callable[[], bool] = never
    most_accounts: int = MOST_ACCOUNTS

    @classmethod
    def of(
        cls,
        house: House,
        publish: Callable[[str], object],
        queue_length: Callable[[str], int],
        held: Callable[[], bool] = never,
    ) -> Self:
        return cls(house.dispatcher, house.state, publish, queue_length, most_waiting(house.calls_per_hour), held)

    def run(self) -> int:
        """One turn; how many histories were started."""
        return 0 if self.held() else sum(map(self._start, Series))

    def _start(self, lane: Series) -> int:
        """Those whose first missing window goes this way."""
        room = self.most_waiting - self.queue_length(_STARTED_IN) - self.queue_length(QUEUES[lane])
        cursor = f"backfills:{lane}"
        after, started, left = self.state.get_cursor(cursor) or "", 0, self.most_accounts
        while started < room and left > 0:
            page = self.dispatcher.page_after(after)
            due = [account_id for account_id, series in self.dispatcher.backfills_of(page) if series is lane]
            for account_id in due[: room - started]:
                self.publish(account_id)
            more = len(due) > room - started
            after = due[room - started - 1] if more else page[-1].id if page else ""
            started, left = started + min(len(due), room - started), left - len(page)
            if not page:
                break
        self.state.put_cursor(cursor, after, _CURSOR_TTL_S)
        return started
