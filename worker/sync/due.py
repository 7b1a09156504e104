"""A night's fan-out: once around all accounts, paced by what the quota lets through, resumable anywhere.

How far it came is a cursor in Redis (``domain.rounds``), moved when a page is published; losing it means starting
over, and what is done or in flight is not published again.  A night begins where the one before it stopped, so what
that one left comes first; one that was whole leaves the next to begin at a place of its own.  The newest night that
has begun takes over: the older one publishes no more, and what it has in flight is done for the newer
(``Dispatcher.as_of_now``).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Protocol, Self

from worker.domain.consent.accounts import Account
from worker.domain.fleet.policy import FleetPolicy
from worker.domain.fleet.rounds import Round, start_of, takes_over
from worker.domain.measures.messages import NIGHTLY
from worker.domain.measures.readings import Series
from worker.logs import fields
from worker.stores.redis.progress import ProgressStore
from worker.sync.claims import ClaimPolicy

_CURSOR_TTL_S: Final = 3 * 24 * 3600
_FED: Final = "~fed"  # the cursor's last values; a place on the way begins with a digit
_COMPLETE: Final = "~complete"
_UNLIMITED_BACKLOG: Final = 2_000
_AT_ONCE: Final = 100  # windows claimed and published between two looks at the queue
MOST_ACCOUNTS: Final = 50_000  # looked at in one turn: a task's time must end

log = logging.getLogger("releve.fanout")


@dataclass(frozen=True, slots=True)
class NightProgress:
    """How far a night has come: all its work is published, all of it is done."""

    fed: bool
    complete: bool


Pair = tuple[str, Series]
Publish = Callable[[Sequence[Pair], str], int]


class House(Protocol):
    @property
    def dispatcher(self) -> ClaimPolicy: ...

    @property
    def state(self) -> ProgressStore: ...

    @property
    def calls_per_hour(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Night:
    """The nightly run of one date; its name keys all that must not happen twice."""

    date: date

    @property
    def run(self) -> str:
        return f"{NIGHTLY}:{self.date.isoformat()}"


def night_progress(state: ProgressStore, night: Night) -> NightProgress:
    """As its cursor tells, which a lost Redis forgets."""
    cursor = state.get_cursor(night.run)
    return NightProgress(cursor in (_FED, _COMPLETE), cursor == _COMPLETE)


def never() -> bool:
    return False


def most_waiting(calls_per_hour: int | None) -> int:
    """Windows in a queue beyond which no more are published: ten minutes of quota."""
    return _UNLIMITED_BACKLOG if calls_per_hour is None else max(20, calls_per_hour // 6)


@dataclass(frozen=True)
class FanOut:
    """``held``: whether nothing shall be published now, whatever waits; a gate is closed, the supplier is down.

    ``policy``: whose turn it is, as read for this night; without one everybody's.
    """

    dispatcher: ClaimPolicy
    state: ProgressStore
    publish: Publish
    queue_length: Callable[[str], int]
    most_waiting: int
    held: Callable[[], bool] = never
    policy: FleetPolicy | None = None
    most_accounts: int = MOST_ACCOUNTS

    @classmethod
    def of(
        cls,
        house: House,
        publish: Publish,
        queue_length: Callable[[str], int],
        held: Callable[[], bool] = never,
        policy: FleetPolicy | None = None,
    ) -> Self:
        most = most_waiting(house.calls_per_hour)
        return cls(house.dispatcher, house.state, publish, queue_length, most, held, policy)

    # -- the night

    def feed(self, night: Night) -> bool:
        """Publish page after page; False where enough is waiting and the rest must come later."""
        cursor = self._begin(night)
        if cursor in (_FED, None):
            return True
        published, left = 0, self.most_accounts
        while (place := Round.parse(cursor)) is not None and left > 0:
            page = self.dispatcher.page_after(place.after, place.until)
            due = self.dispatcher.due_look_backs(page, night.run, self.policy)
            count, last = self._publish(page, list(due), night.run, lambda: self._superseded(night))
            published += count
            if page and last != page[-1].id:  # enough is waiting
                if last:
                    self._move(night, cursor, str(place.at(last)))
                break
            left -= len(page)
            cursor = self._move(night, cursor, str((place.at(last) if last else place.next_lap()) or _FED))
        whole = cursor in (_FED, _COMPLETE)
        if published or whole:
            _tell(night.run, published, whole=whole)
        return whole or self._superseded(night)

    def fed(self, night: Night) -> bool:
        return night_progress(self.state, night).fed

    def mend(self, night: Night) -> int:
        """Publish what was lost on the way; how many.  A night with nothing due is closed and not looked at again.

        One turn of a walk that goes on at the next where there are very many accounts.
        """
        if self.held() or night_progress(self.state, night).complete or self._superseded(night):
            return 0
        name = f"mend:{night.run}"
        due, after = _read_mending(self.state.get_cursor(name))
        published, left = 0, self.most_accounts
        while left > 0:
            page = self.dispatcher.page_after(after)
            if not page:
                if not due:
                    self.state.move_cursor(night.run, _FED, _COMPLETE, _CURSOR_TTL_S)
                due, after = 0, ""
                break
            undone = list(self.dispatcher.due_look_backs(page, night.run, self.policy))
            self.dispatcher.free_lost(undone, night.run)
            count, last = self._publish(page, undone, night.run, lambda: self._superseded(night))
            published += count
            if last != page[-1].id:
                due += 1  # at least, so that the night stays open
                after = last or after
                break
            due, after, left = due + len(undone), page[-1].id, left - len(page)
        self.state.put_cursor(name, f"{due} {after}", _CURSOR_TTL_S)
        if published:  # or it would be a line each minute
            _tell(night.run, published, whole=True)
        return published

    def newest(self) -> Night | None:
        """The night that has begun last, whatever its date; None where Redis forgot it."""
        newest = self.state.newest_night()
        return Night(newest) if newest else None

    # -- the catch-up

    def catch_up(self, run: str) -> int:
        """Publish the look-back of whatever lacks yesterday's readings; how many.

        Once a run.  Not while a night is being fed: what that has yet to ask for, it will.
        """
        if self._feeding():
            return 0
        published, left = 0, self.most_accounts
        cursor = self.state.get_cursor(run)
        while cursor != _FED and left > 0:
            page = self.dispatcher.page_after(cursor)
            lacking = list(self.dispatcher.due_catch_ups(page, self.policy))
            count, last = self._publish(page, lacking, run, never)
            published += count
            if last or not page:
                cursor = self.state.move_cursor(run, cursor, last or _FED, _CURSOR_TTL_S)
            if page and last != page[-1].id:
                break
            left -= len(page)
        if published:
            _tell(run, published, whole=cursor == _FED)
        return published

    def caught_up(self, run: str) -> bool:
        """Whether this catch-up has nothing more to publish, or leaves all of it to a night that is being fed."""
        return self.state.get_cursor(run) == _FED or self._feeding()

    def _feeding(self) -> bool:
        newest = self.newest()
        return newest is not None and not self.fed(newest)

    # -- what they have in common

    def _publish(
        self, page: Sequence[Account], due: Sequence[Pair], run: str, superseded: Callable[[], bool]
    ) -> tuple[int, str | None]:
        """Publish what is due of a page as long as there is room; how much, and the last account that is through."""
        of_account: dict[str, list[Pair]] = {}
        for pair in due:
            of_account.setdefault(pair[0], []).append(pair)
        published, last, left = 0, None, deque(page)
        while left:
            while left and left[0].id not in of_account:
                last = left.popleft().id
            batch: list[Pair] = []
            room = self._room(superseded) if left else 0
            while left and len(batch) < room:  # an account's series go together
                last = left.popleft().id
                batch += of_account.get(last, ())
            if not batch:
                break
            published += self.publish(batch, run)
        return published, last

    def _room(self, superseded: Callable[[], bool]) -> int:
        """How many windows may be published now."""
        if self.held() or superseded():
            return 0
        return min(_AT_ONCE, self.most_waiting - self.queue_length(NIGHTLY))

    def _superseded(self, night: Night) -> bool:
        newest = self.state.newest_night()
        return newest is not None and takes_over(newest, night.date, self.dispatcher.today())

    def _begin(self, night: Night) -> str | None:
        """Where the night's round stands, begun if it wasn't; None where a newer one has taken over."""
        if self._superseded(night):
            return None
        newest = self.state.newest_night()
        cursor = self.state.get_cursor(night.run)
        if cursor in (_FED, _COMPLETE):
            return _FED
        if Round.parse(cursor) is None:
            cursor = self._move(night, cursor, str(self._first_place(night, newest)))
        if newest != night.date:  # last: now the older one ends
            seen = newest.isoformat() if newest else None
            self.state.move_cursor(NIGHTLY, seen, night.date.isoformat(), _CURSOR_TTL_S)
        return cursor

    def _first_place(self, night: Night, newest: date | None) -> Round:
        before = Round.parse(self.state.get_cursor(Night(newest).run)) if newest else None
        return Round.beginning(before.after if before else start_of(night.date))

    def _move(self, night: Night, seen: str | None, text: str) -> str | None:
        """Where the cursor stands then: further on, where another feeds the same night."""
        return self.state.move_cursor(night.run, seen, text, _CURSOR_TTL_S)


def _read_mending(text: str | None) -> tuple[int, str]:
    """What was due on the way of this walk, and how far it has come."""
    due, _, after = (text or "0 ").partition(" ")
    return int(due), after


def _tell(run: str, published: int, *, whole: bool) -> None:
    """``whole`` is false where the rest comes later, when less is waiting."""
    log.info("windows published", extra=fields(run=run, published=published, whole=whole))
