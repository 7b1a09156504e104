"""The windows that are due, claimed as far as there is room: one query per lane and supplier (``stores.registry.due``).

1. A lane's room is what the quota allows in ten minutes, minus the lane's claims in flight.
2. The query returns the due rows in order. Rows in flight are still due, so the query also asks for as many rows as are
   in flight.
3. Rows in flight, and series that an incident holds, are left out; the other rows are claimed, each by one process.
4. The registry is read again: a new claim is released if its row was requested after the query, or may no longer be
   requested. The registry knows of such a request, because a window's outcome is written before its claim ends.
5. The caller publishes the windows. Outcomes are written to the registry only at the end of each window.

So an interrupted run needs no saved position, a second run finds nothing left to publish, and the series that has
waited longest comes first. Tries after a failure wait for their time, and use at most a tenth of the nightly limit.
Each supplier has its own quota and gate, so it also has its own room in every lane.

A gateway has few accounts, and each is requested only at its own hours. A row whose hour has not come stays due, and
the reconciler looks again within a minute. No more windows are in flight than the gateway's quota has calls left.
Histories and repairs leave enough calls for the next night.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, NamedTuple

from worker.domain.clock import Clock
from worker.domain.messages import AGAIN, CATCH_UP, NIGHTLY, REPAIR, WindowJob
from worker.domain.schedule import NIGHTS_WITHOUT_CURVE, AskingHours, is_afternoon, is_asking_hour, start_of_afternoon
from worker.domain.series import SMALLEST_FIRST, Series
from worker.domain.windows import ONE_DAY, DateWindow, civil_date, plan_look_back, plan_repair
from worker.stores.redis.claims import member_of, series_of_member
from worker.stores.registry.due import DueRow, DueTable, PolicyTable, SeriesDays
from worker.sync.claims import HISTORY_LANES, LANES, NIGHTLY_LANE, REPAIR_LANE, WindowClaims, most_waiting

_AGAIN_SHARE: Final = 10  # At most a tenth of the nightly limit is used for tries after a failure.
_REPAIR_SHARE: Final = 10  # Each hourly run of the repair may use a tenth of an hour's quota.
MOST_HISTORIES: Final = 500  # A limit for each lane in one run, because the days of each history are read.
_MOST_ROWS: Final = 1_000  # More rows than a gateway's quota could ever serve.


class Due(NamedTuple):
    """The windows that were claimed and must now be published. ``more``: whether others may be due, but had no room."""

    jobs: list[WindowJob]
    more: bool


@dataclass(frozen=True, kw_only=True)
class DueWindows:
    """Finds and claims the due windows of a supplier's ``series``; the caller publishes them.

    ``closed_for_s``: seconds for which the supplier's gate stays closed; until then nothing is due. ``policies``: how
    many nights lie between two requests for a series.
    """

    table: DueTable
    policies: PolicyTable
    claims: WindowClaims
    calls_per_hour: int | None
    now: Clock
    closed_for_s: Callable[[], float] = lambda: 0.0
    series: Sequence[Series] = tuple(Series)

    def room(self, lane: str, most: int, in_flight: Collection[str]) -> int:
        """Return how many more windows of a lane may be in flight, given a limit of ``most``."""
        return most - len(in_flight)

    def in_flight(self, lane: str) -> set[str]:
        """Return the account and series of each claim in a lane, as the text of ``member_of``.

        Only claims on this object's ``series`` are included.
        """
        return {member for member in self.claims.in_flight(lane) if series_of_member(member) in self.series}

    def claim_night(self, before: datetime) -> Due:
        """Claim the look-backs of series that were not requested since ``before``."""
        now = self.now()
        in_flight, most = self.in_flight(NIGHTLY_LANE), most_waiting(self.calls_per_hour)
        room = self.room(NIGHTLY_LANE, most, in_flight)
        if room <= 0 or self.closed_for_s() > 0:
            return Due([], room <= 0)
        limit = min(room, -(-most // _AGAIN_SHARE))
        jobs = self._claim(AGAIN, self.table.list_again(now, limit + len(in_flight), self.series), in_flight, limit)
        policy, more = self.policies.load_current(civil_date(now)), False
        smallest_first = [series for series in SMALLEST_FIRST if series in self.series]
        # A group: the rows of a series with the same ``every``. A curve not collected yet gets its turn once a week.
        groups = [(series, NIGHTS_WITHOUT_CURVE) for series in smallest_first if series.has_steps]
        groups += [(series, 1) for series in smallest_first]
        # What a group leaves free of its share goes to the next groups.
        for place, (series, every) in enumerate(groups):
            nights = max(every, policy.every(series))
            # With a turn every k nights, a series requested in the last k - 1 nights is not due.
            asked_before = before - (nights - 1) * ONE_DAY
            limit = -(-(room - len(jobs)) // (len(groups) - place))
            rows = self.table.list_nightly(series, every, asked_before, now, limit + len(in_flight)) if limit else []
            if rows and nights > 1:
                limit = min(limit, self._share(series, every, nights, before))
            if rows and limit > 0:
                more = more or len(rows) >= limit + len(in_flight)
                jobs += self._claim(NIGHTLY, rows, in_flight, limit)
        return Due(jobs, more)

    def claim_catch_up(self, since: datetime, before: datetime) -> Due:
        """Claim the series that lack yesterday's reading and were not requested since ``before``.

        ``since``: the beginning of the night. A series with a turn every few nights is claimed only if its turn was
        this night.
        """
        in_flight, today = self.in_flight(NIGHTLY_LANE), civil_date(self.now())
        room = self.room(NIGHTLY_LANE, most_waiting(self.calls_per_hour), in_flight)
        if room <= 0 or self.closed_for_s() > 0:
            return Due([], room <= 0)
        policy, jobs, more = self.policies.load_current(today), list[WindowJob](), False
        for series in filter(lambda series: series.catches_up, self.series):
            limit = room - len(jobs)
            wanted = limit + len(in_flight)
            asked_since = since if policy.every(series) > 1 else None
            rows = self.table.list_catch_up(series, today - ONE_DAY, asked_since, before, self.now(), wanted)
            more = more or len(rows) == wanted
            jobs += self._claim(CATCH_UP, rows, in_flight, limit)
        return Due(jobs, more)

    def claim_repairs(self) -> list[WindowJob]:
        """Claim the newest open days of each series, within a share of the quota."""
        in_flight = self.in_flight(REPAIR_LANE)
        limit = self.room(REPAIR_LANE, most_waiting(self.calls_per_hour, _REPAIR_SHARE), in_flight)
        if limit <= 0 or self.closed_for_s() > 0:
            return []
        rows = self.table.list_repairs(civil_date(self.now()), limit + len(in_flight), self.series)
        return self._claim(REPAIR, rows, in_flight, limit)

    def list_histories(self) -> list[tuple[str, Series]]:
        """Return the accounts and series whose history may continue, for ``claim_next_of_history``."""
        free: list[tuple[str, Series]] = []
        for lane in dict.fromkeys(HISTORY_LANES.values()):
            in_flight = self.in_flight(lane)
            room = min(MOST_HISTORIES, self.room(lane, most_waiting(self.calls_per_hour), in_flight))
            of_lane = [one for one in SMALLEST_FIRST if one in self.series and HISTORY_LANES[one] == lane]
            for place, series in enumerate(of_lane):
                limit = -(-room // (len(of_lane) - place))  # What one series leaves free goes to the next.
                if limit > 0 and not self.closed_for_s() > 0 and not self.claims.is_held(series):
                    rows = self.table.list_histories(series, self.now(), limit + len(in_flight))
                    waiting = [row.account_id for row in rows if member_of(row.account_id, series) not in in_flight]
                    free += [(account_id, series) for account_id in waiting[:limit]]
                    room -= len(waiting[:limit])
        return free

    def claim_next_of_history(self, account_id: str, series: Series) -> list[WindowJob]:
        """Claim the next window of a history; empty if no window is missing or one is in flight."""
        job = self.claims.claim_history(account_id, series)
        return [] if job is None else [job]

    def has_history_room(self, series: Series) -> bool:
        """Return whether the lane of this series' histories has room for one more window."""
        lane = HISTORY_LANES[series]
        return self.room(lane, most_waiting(self.calls_per_hour), self.in_flight(lane)) > 0

    def _share(self, series: Series, every: int, nights: int, before: datetime) -> int:
        """Return how many rows of a group may still be claimed tonight; each row has a turn every ``nights`` nights.

        Without this limit, all rows that were requested in one night would have their next turn in one night too.
        """
        active, asked = self.table.count_share(series, every, before, civil_date(self.now()))
        waiting = sum(member.endswith(f":{series}") for member in self.claims.in_flight(NIGHTLY_LANE))
        return -(-active // nights) - asked - waiting

    def _claim(self, kind: str, rows: Sequence[DueRow], in_flight: set[str], limit: int) -> list[WindowJob]:
        """Claim the first rows that are free, add them to ``in_flight``, and return their jobs."""
        open_series = {series for series in {row.series for row in rows} if not self.claims.is_held(series)}
        wanted = (row for row in rows if row.series in open_series)
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
    """Return the window to request. For a repair, this is the newest window with due days; None if no day is due."""
    if kind != REPAIR:
        return plan_look_back(today, series, days.last_complete)
    return next(iter(plan_repair(days.ledger.due_days(today, series), series.description.max_window_days)), None)


@dataclass(frozen=True, kw_only=True)
class GatewayWindows(DueWindows):
    """The due windows of a gateway's accounts.

    ``calls_in_half_a_day``: the gateway's quota; ``calls_left``: returns how many of these calls are left now.
    """

    calls_in_half_a_day: int
    calls_left: Callable[[], int]

    def room(self, lane: str, most: int, in_flight: Collection[str]) -> int:
        """Return how many more windows of a lane may be in flight, given a limit of ``most`` and the calls left."""
        left = self.calls_left() - sum(len(super(GatewayWindows, self).in_flight(one)) for one in LANES)
        if lane != NIGHTLY_LANE:
            left -= min(len(self._list_rows()), self.calls_in_half_a_day // 2)
        return min(most, left)

    def in_flight(self, lane: str) -> set[str]:
        """Return the account and series of each claim in a lane.

        In the lanes of nights and repairs, rows whose hour has not come are added, so that they aren't claimed yet.
        """
        members = super().in_flight(lane)
        if lane not in (NIGHTLY_LANE, REPAIR_LANE):
            return members
        now = self.now()
        hidden = (row for row in self._list_rows() if not AskingHours(row.account_id).allow(now))
        return members | {member_of(row.account_id, row.series) for row in hidden}

    def claim_night(self, before: datetime) -> Due:
        """Claim look-backs of series that were not requested since ``before``; nothing outside the accounts' hours.

        In the afternoon, also claim the look-backs of series that lack yesterday's reading.
        """
        now = self.now()
        if not is_asking_hour(now):
            return Due([], more=False)
        jobs = super().claim_night(before).jobs
        if is_afternoon(now):
            jobs += super().claim_catch_up(before, start_of_afternoon(civil_date(now))).jobs
        return Due(jobs, more=False)

    def claim_catch_up(self, since: datetime, before: datetime) -> Due:
        """Claim nothing: for a gateway, the catch-up is part of ``claim_night``."""
        return Due([], more=False)

    def claim_next_of_history(self, account_id: str, series: Series) -> list[WindowJob]:
        """Claim the next window of a history if the quota has a call left besides the calls kept for the night."""
        return super().claim_next_of_history(account_id, series) if self.has_history_room(series) else []

    def claim_repairs(self) -> list[WindowJob]:
        """Claim the newest open days of each series; nothing outside the accounts' hours."""
        return super().claim_repairs() if is_asking_hour(self.now()) else []

    def _list_rows(self) -> list[DueRow]:
        return self.table.list_some(self.series, civil_date(self.now()), _MOST_ROWS)
