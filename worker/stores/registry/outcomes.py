"""What the last run of a series came to: kept per account and series, for ``status`` and the scheduler.

Two kinds of columns.  The *verdict* (code, message, run) is the newest run's: a late task of an older run
doesn't overwrite it.  The *facts* (last success, last stored day, anything ever stored) only grow, whichever
run brings them: an old backfill's stored day is stored all the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, case, or_
from sqlalchemy.dialects import postgresql, sqlite

from worker.domain.measures.readings import Series
from worker.stores.registry.tables import SERIES_OUTCOMES

_NOT_FOR_SHOW = re.compile(r"(?<!\d)\d{14}(?!\d)|[\w+/=-]{32,}")  # a meter number, or what may be a token
_LONGEST_MESSAGE = 500


@dataclass(frozen=True, slots=True)
class SeriesOutcome:
    """``code`` is None after a success; ``last_day`` is the last civil day that has a stored reading."""

    account_id: str
    series: Series
    run_id: str
    code: str | None
    message: str
    last_success_at: datetime | None
    last_day: date | None
    ever_stored: bool
    updated_at: datetime


def insert(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ``on_conflict_do_update``; both databases have the clause."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


@cache  # to build it costs more than to run it
def merging(dialect: str) -> sqlite.Insert | postgresql.Insert:
    """One statement that merges an outcome (``to_row``) into what is stored, right also when two arrive at once."""
    statement = insert(dialect, SERIES_OUTCOMES)
    old, new = SERIES_OUTCOMES.c, statement.excluded
    newer = new.run_id >= old.run_id
    verdict = {name: case((newer, new[name]), else_=old[name]) for name in ("run_id", "last_code", "last_message")}
    facts = {name: _later(old[name], new[name]) for name in ("last_success_at", "last_day", "updated_at")}
    return statement.on_conflict_do_update(
        index_elements=["account_id", "series"],
        set_={**verdict, **facts, "ever_stored": or_(old.ever_stored, new.ever_stored)},
    )


def to_row(outcome: SeriesOutcome) -> dict[str, Any]:
    """The outcome by the names of the columns."""
    return {
        "account_id": outcome.account_id,
        "series": outcome.series.value,
        "run_id": outcome.run_id,
        "last_code": outcome.code or None,
        "last_message": _to_showable(outcome.message),
        "last_success_at": outcome.last_success_at,
        "last_day": outcome.last_day,
        "ever_stored": outcome.ever_stored,
        "updated_at": outcome.updated_at,
    }


def to_outcome(row: Row[Any]) -> SeriesOutcome:
    """The outcome in a row of SERIES_OUTCOMES."""
    return SeriesOutcome(
        account_id=row.account_id,
        series=Series(row.series),
        run_id=row.run_id,
        code=row.last_code,
        message=row.last_message,
        last_success_at=row.last_success_at,
        last_day=row.last_day,
        ever_stored=row.ever_stored,
        updated_at=row.updated_at,
    )


def _later(old: ColumnElement[Any], new: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((new.is_(None), old), (old > new, old), else_=new)


def _to_showable(message: str) -> str:
    """One printable line without what looks like a secret: texts come from suppliers too, and this one is shown."""
    printable = "".join(letter if letter.isprintable() else " " for letter in message)
    return _NOT_FOR_SHOW.sub("…", " ".join(printable.split()))[:_LONGEST_MESSAGE]
