"""The last outcome of each account and series, for ``status`` and the scheduler.

There are two kinds of columns. The verdict (code, message, run) is that of the newest run: a late task of an older run
doesn't overwrite it. The facts (last success, last stored day, anything ever stored) only grow, in whatever order the
runs report: a day that an old backfill stores is stored all the same.
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

# A meter number (14 digits), or any long word that may be a token.
_SECRET = re.compile(r"(?<!\d)\d{14}(?!\d)|[\w+/=-]{32,}")
_MAX_MESSAGE_LENGTH = 500


@dataclass(frozen=True, slots=True)
class SeriesOutcome:
    """The last outcome of a series.

    ``code`` is None after a success; ``last_day`` is the last civil day with a stored reading.
    """

    account_id: str
    series: Series
    run_id: str
    code: str | None
    message: str
    last_success_at: datetime | None
    last_day: date | None
    ever_stored: bool
    updated_at: datetime


def build_insert(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT statement with ``on_conflict_do_update``, which SQLite and PostgreSQL both have."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


@cache  # Building the statement costs more than running it.
def build_outcome_upsert(dialect: str) -> sqlite.Insert | postgresql.Insert:
    """Return one statement that merges an outcome (``to_row``) into its row.

    It compares the old and the new values inside the database, so two outcomes at the same time are merged correctly.
    """
    statement = build_insert(dialect, SERIES_OUTCOMES)
    old, new = SERIES_OUTCOMES.c, statement.excluded
    # A run may report several times, so an equal run id is newer, too.
    is_newer = new.run_id >= old.run_id
    last_run = {name: case((is_newer, new[name]), else_=old[name]) for name in ("run_id", "last_code", "last_message")}
    facts = {name: _later_of(old[name], new[name]) for name in ("last_success_at", "last_day", "updated_at")}
    return statement.on_conflict_do_update(
        index_elements=["account_id", "series"],
        set_={**last_run, **facts, "ever_stored": or_(old.ever_stored, new.ever_stored)},
    )


def to_row(outcome: SeriesOutcome) -> dict[str, Any]:
    """Return the outcome as column names and values."""
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
    """Convert a row of ``series_outcomes``."""
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


def _later_of(old: ColumnElement[Any], new: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the later of two values; a missing one counts as the earlier."""
    return case((new.is_(None), old), (old > new, old), else_=new)


def _to_showable(message: str) -> str:
    """Return the message as one printable line without anything that looks like a secret.

    A message may come from a supplier, and it is shown to people.
    """
    printable = "".join(character if character.isprintable() else " " for character in message)
    return _SECRET.sub("…", " ".join(printable.split()))[:_MAX_MESSAGE_LENGTH]
