"""The series that are due, in the order in which they are requested, and the policies of the fleet.

Each reason for a request (the night, a retry, a history, a repair …) is a lane with its own query on
``series_outcomes``. A row is written once, at the end of a window; publishing a window writes nothing here. So if a
message or Redis is lost, or the publishing process is killed, the row is still due, in the same order. Each query reads
a partial index (``tables.SERIES_OUTCOMES``); docs/reference/benchmarks.md has measurements with a million accounts.

A policy is an operator's choice of how often the fleet's series are requested, from which night on. It is stored with
the plan that `releve plan` had calculated for it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, delete, func, or_, select, text, tuple_

from worker.domain.completeness import DayLedger
from worker.domain.schedule import NIGHTS_WITHOUT_CURVE, FleetPolicy
from worker.domain.series import Series
from worker.domain.windows import civil_date
from worker.stores.database import Database, SqlTable, build_upsert
from worker.stores.registry.tables import ACTIVE, NEVER, POLICIES, SERIES_OUTCOMES

_C = SERIES_OUTCOMES.c
_ACTIVE = text(ACTIVE)
# How long ``list_nightly`` uses a floor, which is the ``asked_at`` at which its scans begin. New and returning accounts
# lie before the floor, so they are found only after the floor has expired.
_FLOOR_LIFE_S: Final = 60.0


class DueRow(NamedTuple):
    """A series that is due for an account."""

    account_id: str
    series: Series
    asked_at: datetime


class SeriesDays(NamedTuple):
    """The data for planning a window.

    ``last_complete``: the last complete day; ``ledger``: the marks of all days.
    """

    last_complete: date | None
    ledger: DayLedger


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """A policy that was chosen; ``arithmetic`` is its plan, as `releve plan --json` prints it."""

    since: date
    policy: FleetPolicy
    applied_at: datetime
    arithmetic: Mapping[str, Any]


class DueTable(SqlTable):
    """The queries for the rows that are due, one for each lane.

    No query returns a row whose ``ask_until``, the last day of the consent, has passed at the caller's time.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(database)
        self._clock = clock
        self._floors: dict[tuple[Series, int], tuple[datetime, float]] = {}

    def list_nightly(self, series: Series, every: int, before: datetime, now: datetime, limit: int) -> list[DueRow]:
        """Return the rows not requested since ``before``, the longest waiting first.

        Only rows whose column ``every`` has this value are returned: 1, or 7 for curves that the supplier doesn't
        collect.
        """
        # During a long snapshot (pg_dump), dead rows pile up at the head of the index. So that not every query reads
        # them, the scan starts at a floor: the oldest ``asked_at`` that the last query without a floor has found. There
        # is no floor if that query found fewer than ``limit`` rows.
        floor, until = self._floors.get((series, every), (None, 0.0))
        use_floor = floor is not None and self._clock() < until
        query = (
            _rows(civil_date(now), _waits_for_no_try(now), _C.series == series, _C.every == every, _C.asked_at < before)
            .order_by(_C.asked_at, _C.account_id)
            .limit(limit)
        )
        rows = self._list(query.where(_C.asked_at >= floor) if use_floor else query)
        if not use_floor and len(rows) == limit:
            self._floors[series, every] = rows[0].asked_at, self._clock() + _FLOOR_LIFE_S
        return rows

    def list_catch_up(
        self, series: Series, yesterday: date, since: datetime | None, before: datetime, now: datetime, limit: int
    ) -> list[DueRow]:
        """Return the rows without a reading of ``yesterday`` that were not requested since ``before``.

        With ``since``, rows that were last requested before ``since`` are left out, because their turn is in another
        night. Rows that lack the most days come first.
        """
        # ``coalesce`` keeps servers from using the index of ``list_nightly`` here and then sorting a million rows.
        asked_at = func.coalesce(_C.asked_at, NEVER)
        lacking = _C.every == 1, _C.last_day < yesterday, asked_at < before, asked_at >= (since or NEVER)
        query = _rows(civil_date(now), _waits_for_no_try(now), _C.series == series, *lacking)
        return self._list(query.order_by(_C.last_day, _C.account_id).limit(limit))

    def list_again(self, now: datetime, limit: int, series: Collection[Series] = tuple(Series)) -> list[DueRow]:
        """Return the rows of these series that are to be tried again now after a failure, the earliest first."""
        due = _C.series.in_(list(series)), _C.again_at.is_not(None), _C.again_at <= now
        return self._list(_rows(civil_date(now), *due).order_by(_C.again_at).limit(limit))

    def list_histories(self, series: Series, now: datetime, limit: int) -> list[DueRow]:
        """Return the rows whose history is to be continued now, the longest waiting first."""
        due = _C.series == series, _C.history_due_at.is_not(None), _C.history_due_at <= now
        return self._list(_rows(civil_date(now), *due).order_by(_C.history_due_at, _C.account_id).limit(limit))

    def list_repairs(self, today: date, limit: int, series: Collection[Series] = tuple(Series)) -> list[DueRow]:
        """Return the rows of these series that have open days due for another request, the earliest first.

        Curves that the supplier doesn't collect are left out, because ``list_nightly`` returns them once a week.
        """
        due = _C.series.in_(list(series)), _C.next_ask.is_not(None), _C.next_ask <= today, _C.every == 1
        return self._list(_rows(today, *due).order_by(_C.next_ask, _C.account_id).limit(limit))

    def load_unchanged(self, rows: Collection[DueRow], today: date) -> dict[tuple[str, Series], SeriesDays]:
        """Return the days of these rows, except rows that were requested since the caller read them.

        A row that may not be requested today is left out, too.
        """
        asked_at = {(row.account_id, row.series): row.asked_at for row in rows}
        columns = _C.account_id, _C.series, _C.asked_at, _C.last_complete, _C.days
        wanted = tuple_(_C.account_id, _C.series).in_(list(asked_at))
        query = select(*columns).where(_ACTIVE, may_be_asked_on(today), wanted)
        stored = self._database.fetch(query)
        return {
            (row.account_id, row.series): SeriesDays(row.last_complete, DayLedger.parse(row.days))
            for row in stored
            if row.asked_at == asked_at[row.account_id, row.series]
        }

    def count_share(self, series: Series, every: int, since: datetime, today: date) -> tuple[int, int]:
        """Return how many rows may be requested today, and how many of these were requested since ``since``."""
        group = _ACTIVE, may_be_asked_on(today), _C.series == series, _C.every == every
        active, asked = (
            self._database.scalar(select(func.count()).where(*group, *more)) for more in ((), (_C.asked_at >= since,))
        )
        return active, asked

    def count_due_tonight(self, series: Series, nights: int, before: datetime, today: date) -> int:
        """Return how many rows are still due in the night that began at ``before``.

        ``nights``: each row has one turn in this many nights.
        """
        due = 0
        for every in (1, NIGHTS_WITHOUT_CURVE):
            of_nights = max(every, nights)
            active, asked = self.count_share(series, every, before, today)
            share = max(0, -(-active // of_nights) - asked)
            if share and of_nights > 1:
                # A row requested tonight or in the ``of_nights - 1`` nights before isn't due; at most the others are.
                active, asked = self.count_share(series, every, before - timedelta(days=of_nights - 1), today)
                share = min(share, active - asked)
            due += share
        return due

    def list_some(self, series: Collection[Series], today: date, limit: int) -> list[DueRow]:
        """Return some rows of these series that may be requested today."""
        return self._list(_rows(today, _C.series.in_(list(series))).limit(limit))

    def _list(self, query: Select[Any]) -> list[DueRow]:
        return [DueRow(*row) for row in self._database.fetch(query)]


def may_be_asked_on(today: date) -> ColumnElement[bool]:
    """Return the SQL condition that the consent includes ``today``, the date in Europe/Paris."""
    return or_(_C.ask_until.is_(None), _C.ask_until >= today)


def _rows(today: date, *conditions: ColumnElement[bool]) -> Select[Any]:
    columns = _C.account_id, _C.series, _C.asked_at
    return select(*columns).where(_ACTIVE, may_be_asked_on(today), and_(*conditions))


def _waits_for_no_try(now: datetime) -> ColumnElement[bool]:
    """Return the SQL condition that leaves out the rows with a retry planned after ``now``: ``list_again`` has them."""
    return or_(_C.again_at.is_(None), _C.again_at <= now)


class PolicyTable(SqlTable):
    """The table of policies; each row is the policy that applies from its first night on."""

    def load_current(self, today: date) -> FleetPolicy:
        """Return the policy in force; without one, the default policy: every account is due every night."""
        begun = [row.policy for row in self.list_all() if row.since <= today]
        return begun[-1] if begun else FleetPolicy()

    def list_all(self) -> list[AppliedPolicy]:
        """Return all chosen policies, the oldest first."""
        rows = self._database.fetch(select(POLICIES).order_by(POLICIES.c.since))
        return [
            AppliedPolicy(
                row.since, FleetPolicy(row.daily_every, row.curve_every), row.applied_at, json.loads(row.arithmetic)
            )
            for row in rows
        ]

    def apply(self, policy: FleetPolicy, since: date, now: datetime, arithmetic: Mapping[str, Any]) -> None:
        """Apply ``policy`` from the night of ``since`` on; policies that begin in that night or later are replaced."""
        row = {
            "since": since,
            "daily_every": policy.daily_every,
            "curve_every": policy.curve_every,
            "applied_at": now,
            "arithmetic": json.dumps(arithmetic),
        }
        with self._database.writing() as connection:
            connection.execute(delete(POLICIES).where(POLICIES.c.since > since))
            connection.execute(build_upsert(connection.dialect.name, POLICIES, row))

    def delete_all(self) -> int:
        """Delete all policies and return their number; every account is then due every night."""
        return self._database.change(delete(POLICIES))
