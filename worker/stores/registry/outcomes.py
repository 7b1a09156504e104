"""What came of each account's series, and when it is due again: the rows of ``series_outcomes``.

Each row is inserted with its account. There are four kinds of columns. The verdict (code, message, run) is that of the
newest run: a late task of an older run doesn't overwrite it. The facts (last success, last stored day, anything ever
stored) only grow, in whatever order the runs report. The marks of days are merged. The times at which the row is due
again (``due.py``) are set by the caller.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final, TypedDict

from sqlalchemy import Connection, Row, bindparam, case, insert, select, update

from worker.domain.measures.completeness import DayLedger, DayMark
from worker.domain.measures.holes import MIN_EMPTY_DAYS_AFTER_CURVE, find_missing_curve
from worker.domain.measures.readings import Series
from worker.stores.registry import consent_rows
from worker.stores.registry.tables import NEVER, NO_DAY, SERIES_OUTCOMES

# A meter number (14 digits), or any long word that may be a token.
_SECRET = re.compile(r"(?<!\d)\d{14}(?!\d)|[\w+/=-]{32,}")
_MAX_MESSAGE_LENGTH = 500
# An account without a load curve is asked for it once a week: when the collection begins, one call returns all of it.
NIGHTS_WITHOUT_CURVE: Final = 7

_C = SERIES_OUTCOMES.c
_ROW = (_C.account_id == bindparam("p_account"), _C.series == bindparam("p_series"))
# Building these statements costs more than running them.
_LOCKED = select(SERIES_OUTCOMES).where(*_ROW).with_for_update()
_DAYS = select(_C.days).where(*_ROW)
_UPDATE = update(SERIES_OUTCOMES).where(*_ROW)


class DueChanges(TypedDict, total=False):
    """Columns that say when a row is due again; those that are not named stay.

    ``history_due_if_loaded``: when a history goes on that was loaded; one that is not keeps its own time.
    """

    asked_at: datetime
    last_answer: str
    again_at: datetime | None
    failures: int
    next_ask: date
    history_due_at: datetime | None
    history_due_if_loaded: datetime


@dataclass(frozen=True, slots=True)
class SeriesOutcome:
    """The last outcome of a series, and when it is due again.

    ``code`` is None after a success, empty where a store of ours failed; ``last_day`` is the last civil day with a
    stored reading. ``asked_at``: end of the last look-back, None before the first; ``answer``: its class.
    ``again_at``: the next try after a failure. ``history_due_at``: when the history goes on; None if it is loaded.
    ``failures``: how many look-backs in a row failed.
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
    asked_at: datetime | None = None
    answer: str | None = None
    again_at: datetime | None = None
    history_due_at: datetime | None = None
    failures: int = 0


def insert_rows(connection: Connection, account_id: str, now: datetime) -> None:
    """Insert the rows of a new account, which were never asked and are not active yet."""
    row = {
        "account_id": account_id,
        "active": False,
        "every": 1,
        "asked_at": NEVER,
        "failures": 0,
        "history_due_at": now,
        "days": "",
        "last_day": NO_DAY,
        "run_id": "",
        "last_message": "",
        "ever_stored": False,
        "updated_at": NEVER,
    }
    connection.execute(insert(SERIES_OUTCOMES), [{**row, "series": series} for series in Series])


def set_active(connection: Connection, account_id: str, now: datetime, *, active: bool) -> None:
    """Let the rows follow the account's state; an account that becomes active is due at once, its history too."""
    due = {"again_at": None, "failures": 0, "history_due_at": now} if active else {}
    connection.execute(update(SERIES_OUTCOMES).where(_C.account_id == account_id).values(active=active, **due))


def make_due(connection: Connection, account_id: str, series: Series, now: datetime) -> None:
    """Let a series be asked again now, whatever it waits for."""
    history_due_at = case((_C.history_due_at.is_not(None), now))
    values = {"again_at": now, "failures": 0, "history_due_at": history_due_at}
    connection.execute(_UPDATE.values(**values), _key(account_id, series))


def set_history_due(connection: Connection, account_id: str, series: Series, at: datetime | None) -> None:
    """Set when the history of a series goes on; None: it is loaded."""
    connection.execute(_UPDATE.values(history_due_at=at), _key(account_id, series))


def record(
    connection: Connection, outcome: SeriesOutcome, marks: Mapping[date, DayMark], due_changes: DueChanges
) -> bool:
    """Merge an outcome and the marks of its days into its row; a success clears the account's pending refusals.

    Return False if the account is not there any more.
    """
    row = _lock(connection, outcome.account_id, outcome.series)
    if row is None:
        return False
    values: dict[str, Any] = {
        "updated_at": max(row.updated_at, outcome.updated_at),
        "last_success_at": _later_of(row.last_success_at, outcome.last_success_at),
        "last_day": max(row.last_day, outcome.last_day or NO_DAY),
        "ever_stored": row.ever_stored or outcome.ever_stored,
    }
    for name, value in due_changes.items():
        if name != "history_due_if_loaded":
            values[name] = value
        elif row.history_due_at is None:
            values["history_due_at"] = value
    # A run may report several times, so an equal run id is newer, too.  A fault of ours (no code) is no verdict.
    if outcome.run_id >= row.run_id and outcome.code != "":
        values |= {
            "run_id": outcome.run_id,
            "last_code": outcome.code,
            "last_message": _to_showable(outcome.message),
        }
    if marks:
        ledger = DayLedger.parse(row.days).with_marks(marks)
        values |= ledger_columns(connection, outcome.account_id, outcome.series, ledger)
    connection.execute(_UPDATE.values(**values), _key(outcome.account_id, outcome.series))
    if outcome.code is None:
        consent_rows.delete_pending_refusals(connection, outcome.account_id)  # They were mistakes of the supplier.
    return True


def replace_ledger_if_unchanged(
    connection: Connection, account_id: str, series: Series, known: DayLedger, ledger: DayLedger
) -> bool:
    """Replace the ledger if the account is there and its ledger still equals ``known``; return whether it did."""
    row = _lock(connection, account_id, series)
    if row is None or row.days != str(known):
        return False
    values = ledger_columns(connection, account_id, series, ledger)
    connection.execute(_UPDATE.values(**values), _key(account_id, series))
    return True


def ledger_columns(connection: Connection, account_id: str, series: Series, ledger: DayLedger) -> dict[str, Any]:
    """Return the columns that follow from a ledger of days."""
    every = 1
    if series is Series.LOAD_CURVE and _may_lack_curve(ledger):
        daily = connection.execute(_DAYS, _key(account_id, Series.DAILY)).scalar()
        if find_missing_curve(DayLedger.parse(daily or ""), ledger) is not None:
            every = NIGHTS_WITHOUT_CURVE
    return {
        "days": str(ledger),
        "next_ask": ledger.next_ask(),
        "last_complete": ledger.last_complete(),
        "every": every,
    }


def to_outcome(row: Row[Any]) -> SeriesOutcome:
    """Convert a row of ``series_outcomes``."""
    return SeriesOutcome(
        account_id=row.account_id,
        series=row.series,
        run_id=row.run_id,
        code=row.last_code,
        message=row.last_message,
        last_success_at=row.last_success_at,
        last_day=None if row.last_day == NO_DAY else row.last_day,
        ever_stored=row.ever_stored,
        updated_at=row.updated_at,
        asked_at=None if row.asked_at == NEVER else row.asked_at,
        answer=row.last_answer,
        again_at=row.again_at,
        history_due_at=row.history_due_at,
        failures=row.failures,
    )


def _lock(connection: Connection, account_id: str, series: Series) -> Row[Any] | None:
    """Return the row and lock it until the transaction ends; None for an account that is not there any more."""
    return connection.execute(_LOCKED, _key(account_id, series)).one_or_none()


def _key(account_id: str, series: Series) -> dict[str, str]:
    return {"p_account": account_id, "p_series": series}


def _may_lack_curve(ledger: DayLedger) -> bool:
    """Return whether the newest days have no curve, so that the daily values are worth a look."""
    newest = max((day for day, _ in ledger.days()), default=None)
    last = ledger.last_complete()
    return newest is not None and (last is None or last < newest - timedelta(days=MIN_EMPTY_DAYS_AFTER_CURVE - 1))


def _later_of(old: datetime | None, new: datetime | None) -> datetime | None:
    """Return the later of two moments; a missing one counts as the earlier."""
    return max((moment for moment in (old, new) if moment is not None), default=None)


def _to_showable(message: str) -> str:
    """Return the message as one printable line without anything that looks like a secret.

    A message may come from a supplier, and it is shown to people.
    """
    printable = "".join(character if character.isprintable() else " " for character in message)
    return _SECRET.sub("…", " ".join(printable.split()))[:_MAX_MESSAGE_LENGTH]
