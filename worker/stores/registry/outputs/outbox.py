"""The outbox: which part of which series of an account has changed and is still to be sent to which output.

There is one row for each output, account and series, so that the outbox is bounded, however long an output is away:
several changes become one part, from the first reading that changed to the last one. What is sent is read from the
measure store when it is sent.

A window notes its part before it writes and closes it after its outcome. Between the two nothing of the row counts as
sent, so that a window that is killed in between loses nothing, although the next one finds nothing to change. After a
delivery a row is deleted only if no window has noted or closed anything since it was read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    update,
)

from worker.domain.clock import Clock
from worker.domain.messages import ChangedPart
from worker.domain.series import Series
from worker.errors import StoreUnavailable
from worker.stores.database import Database, SqlTable, build_insert
from worker.stores.registry.account_rows import NOT_REMOVED
from worker.stores.registry.tables import ACCOUNTS, OUTPUT_CHANGES, OUTPUTS, SERIES_OUTCOMES

log = logging.getLogger("releve.outputs")
# The beginning of a series of which everything is to be sent.
BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)
_ROW: Final = OUTPUT_CHANGES.c
_STATES: Final = tuple(series for series in Series if series.is_state)


@dataclass(frozen=True, slots=True)
class WaitingChange:
    """A row of the outbox as the delivery reads it; ``number`` tells whether it has changed since."""

    output_id: str
    account_id: str
    series: Series
    first: datetime
    last: datetime
    number: int
    since: datetime


def is_ready(now: datetime, writer_expiry: timedelta) -> ColumnElement[bool]:
    """Return the condition of the rows that no window is writing; one whose note is older was killed.

    A note of the future was written before the clock was set back, so nothing tells how old it is.
    """
    is_old = or_(_ROW.noted_at < now - writer_expiry, _ROW.noted_at > now + writer_expiry)
    return or_(_ROW.writers <= 0, is_old)


class OutboxTable(SqlTable):
    """The table of what is still to be sent; every method raises StoreUnavailable unless it says otherwise."""

    def __init__(self, database: Database, now: Clock, writer_expiry: timedelta) -> None:
        """``writer_expiry``: after this long a window that noted a change and never closed it counts as killed."""
        super().__init__(database)
        self._now, self._writer_expiry = now, writer_expiry

    @contextmanager
    def noting(self, account_id: str, series: Series) -> Iterator[Callable[[ChangedPart], None]]:
        """Give a function that notes a part which is about to be written; what was noted is closed at the end.

        Nothing is written where the account has no output, or the series tells states. An error of the block closes
        too, for what was written until then stays. Where the closing fails, the part is sent later, as after a kill.
        """
        parts: list[ChangedPart] = []
        noted: set[str] = set()

        def note(part: ChangedPart) -> None:
            if not series.is_state and part not in parts:
                parts.append(part)
                noted.update(self._upsert(account_id, series, part, noted))

        try:
            yield note
        finally:
            if parts:
                whole = ChangedPart(min(part.first for part in parts), max(part.last for part in parts))
                try:
                    self._upsert(account_id, series, whole, noted, closes=True)
                except StoreUnavailable as error:
                    log.warning("a change is sent later: it could not be closed: %s", error)

    def _upsert(
        self,
        account_id: str,
        series: Series,
        part: ChangedPart,
        noted: Collection[str],
        *,
        closes: bool = False,
    ) -> list[str]:
        """Insert or widen the row of each output of the account, and return the ids of these outputs.

        ``noted``: the outputs whose rows count this writer already. The others count it from now on; when it ``closes``
        none does any more, and an output that was made since the note gets its row.
        """
        account = {"account_id": account_id}
        if not noted:
            with self._database.reading() as connection:
                if connection.execute(_OUTPUTS_OF, account).first() is None:
                    return []
        now = self._now()
        row = {
            **account,
            "series": series,
            "first_at": part.first,
            "last_at": part.last,
            # No row that was deleted meanwhile has had this number.
            "number": _microseconds(now),
            **dict.fromkeys(("since", "turn_at", "noted_at"), now),
        }
        with self._database.writing() as connection:
            ids = connection.execute(_OUTPUTS_OF_LOCKED, account).scalars().all()
            rows = []
            for output_id in ids:
                joining, leaving = int(not closes and output_id not in noted), int(closes and output_id in noted)
                rows.append({**row, "output_id": output_id, "writers": joining, "joining": joining, "leaving": leaving})
            if rows:
                connection.execute(_upsert_statement(connection.dialect.name, notes=not closes), rows)
        return [*ids]

    def enqueue_all(self, output_id: str, first: datetime = BEGINNING, *, within: Connection | None = None) -> int:
        """Let everything from ``first`` on be sent to an output, and return the number of its accounts' series.

        ``within``: an open transaction to do it in.
        """
        now, database = self._now(), self._database.join(within) if within is not None else self._database
        with database.writing() as connection:
            columns = (
                literal(output_id).label("output_id"),
                SERIES_OUTCOMES.c.account_id,
                SERIES_OUTCOMES.c.series,
                literal(first, _ROW.first_at.type),
                literal(now, _ROW.last_at.type),
                literal(0),
                literal(_microseconds(now), _ROW.number.type),
                *(literal(now, _ROW.since.type) for _ in range(3)),
            )
            rows = (
                select(*columns)
                .join_from(SERIES_OUTCOMES, ACCOUNTS, ACCOUNTS.c.id == SERIES_OUTCOMES.c.account_id)
                .join(OUTPUTS, OUTPUTS.c.id == output_id)
                .where(NOT_REMOVED, _is_sent_to, SERIES_OUTCOMES.c.series.not_in(_STATES))
            )
            names = ("output_id", "account_id", "series", "first_at", "last_at", "writers", "number", "since")
            insert = build_insert(connection.dialect.name, OUTPUT_CHANGES)
            inserted = insert.from_select([*names, "turn_at", "noted_at"], rows)
            merging = _merging(inserted, _ROW.writers, notes=False).execution_options(preserve_rowcount=True)
            return connection.execute(merging).rowcount

    def next_changes(self, output_id: str) -> list[WaitingChange]:
        """Return what is to be sent next: all that waits of one account, whose turn it is; empty where nothing waits.

        What a window is writing at this moment is left out.
        """
        ready = and_(_ROW.output_id == output_id, is_ready(self._now(), self._writer_expiry))
        first = select(_ROW.account_id).where(ready).order_by(_ROW.turn_at, _ROW.account_id).limit(1)
        columns = (_ROW.first_at, _ROW.last_at, _ROW.number, _ROW.since)
        query = select(_ROW.output_id, _ROW.account_id, _ROW.series, *columns)
        of_account = query.where(ready, _ROW.account_id == first.scalar_subquery()).order_by(_ROW.since, _ROW.series)
        return [WaitingChange(*row) for row in self._database.fetch(of_account)]

    def delete_sent(self, changes: Sequence[WaitingChange]) -> None:
        """Delete what was sent; a row that was noted or closed in the meantime stays, and is sent again."""
        with self._database.writing() as connection:
            for change in changes:
                unchanged = (*_key_of(change), _ROW.number == change.number)
                connection.execute(delete(OUTPUT_CHANGES).where(*unchanged))

    def put_last(self, changes: Sequence[WaitingChange]) -> None:
        """Let the other accounts come first at the next delivery: these could not be sent."""
        now = self._now()
        with self._database.writing() as connection:
            for change in changes:
                connection.execute(update(OUTPUT_CHANGES).where(*_key_of(change)).values(turn_at=now))


def count_waiting_by_kind(database: Database) -> dict[str, int]:
    """Return the number of rows that wait, by the kind of their output; 0 where nothing does."""
    counted = func.count(_ROW.output_id)
    query = select(OUTPUTS.c.kind, counted).select_from(OUTPUTS.outerjoin(OUTPUT_CHANGES)).group_by(OUTPUTS.c.kind)
    return dict(database.fetch(query))


def _microseconds(now: datetime) -> int:
    return int(now.timestamp() * 1_000_000)


def _key_of(change: WaitingChange) -> tuple[ColumnElement[bool], ...]:
    return (
        _ROW.output_id == change.output_id,
        _ROW.account_id == change.account_id,
        _ROW.series == change.series,
    )


# Whether an output is for an account: it is of this one, or of all of the account's tenant.
_is_sent_to: Final = or_(
    OUTPUTS.c.account_id == ACCOUNTS.c.id,
    and_(OUTPUTS.c.account_id.is_(None), OUTPUTS.c.tenant == ACCOUNTS.c.tenant),
)

# The outputs that an account is sent to; none of one that was removed. A window runs these statements, and building one
# costs more than running it, so each is built once.
_OUTPUTS_OF: Final = (
    select(OUTPUTS.c.id)
    .join_from(OUTPUTS, ACCOUNTS, _is_sent_to)
    .where(ACCOUNTS.c.id == bindparam("account_id"), NOT_REMOVED)
    .order_by(OUTPUTS.c.id)
)
# The lock keeps account and output from being removed before the row is there. It takes them in the order of a removal.
_OUTPUTS_OF_LOCKED: Final = _OUTPUTS_OF.with_for_update(read=True, key_share=True, of=[ACCOUNTS, OUTPUTS])


@cache
def _upsert_statement(dialect: str, *, notes: bool) -> Any:
    """Return the statement that inserts or widens a row, when a window notes its part or else when it closes it."""
    insert = build_insert(dialect, OUTPUT_CHANGES)
    values = {column.name: bindparam(column.name, type_=column.type) for column in OUTPUT_CHANGES.columns}
    writers = _ROW.writers + bindparam("joining", type_=Integer) - bindparam("leaving", type_=Integer)
    return _merging(insert.values(**values), writers, notes=notes)


def _merging(insert: Any, writers: ColumnElement[int], *, notes: bool) -> Any:
    """Return the INSERT that widens a row which is there, and gives it another number and so many ``writers``."""
    new = insert.excluded
    changes = {
        "first_at": case((new.first_at < _ROW.first_at, new.first_at), else_=_ROW.first_at),
        "last_at": case((new.last_at > _ROW.last_at, new.last_at), else_=_ROW.last_at),
        "writers": case((writers < 0, 0), else_=writers),
        "number": case((new.number > _ROW.number, new.number), else_=_ROW.number + 1),
        "noted_at": new.noted_at if notes else _ROW.noted_at,
    }
    return insert.on_conflict_do_update(index_elements=["output_id", "account_id", "series"], set_=changes)
