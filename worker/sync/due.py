"""Which windows are due: one query a lane (``worker.stores.registry.due``), claimed and published as far as they fit.

1. The lane's room is what the quota can do in ten minutes, less its claims in flight.
2. The query returns the rows that are due, in their order; those in flight still are, so as many more are asked for.
3. Rows in flight, and series that an incident holds, are left out; the others are claimed, each by one feeder.
4. Rows that were asked between the query and the claim are released: an outcome is written before its claim ends.
5. The windows are published. Nothing is written in the registry: that comes at the end of each window.

So an interrupted run needs no place to go on from, a second run finds nothing left to publish, and nobody waits longer
than those that were asked before. A failing account is asked again when its time comes, within a tenth of the room.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Final

from worker.domain.clock import Clock
from worker.domain.fleet.policy import FleetPolicy
from worker.domain.measures.messages import AGAIN, BACKFILL, CATCH_UP, LOOK_BACK, NIGHTLY, REPAIR, WindowJob
from worker.domain.measures.readings import ONE_DAY, PARIS, DateWindow, Series
from worker.domain.measures.windows import plan_look_back, plan_repair
from worker.logs import fields
from worker.stores.redis.claims import member_of
from worker.stores.registry.due import DueRow, DueTable, SeriesDays
from worker.stores.registry.outcomes import NIGHTS_WITHOUT_CURVE
from worker.sync.claims import HISTORY_LANES, NIGHTLY_LANE, REPAIR_LANE, WindowClaims, lane_of

_UNLIMITED_BACKLOG: Final = 2_000
_AGAIN_SHARE: Final = 10  # A tenth of the nightly room is kept for tries after a failure.
_REPAIR_SHARE: Final = 10  # Each hourly run of the repair may use a tenth of an hour's quota.
MOST_HISTORIES: Final = 500  # Histories begun in one call: each reads its finished days.

log = logging.getLogger("releve.nightly")


def most_waiting(calls_per_hour: int | None, share: int = 6) -> int:
    """Return how many windows may be in flight in a lane: ten minutes of quota, or another ``share`` of the hour."""
    return _UNLIMITED_BACKLOG if calls_per_hour is None else max(20, calls_per_hour // share)


def night_start(now: datetime, nightly_at: time) -> datetime:
    """Return the beginning of the night that is under way: the last moment at which the clock showed ``nightly_at``."""
    local = now.astimezone(PARIS)
    start = datetime.combine(local.date(), nightly_at, PARIS)
    return start if start <= local else datetime.combine(local.date() - ONE_DAY, nightly_at, PARIS)


@dataclass(frozen=True, kw_only=True)
class DueWindows:
    """The windows that are due.

    ``publish`` publishes a claimed window to a queue. ``is_blocked``: whether nothing is published now, because the
    gate is closed. ``policy``: every how many nights a series is asked for. Methods raise StoreUnavailable.
    """

    table: DueTable
    claims: WindowClaims
    publish: Callable[[WindowJob, str], object]
    calls_per_hour: int | None
    now: Clock
    policy: FleetPolicy
    is_blocked: Callable[[], bool] = lambda: False

    def feed_night(self, before: datetime, run: str = NIGHTLY) -> bool:
        """Publish the look-backs of series that were not asked since ``before``; return whether more are due."""
        now, lane = self.now(), NIGHTLY_LANE
        self.claims.drop_lost(lane)
        in_flight, most = set(self.claims.in_flight(lane)), most_waiting(self.calls_per_hour)
        room = most - len(in_flight)
        if room <= 0 or self.is_blocked():
            return room <= 0
        limit = min(room, -(-most // _AGAIN_SHARE))
        published = self._publish(AGAIN, self.table.list_again(now, limit + len(in_flight)), in_flight, limit)
        more = False
        # The small groups come first: what one leaves of its part of the room is for the next ones.
        groups = [(series, every) for every in (NIGHTS_WITHOUT_CURVE, 1) for series in Series]
        for place, (series, every) in enumerate(groups):
            limit = self._share(series, every, before, -(-(room - published) // (len(groups) - place)))
            wanted = limit + len(in_flight) if limit > 0 else 0
            # Of every k nights, the turn of a series is the k-th.
            asked_before = before - (self._nights(series, every) - 1) * ONE_DAY
            rows = self.table.list_nightly(series, every, asked_before, now, wanted) if wanted else []
            more = more or bool(rows and len(rows) == wanted)
            published += self._publish(NIGHTLY, rows, in_flight, limit)
        self._log(run, published, whole=not more)
        return more

    def feed_catch_up(self, since: datetime, before: datetime, run: str) -> bool:
        """Publish the series without a reading of yesterday that were not asked since ``before``.

        ``since``: the beginning of the night; with a policy, only what had its turn then. Returns whether more are due.
        """
        now, lane = self.now(), NIGHTLY_LANE
        in_flight = set(self.claims.in_flight(lane))
        room, published, more = most_waiting(self.calls_per_hour) - len(in_flight), 0, False
        if room <= 0 or self.is_blocked():
            return room <= 0
        for series in Series:
            limit = room - published
            wanted = limit + len(in_flight)
            yesterday = self.claims.today() - ONE_DAY
            asked_since = since if self.policy.every(series) > 1 else None
            rows = self.table.list_catch_up(series, yesterday, asked_since, before, now, wanted)
            more = more or len(rows) == wanted
            published += self._publish(CATCH_UP, rows, in_flight, limit)
        self._log(run, published, whole=not more)
        return more

    def feed_repair(self) -> int:
        """Publish the newest open days of each series, within a share of the quota; return the number of windows."""
        self.claims.drop_lost(REPAIR_LANE)
        in_flight, today = set(self.claims.in_flight(REPAIR_LANE)), self.claims.today()
        limit = most_waiting(self.calls_per_hour, _REPAIR_SHARE) - len(in_flight)
        if limit <= 0 or self.is_blocked():
            return 0
        return self._publish(REPAIR, self.table.list_repairs(today, limit + len(in_flight)), in_flight, limit)

    def feed_histories(self) -> int:
        """Publish the next window of each history that goes on now; return their number."""
        self.claims.drop_lost(*HISTORY_LANES.values())
        self.claims.make_lost_histories_due()
        published = 0
        for series, lane in HISTORY_LANES.items():
            in_flight = set(self.claims.in_flight(lane))
            limit = min(MOST_HISTORIES, most_waiting(self.calls_per_hour) - len(in_flight))
            if limit > 0 and not self.is_blocked() and not self.claims.is_held(series):
                rows = self.table.list_histories(series, self.now(), limit + len(in_flight))
                free = [row for row in rows if member_of(row.account_id, series) not in in_flight]
                published += sum(self.continue_history(row.account_id, series) for row in free[:limit])
        return published

    def continue_history(self, account_id: str, series: Series) -> bool:
        """Publish the next window of a history; return false if none is missing or one is in flight."""
        job = self.claims.claim_history(account_id, series)
        return job is not None and self._send(BACKFILL, [job]) == 1

    def has_history_room(self, series: Series) -> bool:
        """Return whether one more window of a history may be in flight."""
        return len(self.claims.in_flight(HISTORY_LANES[series])) < most_waiting(self.calls_per_hour)

    def publish_look_backs(self, account_id: str) -> int:
        """Publish the look-backs of one account, as a person asked; return their number, without those in flight."""
        window_of = {series: plan_look_back(self.claims.today(), series) for series in Series}
        claims = self.claims.claim(LOOK_BACK, [(account_id, series) for series in Series])
        return self._send(LOOK_BACK, [self.claims.to_job(*pair, window_of[pair[1]], claims[pair]) for pair in claims])

    def _nights(self, series: Series, every: int) -> int:
        return max(every, self.policy.every(series))

    def _share(self, series: Series, every: int, before: datetime, room: int) -> int:
        """Return how many rows of a group may be published tonight: of every k nights, a k-th part of the rows.

        A date alone would let those that were asked together come together for ever.
        """
        nights = self._nights(series, every)
        if nights == 1 or room <= 0:
            return room
        active, asked = self.table.count_share(series, every, before)
        waiting = sum(member.endswith(f":{series}") for member in self.claims.in_flight(NIGHTLY_LANE))
        return min(room, -(-active // nights) - asked - waiting)

    def _publish(self, kind: str, rows: Sequence[DueRow], in_flight: set[str], limit: int) -> int:
        """Claim and publish the first rows that are free; add them to ``in_flight`` and return their number."""
        free = [row for row in rows if member_of(row.account_id, row.series) not in in_flight]
        free = [row for row in free if not self.claims.is_held(row.series)][: max(0, limit)]
        claims = self.claims.claim(kind, [(row.account_id, row.series) for row in free])
        if not claims:
            return 0
        in_flight.update(member_of(*pair) for pair in claims)
        unchanged, today = self.table.load_unchanged(free), self.claims.today()
        jobs: list[WindowJob] = []
        late: list[WindowJob] = []
        for pair, claim in claims.items():
            window = _window(kind, pair[1], unchanged[pair], today) if pair in unchanged else None
            job = self.claims.to_job(*pair, window or plan_look_back(today, pair[1]), claim)
            (late if window is None else jobs).append(job)
        self.claims.release(late)
        return self._send(kind, jobs)

    def _send(self, kind: str, jobs: Sequence[WindowJob]) -> int:
        published = 0
        try:
            for job in jobs:
                self.publish(job, lane_of(kind, Series(job["series"])))
                published += 1
        finally:
            # Where the broker is away, the rest is due again at once.
            self.claims.release(jobs[published:])
        return published

    @staticmethod
    def _log(run: str, published: int, *, whole: bool) -> None:
        """Log a number of published windows; ``whole`` is false if the rest comes later."""
        if published:
            log.info("windows published", extra=fields(run=run, published=published, whole=whole))


def _window(kind: str, series: Series, days: SeriesDays, today: date) -> DateWindow | None:
    """Return the window to ask for; of open days the newest window, as the others come after that one is stored."""
    if kind != REPAIR:
        return plan_look_back(today, series, days.last_complete)
    return next(iter(plan_repair(days.ledger.due_days(today), series.description.max_window_days)), None)
