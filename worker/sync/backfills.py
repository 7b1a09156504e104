"""The start of histories: those that are due and have no window in flight, a few at a time.

Each call goes on from where the last one stopped, so that no account always waits behind others. It publishes no more
than the queues have capacity for: a million new accounts are rows in the registry, not messages. Daily values have a
queue of their own and go first, because they fill a new account's first screen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from worker.domain.measures.readings import Series
from worker.stores.redis.progress import ProgressStore
from worker.sync.claims import ClaimPolicy
from worker.sync.due import never

QUEUES: Final = {Series.DAILY: "first_screen", Series.LOAD_CURVE: "backfill"}
# The queue in which a history waits until its first window is chosen.
_START_QUEUE: Final = "control"
_CURSOR_TTL_S: Final = 24 * 3600
# Accounts examined for one lane in one call.
MOST_ACCOUNTS: Final = 20_000


@dataclass(frozen=True)
class Capacity:
    """A limit of the windows of histories that wait; called, it returns whether one more of a series may."""

    queue_length: Callable[[str], int]
    most_waiting: int

    def __call__(self, series: Series) -> bool:
        return self.queue_length(QUEUES[series]) < self.most_waiting


@dataclass(frozen=True, kw_only=True)
class Resumption:
    """The start of histories.

    ``publish`` starts the history of one account. ``is_held``: whether nothing is published now.
    """

    claims: ClaimPolicy
    progress: ProgressStore
    publish: Callable[[str], object]
    queue_length: Callable[[str], int]
    most_waiting: int
    is_held: Callable[[], bool] = never
    most_accounts: int = MOST_ACCOUNTS

    def run(self) -> int:
        """Start the histories that are due, as far as the queues have capacity, and return their number."""
        return 0 if self.is_held() else sum(map(self._start, Series))

    def _start(self, lane: Series) -> int:
        """Start histories whose first missing window belongs to this lane, and return their number."""
        capacity = self.most_waiting - self.queue_length(_START_QUEUE) - self.queue_length(QUEUES[lane])
        cursor = f"backfills:{lane}"
        after, started, left = self.progress.get_cursor(cursor) or "", 0, self.most_accounts
        while started < capacity and left > 0:
            page = self.claims.page_after(after)
            due = [account_id for account_id, series in self.claims.due_backfills_of(page) if series is lane]
            for account_id in due[: capacity - started]:
                self.publish(account_id)
            more = len(due) > capacity - started
            after = due[capacity - started - 1] if more else page[-1].id if page else ""
            started, left = started + min(len(due), capacity - started), left - len(page)
            if not page:
                break
        self.progress.put_cursor(cursor, after, _CURSOR_TTL_S)
        return started
