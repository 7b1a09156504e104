"""The windows due tonight, published page by page: one round over all accounts, as fast as the quota allows.

Which windows of a page are due, ``ClaimPolicy.due_look_backs`` decides. A round can be interrupted and continued.

A cursor in Redis (``worker.domain.fleet.rounds``) holds how far the night has come; it is moved after a page was
published. If it is lost, the round starts again, and what is done or claimed is not published twice. A night begins
where the one before it stopped, so what that one left comes first; after a complete night, the next begins at a place
of its own. When a newer night begins, the older one publishes no more, and its waiting messages serve the newer one
(``ClaimPolicy.refresh_window``).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from worker.domain.consent.accounts import Account
from worker.domain.fleet.policy import FleetPolicy
from worker.domain.fleet.rounds import Round, start_of, takes_over
from worker.domain.measures.messages import NIGHTLY
from worker.domain.measures.readings import Series
from worker.logs import fields
from worker.stores.redis.progress import ProgressStore
from worker.sync.claims import ClaimPolicy

_CURSOR_TTL_S: Final = 3 * 24 * 3600
# The last values of the cursor. A place on the way begins with a digit.
_FED: Final = "~fed"
_COMPLETE: Final = "~complete"
_UNLIMITED_BACKLOG: Final = 2_000
# Windows claimed and published before the length of the queue is read again.
_BATCH_SIZE: Final = 100
# Accounts examined in one call, because a task must end in time.
MOST_ACCOUNTS: Final = 50_000

log = logging.getLogger("releve.nightly")


@dataclass(frozen=True, slots=True)
class NightProgress:
    """The progress of a night: whether all its windows are published (``fed``), and whether all are done."""

    fed: bool
    complete: bool


Pair = tuple[str, Series]
Publish = Callable[[Sequence[Pair], str], int]


@dataclass(frozen=True, slots=True)
class Night:
    """The nightly run of one date."""

    date: date

    @property
    def run(self) -> str:
        """The name of the run, under which its windows are claimed: ``nightly:2024-07-25``."""
        return f"{NIGHTLY}:{self.date.isoformat()}"


def night_progress(state: ProgressStore, night: Night) -> NightProgress:
    """Return the progress of a night; nothing is fed if Redis was emptied."""
    cursor = state.get_cursor(night.run)
    return NightProgress(cursor in (_FED, _COMPLETE), cursor == _COMPLETE)


def never() -> bool:
    return False


def most_waiting(calls_per_hour: int | None) -> int:
    """Return how many windows may wait in a queue: ten minutes of quota."""
    return _UNLIMITED_BACKLOG if calls_per_hour is None else max(20, calls_per_hour // 6)


@dataclass(frozen=True, kw_only=True)
class FanOut:
    """The fan-out of nights and catch-ups.

    ``is_held``: whether nothing is published now, because a gate is closed or an incident is open. ``policy`` decides
    whose turn it is; without one, it is everybody's.
    """

    claims: ClaimPolicy
    progress: ProgressStore
    publish: Publish
    queue_length: Callable[[str], int]
    most_waiting: int
    is_held: Callable[[], bool] = never
    policy: FleetPolicy | None = None
    most_accounts: int = MOST_ACCOUNTS

    # -- Nights

    def feed(self, night: Night) -> bool:
        """Publish page after page; return whether the night is all published, or a newer one has taken over.

        False means that the queue is full or publishing is on hold: call again later.
        """
        cursor = self._begin(night)
        if cursor in (_FED, None):
            return True
        published, left = 0, self.most_accounts
        while (place := Round.parse(cursor)) is not None and left > 0:
            page = self.claims.page_after(place.after, place.until)
            due = self.claims.due_look_backs(page, night.run, self.policy)
            count, last = self._publish(page, list(due), night.run, lambda: self._superseded(night))
            published += count
            if page and last != page[-1].id:
                # Enough windows wait.
                if last:
                    self._move(night, cursor, str(place.at(last)))
                break
            left -= len(page)
            cursor = self._move(night, cursor, str((place.at(last) if last else place.next_lap()) or _FED))
        whole = cursor in (_FED, _COMPLETE)
        if published or whole:
            _log_published(night.run, published, whole=whole)
        return whole or self._superseded(night)

    def fed(self, night: Night) -> bool:
        """Return whether all windows of the night are published."""
        return night_progress(self.progress, night).fed

    def publish_missing(self, night: Night) -> int:
        """Publish the windows of the night whose messages were lost, and return their number.

        A night with nothing due is complete and is not examined again. With very many accounts, one call examines a
        part of them and the next goes on from there.
        """
        if self.is_held() or night_progress(self.progress, night).complete or self._superseded(night):
            return 0
        name = f"mend:{night.run}"
        due, after = _parse_scan(self.progress.get_cursor(name))
        published, left = 0, self.most_accounts
        while left > 0:
            page = self.claims.page_after(after)
            if not page:
                if not due:
                    self.progress.move_cursor(night.run, _FED, _COMPLETE, _CURSOR_TTL_S)
                due, after = 0, ""
                break
            undone = list(self.claims.due_look_backs(page, night.run, self.policy))
            self.claims.drop_lost_claims(undone, night.run)
            count, last = self._publish(page, undone, night.run, lambda: self._superseded(night))
            published += count
            if last != page[-1].id:
                # At least one window is due, so that the night stays open.
                due += 1
                after = last or after
                break
            due, after, left = due + len(undone), page[-1].id, left - len(page)
        self.progress.put_cursor(name, f"{due} {after}", _CURSOR_TTL_S)
        # Without this condition there would be a line each minute.
        if published:
            _log_published(night.run, published, whole=True)
        return published

    def newest(self) -> Night | None:
        """Return the latest night that has begun, or None where Redis was emptied."""
        newest = self.progress.newest_night()
        return Night(newest) if newest else None

    # -- Catch-ups

    def catch_up(self, run: str) -> int:
        """Publish the look-backs of all series without a reading of yesterday, once a run, and return their number.

        Nothing is published while a night is being fed, because that night will ask for them.
        """
        if self._feeding():
            return 0
        published, left = 0, self.most_accounts
        cursor = self.progress.get_cursor(run)
        while cursor != _FED and left > 0:
            page = self.claims.page_after(cursor)
            lacking = list(self.claims.due_catch_ups(page, self.policy))
            count, last = self._publish(page, lacking, run, never)
            published += count
            if last or not page:
                cursor = self.progress.move_cursor(run, cursor, last or _FED, _CURSOR_TTL_S)
            if page and last != page[-1].id:
                break
            left -= len(page)
        if published:
            _log_published(run, published, whole=cursor == _FED)
        return published

    def caught_up(self, run: str) -> bool:
        """Return whether this catch-up has nothing more to publish, or leaves it to a night that is being fed."""
        return self.progress.get_cursor(run) == _FED or self._feeding()

    def _feeding(self) -> bool:
        newest = self.newest()
        return newest is not None and not self.fed(newest)

    # -- Helpers

    def _publish(
        self, page: Sequence[Account], due: Sequence[Pair], run: str, superseded: Callable[[], bool]
    ) -> tuple[int, str | None]:
        """Publish what is due of a page while the queue has capacity.

        Returns the number of windows, and the id of the last account that is done.
        """
        of_account: dict[str, list[Pair]] = {}
        for pair in due:
            of_account.setdefault(pair[0], []).append(pair)
        published, last, left = 0, None, deque(page)
        while left:
            while left and left[0].id not in of_account:
                last = left.popleft().id
            batch: list[Pair] = []
            capacity = self._capacity(superseded) if left else 0
            # The series of one account go together.
            while left and len(batch) < capacity:
                last = left.popleft().id
                batch += of_account.get(last, ())
            if not batch:
                break
            published += self.publish(batch, run)
        return published, last

    def _capacity(self, superseded: Callable[[], bool]) -> int:
        """Return how many windows may be published now."""
        if self.is_held() or superseded():
            return 0
        return min(_BATCH_SIZE, self.most_waiting - self.queue_length(NIGHTLY))

    def _superseded(self, night: Night) -> bool:
        newest = self.progress.newest_night()
        return newest is not None and takes_over(newest, night.date, self.claims.today())

    def _begin(self, night: Night) -> str | None:
        """Return the place of the night's round, and begin it if necessary; None if a newer night has taken over."""
        if self._superseded(night):
            return None
        newest = self.progress.newest_night()
        cursor = self.progress.get_cursor(night.run)
        if cursor in (_FED, _COMPLETE):
            return _FED
        if Round.parse(cursor) is None:
            cursor = self._move(night, cursor, str(self._first_place(night, newest)))
        # This comes last, because it ends the older night.
        if newest != night.date:
            expected = newest.isoformat() if newest else None
            self.progress.move_cursor(NIGHTLY, expected, night.date.isoformat(), _CURSOR_TTL_S)
        return cursor

    def _first_place(self, night: Night, newest: date | None) -> Round:
        before = Round.parse(self.progress.get_cursor(Night(newest).run)) if newest else None
        return Round.beginning(before.after if before else start_of(night.date))

    def _move(self, night: Night, expected: str | None, text: str) -> str | None:
        """Move the cursor and return its place, which is another one if another process feeds the same night."""
        return self.progress.move_cursor(night.run, expected, text, _CURSOR_TTL_S)


def _parse_scan(text: str | None) -> tuple[int, str]:
    """Return how many windows were due so far in this scan, and the last account examined: ``3 k9x4w``."""
    due, _, after = (text or "0 ").partition(" ")
    return int(due), after


def _log_published(run: str, published: int, *, whole: bool) -> None:
    """Log a number of published windows; ``whole`` is false if the rest comes later."""
    log.info("windows published", extra=fields(run=run, published=published, whole=whole))
