"""Open days asked for again: late, torn or empty ones, with falling frequency and within a share of the quota.

What is due stands in the ledger of days; a window that comes back, even empty, moves its days to their next turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self

from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import Series
from worker.domain.measures.windows import MAX_WINDOW_DAYS, plan_repair
from worker.stores.registry.completeness import CompletenessTable, DueDays
from worker.sync.claims import REPAIR, ClaimPolicy

QUEUE: Final = "repair"
_SHARE: Final = 10  # of an hour's quota one part in so many, for each hourly run
_UNLIMITED: Final = 2_000
_LEAST: Final = 20

Publish = Callable[[WindowJob], None]


class House(Protocol):
    @property
    def dispatcher(self) -> ClaimPolicy: ...

    @property
    def calls_per_hour(self) -> int | None: ...


@dataclass(frozen=True)
class Repair:
    """``most``: windows that may wait in the queue, all in all."""

    dispatcher: ClaimPolicy
    book: CompletenessTable
    publish: Publish
    waiting: Callable[[], int]
    most: int

    @classmethod
    def of(cls, house: House, publish: Publish, waiting: Callable[[], int]) -> Self:
        per_hour = house.calls_per_hour
        most = _UNLIMITED if per_hour is None else max(_LEAST, per_hour // _SHARE)
        return cls(house.dispatcher, house.dispatcher.registry.completeness, publish, waiting, most)

    def run(self) -> int:
        """Publish what is due, at most so much that it fits the share; how many windows.  The rest stays due."""
        room = self.most - self.waiting()
        published = 0
        for due in self._due():
            if published >= room:
                break
            if origin := self._claim(due):
                self.publish(origin)
                published += 1
        return published

    def _due(self) -> Iterator[DueDays]:
        after: tuple[str, str] | None = None
        while page := self.book.due(self.dispatcher.today(), after):
            self.dispatcher.free_lost([(due.account_id, due.series) for due in page], REPAIR)
            yield from self._worth_asking(page)
            after = page[-1].account_id, page[-1].series.value

    def _worth_asking(self, page: Sequence[DueDays]) -> Iterator[DueDays]:
        """Not curves that nobody has switched on: all their days stay open, and would take the whole share.

        The night looks for them once a week; once one has come, the days before it are due again.
        """
        curves = [due.account_id for due in page if due.series is Series.LOAD_CURVE]
        off = self.book.curves_off(curves, self.dispatcher.today()) if curves else ()
        for due in page:
            if due.series is not Series.LOAD_CURVE or due.account_id not in off:
                yield due

    def _claim(self, due: DueDays) -> WindowJob | None:
        """The newest window of an account's series; its others come once that one has come back."""
        days = due.ledger.due(self.dispatcher.today())
        if not (windows := plan_repair(days, MAX_WINDOW_DAYS[due.series])):
            return None
        return self.dispatcher.claim_repair(due.account_id, due.series, windows[0])
