"""A night's fan-out: page through the accounts, paced by what the quota lets through, resumable anywhere.

How far it came is a cursor in Redis; losing it means starting over, and what is done or in flight is not
published again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Final, Protocol, Self

from worker.dispatch import Dispatcher
from worker.domain.readings import Series
from worker.logs import fields
from worker.stores.state import SyncState

_CURSOR_TTL_S: Final = 3 * 24 * 3600
_FED: Final = "~fed"  # the cursor's last values; account ids never begin with "~"
_COMPLETE: Final = "~complete"
_UNLIMITED_BACKLOG: Final = 2_000

log = logging.getLogger("releve.fanout")


@dataclass(frozen=True, slots=True)
class NightProgress:
    """How far a night has come: all its work is published, all of it is done."""

    fed: bool
    complete: bool


Publish = Callable[[str, Series, str], bool]


class House(Protocol):
    @property
    def dispatcher(self) -> Dispatcher: ...

    @property
    def state(self) -> SyncState: ...

    @property
    def calls_per_hour(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Night:
    """The nightly run of one date; its name keys all that must not happen twice."""

    date: date

    @property
    def run(self) -> str:
        return f"nightly:{self.date.isoformat()}"


def night_progress(state: SyncState, night: Night) -> NightProgress:
    """As its cursor tells, which a lost Redis forgets."""
    cursor = state.get_cursor(night.run)
    return NightProgress(cursor in (_FED, _COMPLETE), cursor == _COMPLETE)


@dataclass(frozen=True)
class FanOut:
    """``most_waiting``: windows in the queue beyond which no more are published, ten minutes of quota."""

    dispatcher: Dispatcher
    state: SyncState
    publish: Publish
    queue_length: Callable[[str], int]
    most_waiting: int

    @classmethod
    def of(cls, house: House, publish: Publish, queue_length: Callable[[str], int]) -> Self:
        per_hour = house.calls_per_hour
        most = _UNLIMITED_BACKLOG if per_hour is None else max(20, per_hour // 6)
        return cls(house.dispatcher, house.state, publish, queue_length, most)

    def feed(self, night: Night) -> bool:
        """Publish page after page; False where enough is waiting and the rest must come later."""
        if self.fed(night):
            return True
        cursor = self.state.get_cursor(night.run)
        published = 0
        for page in self.dispatcher.pages_after(cursor):
            if self.queue_length("nightly") >= self.most_waiting:
                _tell(night.run, published, whole=False)
                return False
            for account_id, series in self.dispatcher.due_look_backs(page, night.run):
                published += self.publish(account_id, series, night.run)
            self._note(night, page[-1].id)
        self._note(night, _FED)
        _tell(night.run, published, whole=True)
        return True

    def fed(self, night: Night) -> bool:
        return night_progress(self.state, night).fed

    def mend(self, night: Night) -> int:
        """Publish what was lost on the way; how many.  A night with nothing due is closed and not looked at again."""
        if night_progress(self.state, night).complete:
            return 0
        published = due = 0
        for page in self.dispatcher.pages_after(None):
            undone = list(self.dispatcher.due_look_backs(page, night.run))
            self.dispatcher.free_lost(undone, night.run)
            for account_id, series in undone:
                due += 1
                published += self.publish(account_id, series, night.run)
        if not due:
            self._note(night, _COMPLETE)
        if published:  # or it would be a line each minute
            _tell(night.run, published, whole=True)
        return published

    def catch_up(self, run: str) -> int:
        """Publish the look-back of whatever lacks yesterday's readings, once a run; how many."""
        published = 0
        for page in self.dispatcher.pages_after(None):
            undone = set(self.dispatcher.due_look_backs(page, run))
            for account_id, series in self.dispatcher.lacking_yesterday(page):
                if (account_id, series) in undone:
                    published += self.publish(account_id, series, run)
        _tell(run, published, whole=True)
        return published

    def _note(self, night: Night, text: str) -> None:
        self.state.put_cursor(night.run, text, _CURSOR_TTL_S)


def _tell(run: str, published: int, *, whole: bool) -> None:
    """``whole`` is false where the rest comes later, when less is waiting."""
    log.info("windows published", extra=fields(run=run, published=published, whole=whole))
