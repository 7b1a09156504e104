"""The repair of open days: late, partial or empty days are asked for again, within a share of the quota.

The ledger of days knows what is due. When a window is stored, even an empty one, its days get their next date, which is
ever further away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import Series
from worker.domain.measures.windows import MAX_WINDOW_DAYS, plan_repair
from worker.stores.registry.completeness import CompletenessTable, DueDays
from worker.sync.claims import REPAIR, ClaimPolicy

QUEUE: Final = "repair"
# Each hourly run may use a tenth of an hour's quota.
_SHARE: Final = 10
_UNLIMITED: Final = 2_000
_LEAST: Final = 20

Publish = Callable[[WindowJob], None]


def most_repairs(calls_per_hour: int | None) -> int:
    """Return how many windows of repair may wait in the queue: its share of an hour's quota."""
    return _UNLIMITED if calls_per_hour is None else max(_LEAST, calls_per_hour // _SHARE)


@dataclass(frozen=True, kw_only=True)
class Repair:
    """The repair of open days; ``most`` is the number of windows that may wait in the queue."""

    claims: ClaimPolicy
    completeness: CompletenessTable
    publish: Publish
    waiting: Callable[[], int]
    most: int

    def run(self) -> int:
        """Publish due windows within the share of the quota and return their number; the rest stays due."""
        capacity = self.most - self.waiting()
        published = 0
        for due in self._due():
            if published >= capacity:
                break
            if job := self._claim(due):
                self.publish(job)
                published += 1
        return published

    def _due(self) -> Iterator[DueDays]:
        after: tuple[str, str] | None = None
        while page := self.completeness.list_due(self.claims.today(), after):
            self.claims.drop_lost_claims([(due.account_id, due.series) for due in page], REPAIR)
            yield from self._worth_asking(page)
            after = page[-1].account_id, page[-1].series.value

    def _worth_asking(self, page: Sequence[DueDays]) -> Iterator[DueDays]:
        """Leave out load curves that the supplier does not collect, whose open days would take the whole share.

        The night asks for such a curve once a week. After its first reading, the days before are due again.
        """
        curves = [due.account_id for due in page if due.series is Series.LOAD_CURVE]
        off = self.completeness.find_accounts_without_curve(curves, self.claims.today()) if curves else ()
        for due in page:
            if due.series is not Series.LOAD_CURVE or due.account_id not in off:
                yield due

    def _claim(self, due: DueDays) -> WindowJob | None:
        """Claim the newest window of an account's series; its other windows come after that one is stored."""
        days = due.ledger.due_days(self.claims.today())
        if not (windows := plan_repair(days, MAX_WINDOW_DAYS[due.series])):
            return None
        return self.claims.claim_repair(due.account_id, due.series, windows[0])
