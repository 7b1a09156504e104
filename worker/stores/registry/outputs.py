"""Outputs: their accounts, sealed options and last deliveries, and the outbox of changes that are still to be sent.

The outbox records which part of an account's series has changed. It has one row for each output, account and series, so
its size is limited, however long an output is down. Several changes become one part, from the first changed reading to
the last one. The values are read from the measure store when they are sent. Each removed reading has a row in another
table until the output has deleted the reading, or until the reading is stored again and sent.

Before a window writes readings, it notes in the outbox the part that it is about to change. After its outcome is
recorded, it closes the part. A row isn't sent while a window has noted a part and not closed it. If the window is
killed before it closes the part, the row is sent later (``is_ready``). If it were never sent, the
change could be lost: the readings may be stored already, and then the next window finds no change to note. After a
delivery, a row is deleted only if no window has noted or closed a part in it since the delivery read it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, Final

import sqlalchemy as sa

from worker.domain.account import DEFAULT_TENANT
from worker.domain.clock import Clock
from worker.domain.completeness import civil_day_of
from worker.domain.documents import start_of
from worker.domain.messages import ChangedPart
from worker.domain.retry import OUTPUT_DELAYS
from worker.domain.series import Series, contract_series, daily_of, sources_of
from worker.domain.windows import civil_date, local_midnight
from worker.errors import StoreUnavailable, UnknownOutput
from worker.stores.database import Database, SealedTable, SqlTable, build_insert, new_id, place_of
from worker.stores.encryption import Sealer
from worker.stores.registry import account_rows
from worker.stores.registry.account_details import PRICES
from worker.stores.registry.account_rows import NOT_REMOVED
from worker.stores.registry.api_tokens import require_tenant
from worker.stores.registry.tables import (
    ACCOUNT_DETAILS,
    ACCOUNTS,
    OUTPUT_CHANGES,
    OUTPUT_REMOVALS,
    OUTPUTS,
    SERIES_OUTCOMES,
    TENANTS,
    belongs_to,
)

log = logging.getLogger("releve.outputs")
# A change whose ``first`` is this moment stands for the whole series.
BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)
# A change whose ``last`` is this moment is one of prices, or of what they depend on, until now.
END: Final = datetime(2100, 1, 1, tzinfo=UTC)
_ROW: Final = OUTPUT_CHANGES.c
_GONE: Final = OUTPUT_REMOVALS.c
_SERIES: Final = SERIES_OUTCOMES.c.series
KeptReadings = Collection[tuple[Series, str]]  # Readings that the output keeps, each by its series and key.
_STATES: Final = tuple(series for series in Series if series.is_state)
_CURVES: Final = tuple(series for series in Series if series.has_steps)
_HOURS: Final = contract_series()  # It tells off-peak hours, which change what days cost.
_DAILY: Final = tuple(series for series in Series if series.is_daily_energy)
_MOST_AT_ONCE: Final = 2_000  # Accounts in one statement, whose parameters a database limits.
_MOST_DUE: Final = 500  # The largest number of outputs in one round of deliveries.
# The condition that an output is for an account: either only for this account, or for all accounts of its tenant.
_IS_SENT_TO: Final = sa.or_(
    OUTPUTS.c.account_id == ACCOUNTS.c.id,
    sa.and_(OUTPUTS.c.account_id.is_(None), OUTPUTS.c.tenant == ACCOUNTS.c.tenant),
)
# The query for the outputs of an account; no rows if the account was removed. These statements are built only once,
# because building one costs more than running it.
_OUTPUTS_OF: Final = (
    sa.select(OUTPUTS.c.id)
    .join_from(OUTPUTS, ACCOUNTS, _IS_SENT_TO)
    .where(ACCOUNTS.c.id == sa.bindparam("account_id"), NOT_REMOVED)
    .order_by(OUTPUTS.c.id)
)
_HAS_OWN_PRICES: Final = sa.exists().where(
    ACCOUNT_DETAILS.c.account_id == ACCOUNTS.c.id, ACCOUNT_DETAILS.c.kind == PRICES
)
_HAS_PRICES: Final = _HAS_OWN_PRICES | sa.exists().where(
    TENANTS.c.id == ACCOUNTS.c.tenant, TENANTS.c.prices.is_not(None)
)
# Until the outbox row exists, the lock keeps the account and the output from being removed. A removal locks rows in the
# same order, so the two can't deadlock.
_OUTPUTS_OF_LOCKED: Final = _OUTPUTS_OF.with_for_update(read=True, key_share=True, of=[ACCOUNTS, OUTPUTS])


@dataclass(frozen=True, slots=True)
class WaitingChange:
    """A row of the outbox as a delivery has read it. ``number``: every change of the row gives it a new number.

    ``removed``: the keys of the removed readings between ``first`` and ``last``, sorted.
    """

    output_id: str
    account_id: str
    series: Series
    first: datetime
    last: datetime
    number: int
    since: datetime
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputState:
    """An output, without its sealed options.

    ``account_id``: None if the output is for all accounts of its tenant. ``waiting``: how many accounts have unsent
    changes; the oldest of these changes has waited since ``waiting_since``. ``code`` and ``error`` describe the last
    failure, and are empty after a success. ``failing_since``: when the first of the failures in a row happened.
    """

    id: str
    tenant: str
    account_id: str | None
    kind: str
    created_at: datetime
    last_sent_at: datetime | None
    tries: int
    failing_since: datetime | None
    next_try_at: datetime | None
    code: str
    error: str
    waiting: int
    waiting_since: datetime | None

    def may_try(self, now: datetime) -> bool:
        """Return whether the output's next try is due.

        A next try further ahead than the longest delay counts as due: the clock was set back after it was recorded.
        """
        return self.next_try_at is None or not now < self.next_try_at <= now + OUTPUT_DELAYS[-1]


def is_ready(now: datetime, writer_expiry: timedelta) -> sa.ColumnElement[bool]:
    """Return the SQL condition for outbox rows to which no window is writing.

    A window whose note is older than ``writer_expiry`` counts as killed. So does a window whose note lies further in
    the future than ``writer_expiry``: the note was written before the clock was set back, so its age is unknown.
    """
    is_old = sa.or_(_ROW.noted_at < now - writer_expiry, _ROW.noted_at > now + writer_expiry)
    return sa.or_(_ROW.writers <= 0, is_old)


class OutboxTable(SqlTable):
    """The outbox: the table of unsent changes."""

    def __init__(self, database: Database, now: Clock, writer_expiry: timedelta) -> None:
        """``writer_expiry``: after this time, a window that noted a change and hasn't closed it counts as killed."""
        super().__init__(database)
        self._now, self._writer_expiry = now, writer_expiry

    @contextmanager
    def noting(self, account_id: str, series: Series) -> Iterator[Callable[[ChangedPart], None]]:
        """Yield a function that notes a part before its readings are written; at the end, the noted parts are closed.

        Nothing is noted if the account has no output, or if the series is a state (``Series.is_state``). But a contract
        tells off-peak hours, so it notes all days of an account that has prices. The parts are closed even if the block
        raises an error, because the readings that were written until then stay. If closing fails, the part is sent
        later, as if the window had been killed.
        """
        parts: list[ChangedPart] = []
        noted: set[str] = set()

        def note(part: ChangedPart) -> None:
            if (not series.is_state or series is _HOURS) and part not in parts:
                parts.append(part)
                noted.update(self._upsert(account_id, series, part, noted))

        try:
            yield note
        finally:
            if parts:
                removed = frozenset[str]().union(*(part.removed for part in parts))
                whole = ChangedPart(min(part.first for part in parts), max(part.last for part in parts), removed)
                try:
                    self._upsert(account_id, series, whole, noted, closes=True)
                except StoreUnavailable as error:
                    log.warning("a change is sent later: it could not be closed: %s", error)

    def _upsert(
        self, account_id: str, series: Series, part: ChangedPart, noted: Collection[str], *, closes: bool = False
    ) -> list[str]:
        """Insert or widen the outbox row of each output of the account, and return the ids of these outputs.

        ``noted``: the outputs whose rows already count this window as a writer. If ``closes`` is False, the rows of the
        other outputs count the window from now on. If ``closes`` is True, no row counts the window any more, and a row
        is inserted for an output that was created since the note.
        """
        account, now, outputs, locked = {"account_id": account_id}, self._now(), _OUTPUTS_OF, _OUTPUTS_OF_LOCKED
        if series is _HOURS:
            outputs, locked = outputs.where(_HAS_PRICES), locked.where(_HAS_PRICES)
            series, part = daily_of(), ChangedPart(BEGINNING, END)
        if not noted:
            with self._database.reading() as connection:
                if connection.execute(outputs, account).first() is None:
                    return []
        row = {
            **account,
            "series": series,
            "first_at": part.first,
            "last_at": part.last,
            # From the time, so that a row which is deleted and inserted again gets another number.
            "number": _microseconds(now),
            **dict.fromkeys(("since", "turn_at", "noted_at"), now),
        }
        with self._database.writing() as connection:
            ids = connection.execute(locked, account).scalars().all()
            rows = []
            for output_id in ids:
                joining, leaving = int(not closes and output_id not in noted), int(closes and output_id in noted)
                rows.append({**row, "output_id": output_id, "writers": joining, "joining": joining, "leaving": leaving})
            if rows:
                connection.execute(_upsert_statement(connection.dialect.name, notes=not closes), rows)
            gone = [{**account, "series": series, "output_id": one, "key": key} for one in ids for key in part.removed]
            if gone:
                insert_removals = build_insert(connection.dialect.name, OUTPUT_REMOVALS)
                connection.execute(insert_removals.on_conflict_do_nothing(), gone)
        return [*ids]

    def enqueue_all(
        self, output_id: str, first: datetime = BEGINNING, *, deleted: bool = False, within: sa.Connection | None = None
    ) -> int:
        """Enqueue everything from ``first`` on for an output; return the number of enqueued rows.

        There is one row for each account and series. ``deleted``: True if a person has deleted by hand, from ``first``
        on, what the output couldn't delete; ``days_to_delete`` then no longer lists it. ``within``: an open transaction
        to use.
        """
        now, database = self._now(), self._database.join(within) if within is not None else self._database
        with database.writing() as connection:
            if deleted:
                is_from = _GONE.day >= str(civil_date(first))
                connection.execute(sa.delete(OUTPUT_REMOVALS).where(_GONE.output_id == output_id, is_from))
            # Days computed from a curve may belong to a daily series that has no outcome of its own.
            of_days = ((curve.description.adds_up_to, _SERIES.in_([curve])) for curve in _CURVES)
            known = [(None, _SERIES.not_in(_STATES)), *of_days]
            return _enqueue(connection, first, now, now, known, OUTPUTS.c.id == output_id)

    def enqueue_energy(
        self,
        first: date,
        *,
        accounts: Sequence[str] = (),
        tenant: str | None = None,
        by_default: bool = False,
        kinds: Collection[str] = (),
    ) -> None:
        """Enqueue the daily energy of these or of a tenant's accounts from a day on for all their outputs.

        What it costs and what it is called is sent again with it, so this belongs into the transaction that changes
        prices, hours, colours or names. ``by_default``: only of the accounts that have told no prices of their own.
        ``kinds``: only for outputs of these kinds; empty for all.
        """
        now = self._now()
        begin = local_midnight(min(first, civil_date(now)))  # Outputs also tell the colour of tomorrow.
        known = [(daily, _SERIES.in_(sources_of(daily))) for daily in _DAILY]
        parts = [ACCOUNTS.c.id.in_(accounts[at : at + _MOST_AT_ONCE]) for at in range(0, len(accounts), _MOST_AT_ONCE)]
        further = [*([~_HAS_OWN_PRICES] if by_default else []), *([OUTPUTS.c.kind.in_(kinds)] if kinds else [])]
        with self._database.writing() as connection:
            for part in parts if tenant is None else [ACCOUNTS.c.tenant == tenant]:
                _enqueue(connection, begin, END, now, known, part, *further)

    def next_changes(self, output_id: str) -> list[WaitingChange]:
        """Return an output's unsent changes of the account whose turn it is; empty if nothing waits.

        Rows to which a window is writing at the moment are left out.
        """
        ready = sa.and_(_ROW.output_id == output_id, is_ready(self._now(), self._writer_expiry))
        first = sa.select(_ROW.account_id).where(ready).order_by(_ROW.turn_at, _ROW.account_id).limit(1)
        columns = (_ROW.first_at, _ROW.last_at, _ROW.number, _ROW.since)
        query = sa.select(_ROW.output_id, _ROW.account_id, _ROW.series, *columns)
        of_account = query.where(ready, _ROW.account_id == first.scalar_subquery()).order_by(_ROW.since, _ROW.series)
        return [self._with_removed(WaitingChange(*row)) for row in self._database.fetch(of_account)]

    def _with_removed(self, change: WaitingChange) -> WaitingChange:
        keys = self._database.fetch(sa.select(_GONE.key).where(*_key_of(change, _GONE)).order_by(_GONE.key))
        return replace(change, removed=tuple(key for (key,) in keys if change.first <= start_of(key) <= change.last))

    def delete_sent(self, changes: Sequence[WaitingChange], kept: KeptReadings = ()) -> None:
        """Delete the rows of sent changes. If a window has changed a row meanwhile, the row stays, and is sent again.

        ``kept``: the readings that the output should have deleted but can't delete.
        """
        with self._database.writing() as connection:
            for change in _in_order(changes):
                unchanged = (*_key_of(change), _ROW.number == change.number)
                was_there = connection.execute(sa.delete(OUTPUT_CHANGES).where(*unchanged)).rowcount
                for key in change.removed if was_there else ():
                    stays = sa.update(OUTPUT_REMOVALS).values(day=str(civil_day_of(key, change.series)))
                    known = stays if (change.series, key) in kept else sa.delete(OUTPUT_REMOVALS)
                    connection.execute(known.where(*_key_of(change, _GONE), _GONE.key == key))

    def days_to_delete(self) -> dict[str, dict[str, list[str]]]:
        """Return by output and account the days with removed readings that the output couldn't delete."""
        columns = (_GONE.output_id, _GONE.account_id, _GONE.day)
        query = sa.select(*columns).where(_GONE.day.is_not(None)).distinct().order_by(*columns)
        found: dict[str, dict[str, list[str]]] = {}
        for output_id, account_id, day in self._database.fetch(query):
            found.setdefault(output_id, {}).setdefault(account_id, []).append(day)
        return found

    def put_last(self, changes: Sequence[WaitingChange]) -> None:
        """Move these changes, which could not be sent, behind the changes of other accounts."""
        now = self._now()
        with self._database.writing() as connection:
            for change in _in_order(changes):
                connection.execute(sa.update(OUTPUT_CHANGES).where(*_key_of(change)).values(turn_at=now))


def count_waiting_by_kind(database: Database) -> dict[str, int]:
    """Return how many rows of the outbox wait, by kind of output; a kind for which no row waits has 0."""
    counted = sa.func.count(_ROW.output_id)
    query = sa.select(OUTPUTS.c.kind, counted).select_from(OUTPUTS.outerjoin(OUTPUT_CHANGES)).group_by(OUTPUTS.c.kind)
    return dict(database.fetch(query))


def _enqueue(
    connection: sa.Connection,
    first: datetime,
    last: datetime,
    now: datetime,
    known: Iterable[tuple[Series | None, sa.ColumnElement[bool]]],
    *conditions: sa.ColumnElement[bool],
) -> int:
    """Enqueue everything from ``first`` to ``last``, for outputs and accounts; return the number of enqueued rows.

    ``known``: the series to enqueue for the outcomes that meet a condition; None for their own series.
    """
    # As for ``_OUTPUTS_OF_LOCKED``, so that this and a removal can't deadlock.
    found = sa.select(ACCOUNTS.c.id).join_from(OUTPUTS, ACCOUNTS, _IS_SENT_TO).where(NOT_REMOVED, *conditions)
    in_turn = found.order_by(ACCOUNTS.c.id, OUTPUTS.c.id)
    connection.execute(in_turn.with_for_update(read=True, key_share=True, of=[ACCOUNTS, OUTPUTS]))
    rows = [
        sa.select(
            OUTPUTS.c.id,
            ACCOUNTS.c.id,
            _SERIES if series is None else sa.literal(series, _SERIES.type),
            sa.literal(first, _ROW.first_at.type),
            sa.literal(last, _ROW.last_at.type),
            sa.literal(0),
            sa.literal(_microseconds(now), _ROW.number.type),
            *(sa.literal(now, _ROW.since.type) for _ in range(3)),
        )
        .join_from(SERIES_OUTCOMES, ACCOUNTS, ACCOUNTS.c.id == SERIES_OUTCOMES.c.account_id)
        .join(OUTPUTS, _IS_SENT_TO)
        .where(NOT_REMOVED, is_known, *conditions)
        for series, is_known in known
    ]
    names = ("output_id", "account_id", "series", "first_at", "last_at", "writers", "number", "since")
    in_order = sa.union(*rows).order_by(*(sa.literal_column(str(place)) for place in (1, 2, 3)))
    inserted = build_insert(connection.dialect.name, OUTPUT_CHANGES).from_select(
        [*names, "turn_at", "noted_at"], in_order
    )
    merging = _merging(inserted, _ROW.writers, notes=False).execution_options(preserve_rowcount=True)
    return connection.execute(merging).rowcount


def _microseconds(now: datetime) -> int:
    return int(now.timestamp() * 1_000_000)


def _in_order(changes: Iterable[WaitingChange]) -> list[WaitingChange]:
    """Return the changes of an account in the order in which ``_enqueue`` locks rows, so that none deadlocks."""
    return sorted(changes, key=lambda change: change.series)


def _key_of(change: WaitingChange, of: Any = _ROW) -> tuple[sa.ColumnElement[bool], ...]:
    return (of.output_id == change.output_id, of.account_id == change.account_id, of.series == change.series)


@cache
def _upsert_statement(dialect: str, *, notes: bool) -> Any:
    """Return the statement that inserts an outbox row, or widens the row that exists.

    ``notes``: True for a window that notes a part which it is about to change, False for a window that closes it.
    """
    values = {column.name: sa.bindparam(column.name, type_=column.type) for column in OUTPUT_CHANGES.columns}
    writers = _ROW.writers + sa.bindparam("joining", type_=sa.Integer) - sa.bindparam("leaving", type_=sa.Integer)
    return _merging(build_insert(dialect, OUTPUT_CHANGES).values(**values), writers, notes=notes)


def _merging(statement: Any, writers: sa.ColumnElement[int], *, notes: bool) -> Any:
    """Extend an INSERT: if the row exists, widen it, and set a new ``number`` and these ``writers``."""
    new = statement.excluded
    changes = {
        "first_at": sa.case((new.first_at < _ROW.first_at, new.first_at), else_=_ROW.first_at),
        "last_at": sa.case((new.last_at > _ROW.last_at, new.last_at), else_=_ROW.last_at),
        "writers": sa.case((writers < 0, 0), else_=writers),
        "number": sa.case((new.number > _ROW.number, new.number), else_=_ROW.number + 1),
        "noted_at": new.noted_at if notes else _ROW.noted_at,
    }
    return statement.on_conflict_do_update(index_elements=["output_id", "account_id", "series"], set_=changes)


class OutputTable(SealedTable):
    """The table of outputs.

    For a missing output, ``get``, ``load_options``, ``remove`` and ``record_failure`` raise UnknownOutput.
    """

    def __init__(self, database: Database, sealer: Sealer, writer_expiry: timedelta) -> None:
        """``writer_expiry``: after this time, a window that noted a change and hasn't closed it counts as killed."""
        super().__init__(database, sealer)
        self._writer_expiry = writer_expiry

    def insert(
        self,
        kind: str,
        options: Mapping[str, Any],
        now: datetime,
        *,
        tenant: str = DEFAULT_TENANT,
        account_id: str | None = None,
        at_end: Callable[[sa.Connection, str], object] = lambda connection, output_id: None,
    ) -> str:
        """Insert an output of a tenant or of one account, and return its id.

        ``at_end`` is called with the transaction and the id. Raises UnknownTenant, and UnknownAccount for an account
        that is missing or removed.
        """
        output_id = new_id()
        require_tenant(self._database, tenant)
        row = {"id": output_id, "kind": kind, "tenant": tenant, "account_id": account_id, "created_at": now}
        row["sealed"] = self._sealer.seal(json.dumps(dict(options)), place_of(OUTPUTS.c.sealed, output_id))
        with self._database.writing() as connection:
            if account_id is not None:
                account_rows.lock(connection, account_id, shared=True)
                row["tenant"] = account_rows.get(connection, account_id).tenant
            connection.execute(sa.insert(OUTPUTS).values(**row, tries=0, last_code="", last_error=""))
            at_end(connection, output_id)
        return output_id

    def get(self, output_id: str) -> OutputState:
        row = self._database.first(_states([OUTPUTS.c.id == output_id], [OUTPUT_CHANGES.c.output_id == output_id]))
        if row is None:
            raise _unknown(output_id)
        return OutputState(*row)

    def load_options(self, output_id: str) -> dict[str, Any]:
        """Return the options of an output. Raises OperatorFault if the key that sealed them is missing."""
        sealed = self._database.scalar(sa.select(OUTPUTS.c.sealed).where(OUTPUTS.c.id == output_id))
        if sealed is None:
            raise _unknown(output_id)
        options: dict[str, Any] = json.loads(self._sealer.unseal(sealed, place_of(OUTPUTS.c.sealed, output_id)))
        return options

    def remove(self, output_id: str) -> int:
        """Delete an output with its unsent changes; return the number of accounts that had unsent changes."""
        waiting = self.get(output_id).waiting
        with self._database.writing() as connection:
            # A window that notes a change locks the output before the outbox row. This removal does the same, so that
            # the two can't deadlock.
            connection.execute(sa.select(OUTPUTS.c.id).where(OUTPUTS.c.id == output_id).with_for_update())
            connection.execute(sa.delete(OUTPUT_CHANGES).where(OUTPUT_CHANGES.c.output_id == output_id))
            connection.execute(sa.delete(OUTPUTS).where(OUTPUTS.c.id == output_id))
        return waiting

    def list_due(self, now: datetime) -> list[str]:
        """Return the ids of outputs that have something to send and may be tried now; failing outputs come last."""
        ready = sa.exists().where(OUTPUT_CHANGES.c.output_id == OUTPUTS.c.id, is_ready(now, self._writer_expiry))
        next_try = OUTPUTS.c.next_try_at
        may_try = sa.or_(next_try.is_(None), next_try <= now, next_try > now + OUTPUT_DELAYS[-1])
        order = (OUTPUTS.c.tries > 0, OUTPUTS.c.last_sent_at.nulls_first(), OUTPUTS.c.id)
        query = sa.select(OUTPUTS.c.id).where(may_try, ready).order_by(*order)
        return [row.id for row in self._database.fetch(query.limit(_MOST_DUE))]

    def record_sent(self, output_id: str, now: datetime) -> None:
        """Record a successful delivery, which clears earlier failures."""
        values = {"tries": 0, "failing_since": None, "next_try_at": None, "last_code": "", "last_error": ""}
        self._change(output_id, last_sent_at=now, **values)

    def end_wait(self, output_id: str) -> None:
        """Make the next delivery due now. After a failure, it would otherwise wait."""
        self._change(output_id, next_try_at=None)

    def record_failure(self, output_id: str, code: str, text: str, now: datetime, *, sent: bool) -> OutputState:
        """Record a failed delivery and when the next one may be tried; return the output.

        ``text`` is our own text and contains no secret. ``sent``: whether something was sent before the failure.
        """
        with self._database.writing() as connection:
            is_it = OUTPUTS.c.id == output_id
            row = connection.execute(sa.select(OUTPUTS).where(is_it).with_for_update()).one_or_none()
            if row is not None:
                delay = OUTPUT_DELAYS[0 if sent else min(row.tries, len(OUTPUT_DELAYS) - 1)]
                values = {
                    "tries": 1 if sent else row.tries + 1,
                    "failing_since": row.failing_since or now,
                    "next_try_at": now + delay,
                    "last_code": code,
                    "last_error": text[:200],
                    "last_sent_at": now if sent else row.last_sent_at,
                }
                connection.execute(sa.update(OUTPUTS).where(is_it).values(**values))
        return self.get(output_id)

    def _change(self, output_id: str, **values: Any) -> None:
        self._database.change(sa.update(OUTPUTS).where(OUTPUTS.c.id == output_id).values(**values))

    def list_outputs(self, *, tenant: str | None = None) -> list[OutputState]:
        """Return the outputs of one tenant or of all, the oldest first."""
        return list_outputs(self._database, tenant=tenant)


def list_outputs(database: Database, *, tenant: str | None = None) -> list[OutputState]:
    """Return the outputs of one tenant or of all, the oldest first. No key is needed."""
    return [OutputState(*row) for row in database.fetch(_states(belongs_to(OUTPUTS, tenant)))]


def list_outputs_of(database: Database, account_id: str, tenant: str) -> list[OutputState]:
    """Return the outputs of an account. ``waiting`` and ``waiting_since`` are those of this account alone."""
    of_tenant = sa.and_(OUTPUTS.c.account_id.is_(None), OUTPUTS.c.tenant == tenant)
    states = _states([sa.or_(OUTPUTS.c.account_id == account_id, of_tenant)], [_ROW.account_id == account_id])
    return [OutputState(*row) for row in database.fetch(states)]


def _states(
    conditions: Iterable[sa.ColumnElement[bool]], counted: Iterable[sa.ColumnElement[bool]] = ()
) -> sa.Select[Any]:
    """Return the query for the outputs that meet ``conditions``. ``counted``: conditions on the changes to count."""
    accounts = sa.func.count(sa.distinct(_ROW.account_id)).label("waiting")
    waiting = sa.select(_ROW.output_id, accounts, sa.func.min(_ROW.since).label("since")).where(*counted)
    found = waiting.group_by(_ROW.output_id).subquery()
    of_output = [column for column in OUTPUTS.c if column is not OUTPUTS.c.sealed]  # Ordered as in OutputState.
    query = sa.select(*of_output, sa.func.coalesce(found.c.waiting, 0), found.c.since)
    joined = query.select_from(OUTPUTS.outerjoin(found, found.c.output_id == OUTPUTS.c.id))
    return joined.where(*conditions).order_by(OUTPUTS.c.created_at, OUTPUTS.c.id)


def _unknown(output_id: str) -> UnknownOutput:
    return UnknownOutput(f"no output {output_id}: `releve outputs list` shows the outputs")
