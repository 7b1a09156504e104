"""Which windows of a gateway are due: few, and each account's at hours of its own.

What is due is the same as of any supplier (``worker.sync.due``). Here a row whose hour has not come stays due, and the
reconciler looks again within a minute; no more is in flight than the ledger has left; and histories and repairs leave
the next night its calls. The catch-up is part of the night, in the hours of an afternoon.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from worker.domain.messages import WindowJob
from worker.domain.schedule import AskingHours, is_afternoon, is_asking_hour, start_of_afternoon
from worker.domain.series import Series
from worker.domain.windows import civil_date
from worker.stores.redis.claims import member_of
from worker.stores.registry.due import DueRow
from worker.sync.claims import LANES, NIGHTLY_LANE, REPAIR_LANE
from worker.sync.due import Due, DueWindows

_MOST_ROWS: Final = 1_000  # More than a gateway could be asked for.


@dataclass(frozen=True, kw_only=True)
class GatewayWindows(DueWindows):
    """The windows of a gateway's accounts that are due.

    ``calls_in_half_a_day``: the limit of its ledger; ``calls_left``: what that leaves now.
    """

    calls_in_half_a_day: int
    calls_left: Callable[[], int]

    def room(self, lane: str, most: int, in_flight: Collection[str]) -> int:
        """Return how many more windows of a lane may be in flight, of ``most`` and of the calls that are left."""
        left = self.calls_left() - sum(len(super(GatewayWindows, self).in_flight(one)) for one in LANES)
        if lane != NIGHTLY_LANE:
            left -= min(len(self._list_rows()), self.calls_in_half_a_day // 2)
        return min(most, left)

    def in_flight(self, lane: str) -> set[str]:
        """Return the members of a lane's claims, and those of a night or a repair whose hour has not come."""
        members = super().in_flight(lane)
        if lane not in (NIGHTLY_LANE, REPAIR_LANE):
            return members
        now = self.now()
        hidden = (row for row in self._list_rows() if not AskingHours(row.account_id).allow(now))
        return members | {member_of(row.account_id, row.series) for row in hidden}

    def night(self, before: datetime) -> Due:
        """Claim the look-backs of series that were not asked since ``before``; in an afternoon those that lack days."""
        now = self.now()
        if not is_asking_hour(now):
            return Due([], more=False)
        jobs = super().night(before).jobs
        if is_afternoon(now):
            jobs += super().catch_up(before, start_of_afternoon(civil_date(now))).jobs
        return Due(jobs, more=False)

    def catch_up(self, since: datetime, before: datetime) -> Due:
        """Claim nothing: it is part of the night."""
        return Due([], more=False)

    def next_of_history(self, account_id: str, series: Series) -> list[WindowJob]:
        """Claim the next window of a history, where the ledger has a call for it beside the night's."""
        return super().next_of_history(account_id, series) if self.has_history_room(series) else []

    def repairs(self) -> list[WindowJob]:
        """Claim the newest open days of each series, in the accounts' hours."""
        return super().repairs() if is_asking_hour(self.now()) else []

    def _list_rows(self) -> list[DueRow]:
        return self.table.list_some(self.series, civil_date(self.now()), _MOST_ROWS)
