"""Which windows of a supplier are due: one query a lane (``worker.stores.registry.due``), claimed as far as they fit.

1. The lane's room is what the quota can do in ten minutes, less its claims in flight.
2. The query returns the rows that are due, in their order; those in flight still are, so as many more are asked for.
3. Rows in flight, and series that an incident holds, are left out; the others are claimed, each by one feeder.
4. Rows that were asked between the query and the claim, or may not be asked any more, are released: an outcome is
   written before its claim ends.
5. The caller publishes the windows. Nothing is written in the registry: that comes at the end of each window.

So an interrupted run needs no place to go on from, a second run finds nothing left to publish, and nobody waits longer
than those that were asked before. A failing account is asked again when its time comes, within a tenth of the room.

A gateway takes few calls, and each of its accounts at hours of its own (``worker.domain.fleet.asking_hours``). So the
room is also what the ledger has left, histories leave the next night its calls, and a row whose hour has not come stays
due: the reconciler looks again within a minute. Its catch-up is part of the night, in the afternoon's hours.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, NamedTuple

from worker.domain.clock import Clock
from worker.domain.fleet.asking_hours import AskingHours, is_afternoon, is_asking_hour, start_of_afternoon
from worker.domain.measures.messages import AGAIN, CATCH_UP, NIGHTLY, REPAIR, WindowJob
from worker.domain.measures.readings import ONE_DAY, DateWindow, civil_date
from worker.domain.measures.series import SMALLEST_FIRST, Series
from worker.domain.measures.windows import plan_look_back, plan_repair
from worker.stores.redis.claims import member_of, series_of_member
from worker.stores.registry.due import DueRow, DueTable, SeriesDays
from worker.stores.registry.outcomes import NIGHTS_WITHOUT_CURVE
from worker.stores.registry.policies import PolicyTable
from worker.sync.claims import HISTORY_LANES, LANES, NIGHTLY_LANE, REPAIR_LANE, WindowClaims, most_waiting

_AGAIN_SHARE: Final = 10  # A tenth of the nightly room is kept for tries after a failure.
_REPAIR_SHARE: Final = 10  # Each hourly run of the repair may use a tenth of an hour's quota.
_ROWS_OF_A_GATEWAY: Final = 1_000  # More than it could be asked for; those whose hour has not come are passed over.
MOST_HISTORIES: Final = 500  # Histories begun in one call: each reads its finished days.


class Due(NamedTuple):
    """Claimed windows to publish now; ``more``: whether others are due that did not fit."""

    jobs: list[WindowJob]
    more: bool


class GatewayQuota(NamedTuple):
    """The quota of a gateway: its ``limit`` in half a day, and what returns the calls that it leaves now."""

    limit: int
    calls_left: Callable[[], int]


@dataclass(frozen=True, kw_only=True)
class DueWindows:
    """The windows of a supplier's ``series`` that are due, claimed for whoever publishes them.

    ``closed_for_s``: seconds for which its gate stays closed; until then nothing is due. ``policies``: every how many
    nights a series is asked for. ``gateway``: the quota of a gateway; None for a supplier whose accounts may be
    asked at any time. Methods raise StoreUnavailable.
    """

    table: DueTable
    policies: PolicyTable
    claims: WindowClaims
    calls_per_hour: int | None
    now: Clock
    closed_for_s: Callable[[], float] = lambda: 0.0
    series: Sequence[Series] = tuple(Series)
    gateway: GatewayQuota | None = None

    def in_flight(self, lane: str) -> set[str]:
        """Return the members of a lane's claims on these series."""
        return {member for member in self.claims.in_flight(lane) if series_of_member(member) in self.series}

    def night(self, before: datetime) -> Due:
        """Claim the look-backs of series that were not asked since ``before``."""
        now = self.now()
        if self.gateway is not None and not is_asking_hour(now):
            return Due([], more=False)
        self.claims.drop_lost(NIGHTLY_LANE)
        in_flight, most = self.in_flight(NIGHTLY_LANE), most_waiting(self.calls_per_hour)
        room = self._room(most, in_flight)
        if room <= 0 or self.closed_for_s() > 0:
            return Due([], room <= 0 and self.gateway is None)
        limit = min(room, -(-most // _AGAIN_SHARE))
        rows = self.table.list_again(now, self._rows(limit, in_flight), self.series)
        jobs = self._claim(AGAIN, rows, in_flight, limit)
        policy, more = self.policies.load_current(civil_date(now)), False
        smallest_first = [series for series in SMALLEST_FIRST if series in self.series]
        # Rows of one query: a curve that is not collected has its turn every week.
        groups = [(series, NIGHTS_WITHOUT_CURVE) for series in smallest_first if series.has_steps]
        groups += [(series, 1) for series in smallest_first]
        # What a group leaves of its part of the room is for the next ones.
        for place, (series, every) in enumerate(groups):
            nights = max(every, policy.every(series))
            # Of every k nights, the turn of a series is the k-th.
            asked_before = before - (nights - 1) * ONE_DAY
            limit = -(-(room - len(jobs)) // (len(groups) - place))
            wanted = self._rows(limit, in_flight)
            rows = self.table.list_nightly(series, every, asked_before, now, wanted) if limit else []
            if rows and nights > 1:
                limit = min(limit, self._share(series, every, nights, before))
            if rows and limit > 0:
                more = more or len(rows) >= wanted
                jobs += self._claim(NIGHTLY, rows, in_flight, limit)
        if self.gateway is not None and is_afternoon(now):
            jobs += self._catch_up(before, start_of_afternoon(civil_date(now)), in_flight, room - len(jobs)).jobs
        return Due(jobs, more)

    def catch_up(self, since: datetime, before: datetime) -> Due:
        """Claim the series without a reading of yesterday that were not asked since ``before``.

        ``since``: the beginning of the night; with a policy, only what had its turn then.
        """
        if self.gateway is not None:
            return Due([], more=False)
        in_flight = self.in_flight(NIGHTLY_LANE)
        room = self._room(most_waiting(self.calls_per_hour), in_flight)
        if room <= 0 or self.closed_for_s() > 0:
            return Due([], room <= 0)
        return self._catch_up(since, before, in_flight, room)

    def _catch_up(self, since: datetime, before: datetime, in_flight: set[str], room: int) -> Due:
        today = civil_date(self.now())
        policy, jobs, more = self.policies.load_current(today), list[WindowJob](), False
        for series in filter(lambda series: series.catches_up, self.series):
            limit = room - len(jobs)
            wanted = self._rows(limit, in_flight)
            asked_since = since if policy.every(series) > 1 else None
            rows = self.table.list_catch_up(series, today - ONE_DAY, asked_since, before, self.now(), wanted)
            more = more or len(rows) == wanted
            jobs += self._claim(CATCH_UP, rows, in_flight, limit)
        return Due(jobs, more)

    def repairs(self) -> list[WindowJob]:
        """Claim the newest open days of each series, within a share of the quota."""
        self.claims.drop_lost(REPAIR_LANE)
        in_flight = self.in_flight(REPAIR_LANE)
        limit = self._room(most_waiting(self.calls_per_hour, _REPAIR_SHARE), in_flight, beside_nights=True)
        if limit <= 0 or self.closed_for_s() > 0:
            return []
        rows = self.table.list_repairs(civil_date(self.now()), self._rows(limit, in_flight), self.series)
        return self._claim(REPAIR, rows, in_flight, limit)

    def histories(self) -> list[tuple[str, Series]]:
        """Return the accounts and series whose history goes on now; ``next_of_history`` claims a window of each."""
        self.claims.drop_lost(*HISTORY_LANES.values())
        self.claims.make_lost_histories_due()
        free: list[tuple[str, Series]] = []
        for lane in dict.fromkeys(HISTORY_LANES.values()):
            in_flight = self.in_flight(lane)
            room = min(MOST_HISTORIES, self._room(most_waiting(self.calls_per_hour), in_flight, beside_nights=True))
            of_lane = [one for one in SMALLEST_FIRST if one in self.series and HISTORY_LANES[one] == lane]
            for place, series in enumerate(of_lane):
                limit = -(-room // (len(of_lane) - place))  # What one series leaves of its part is for the next ones.
                if limit > 0 and not self.closed_for_s() > 0 and not self.claims.is_held(series):
                    rows = self.table.list_histories(series, self.now(), limit + len(in_flight))
                    waiting = [row.account_id for row in rows if member_of(row.account_id, series) not in in_flight]
                    free += [(account_id, series) for account_id in waiting[:limit]]
                    room -= len(waiting[:limit])
        return free

    def next_of_history(self, account_id: str, series: Series) -> list[WindowJob]:
        """Claim the next window of a history; none if none is missing or one is in flight."""
        job = self.claims.claim_history(account_id, series)
        return [] if job is None else [job]

    def has_history_room(self, series: Series) -> bool:
        """Return whether one more window of a history may be in flight."""
        in_flight = self.in_flight(HISTORY_LANES[series])
        return self._room(most_waiting(self.calls_per_hour), in_flight, beside_nights=True) > 0

    def _room(self, most: int, in_flight: Collection[str], *, beside_nights: bool = False) -> int:
        """Return how many more windows of a lane may be in flight.

        ``beside_nights``: the lane leaves a gateway's next night its calls, or half of what there is.
        """
        room = most - len(in_flight)
        if self.gateway is None:
            return room
        left = self.gateway.calls_left() - sum(len(self.in_flight(lane)) for lane in LANES)
        if beside_nights:
            left -= min(self.table.count_active(self.series, civil_date(self.now())), self.gateway.limit // 2)
        return min(room, left)

    def _may_ask(self, account_id: str) -> bool:
        """Return whether the account's hour has come."""
        return self.gateway is None or AskingHours(account_id).allow(self.now())

    def _rows(self, limit: int, in_flight: Collection[str]) -> int:
        """Return how many rows to read for ``limit`` windows: those in flight, and those whose hour is to come, too."""
        return limit + len(in_flight) if self.gateway is None else _ROWS_OF_A_GATEWAY

    def _share(self, series: Series, every: int, nights: int, before: datetime) -> int:
        """Return how many rows of a group are still to be claimed tonight: of every k nights, a k-th part of the rows.

        A date alone would let those that were asked together come together for ever.
        """
        active, asked = self.table.count_share(series, every, before, civil_date(self.now()))
        waiting = sum(member.endswith(f":{series}") for member in self.claims.in_flight(NIGHTLY_LANE))
        return -(-active // nights) - asked - waiting

    def _claim(self, kind: str, rows: Sequence[DueRow], in_flight: set[str], limit: int) -> list[WindowJob]:
        """Claim the first rows that are free, and add them to ``in_flight``."""
        open_series = {series for series in {row.series for row in rows} if not self.claims.is_held(series)}
        wanted = (row for row in rows if row.series in open_series and self._may_ask(row.account_id))
        free = [row for row in wanted if member_of(row.account_id, row.series) not in in_flight][: max(0, limit)]
        claims = self.claims.claim(kind, [(row.account_id, row.series) for row in free])
        if not claims:
            return []
        in_flight.update(member_of(*pair) for pair in claims)
        today = civil_date(self.now())
        unchanged = self.table.load_unchanged(free, today)
        jobs: list[WindowJob] = []
        late: list[WindowJob] = []
        for pair, claim in claims.items():
            window = _window(kind, pair[1], unchanged[pair], today) if pair in unchanged else None
            job = self.claims.to_job(*pair, window or plan_look_back(today, pair[1]), claim)
            (late if window is None else jobs).append(job)
        self.claims.release(late)
        return jobs


def _window(kind: str, series: Series, days: SeriesDays, today: date) -> DateWindow | None:
    """Return the window to ask for; of open days the newest window, as the others come after that one is stored."""
    if kind != REPAIR:
        return plan_look_back(today, series, days.last_complete)
    return next(iter(plan_repair(days.ledger.due_days(today, series), series.description.max_window_days)), None)
