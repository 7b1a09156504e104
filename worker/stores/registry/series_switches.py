"""The series that are collected for an account. They depend on its switches, its consent, and the fleet's series.

A row of ``series_outcomes`` stores this in three columns. ``switch``: the choice for the account. ``collected``: true
if the switch is ``on``, or if it is ``fleet`` and the fleet collects the series. ``active``: true if the series is
collected and the account is active. A query for due series reads only ``active``, so its result doesn't depend on a
process's settings. A new account gets rows for the fleet's series. Rows for other series are added by a switch, or by
``follow_fleet`` when the fleet collects more series. A row is deleted only with its account, so that the registry knows
which series have stored readings.

Functions that take a connection work inside their caller's transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import sqlalchemy as sa

from worker.domain.account import OPEN_STATES
from worker.domain.series import USUAL_SERIES, Series, SeriesSwitch, of_supplier, suppliers_of
from worker.errors import SeriesNotOffered
from worker.stores.database import Database, SqlTable, build_insert, note_for_commit
from worker.stores.registry import account_rows
from worker.stores.registry.account_rows import ACCOUNT_QUERY, new_series_row
from worker.stores.registry.tables import ACCOUNTS, ACTIVE, NEVER, NO_DAY, SERIES_OUTCOMES

_C = SERIES_OUTCOMES.c
_PAGE: Final = 2_000  # The number of accounts in one transaction of ``follow_fleet``.
_CHOSEN: Final = (SeriesSwitch.FLEET, SeriesSwitch.ON)


@dataclass(frozen=True, slots=True)
class ChosenSeries:
    """The choice for one series of an account. ``collected``: whether the series is requested."""

    series: Series
    switch: SeriesSwitch
    collected: bool
    asked_at: datetime | None
    last_day: date | None
    code: str | None


class SeriesChoice(SqlTable):
    """The choices for the series of all accounts. ``fleet``: the series that the fleet collects."""

    def __init__(self, database: Database, fleet: Sequence[Series] = USUAL_SERIES) -> None:
        super().__init__(database)
        self.fleet = tuple(fleet)

    def switch(self, account_id: str, series: Series, to: SeriesSwitch, now: datetime) -> None:
        """Set the switch of a series, in its own transaction; see ``switch_series``."""
        with self._database.writing() as connection:
            switch_series(connection, account_id, series, to, self.fleet, now)

    def follow_fleet(self, fleet: Sequence[Series], now: datetime) -> int:
        """Update the rows of all accounts to the fleet's series; return the number of accounts with changed rows.

        Missing rows are inserted. The accounts are updated page by page, each page in its own transaction; the call is
        safe to repeat, also after an interruption. Raises StoreUnavailable.
        """
        pages = _pages(self._database)
        return sum(_follow_page(self._database, first, last, fleet, now) for first, last in pages)

    def list_chosen(self, account_id: str) -> list[ChosenSeries]:
        """Return the choice for every series of the account's supplier, in the order of ``Series``.

        A series without a row follows the fleet.
        """
        supplier = self._database.fetch(sa.select(ACCOUNTS.c.supplier).where(ACCOUNTS.c.id == account_id))
        query = sa.select(SERIES_OUTCOMES).where(_C.account_id == account_id)
        rows = {row.series: row for row in self._database.fetch(query)}
        return [
            ChosenSeries(
                series,
                row.switch,
                row.collected,
                None if row.asked_at == NEVER else row.asked_at,
                None if row.last_day == NO_DAY else row.last_day,
                row.last_code,
            )
            if (row := rows.get(series))
            else ChosenSeries(series, SeriesSwitch.FLEET, False, None, None, None)
            for series in of_supplier(supplier[0].supplier if supplier else "")
        ]

    def collected(self, account_id: str) -> list[Series]:
        """Return the series that are collected for the account, in the order of ``Series``."""
        return self._series_where(_C.account_id == account_id, _C.collected)

    def known(self, account_id: str) -> list[Series]:
        """Return the series that are collected for the account or have readings, in the order of ``Series``."""
        return self._series_where(_C.account_id == account_id, sa.or_(_C.collected, _C.ever_stored))

    def list_in_use(self) -> list[Series]:
        """Return the fleet's series and all series collected for active accounts, in the order of ``Series``."""
        in_use = self._database.find_occurring(_C.series, Series, sa.text(ACTIVE))
        return [series for series in Series if series in in_use or series in self.fleet]

    def _series_where(self, *conditions: sa.ColumnElement[bool]) -> list[Series]:
        chosen = {row.series for row in self._database.fetch(sa.select(_C.series).where(*conditions))}
        return [series for series in Series if series in chosen]


def switch_series(
    connection: sa.Connection,
    account_id: str,
    series: Series,
    to: SeriesSwitch,
    fleet: Collection[Series],
    now: datetime,
) -> None:
    """Set the switch of a series. If this starts its collection, the series and its history are due at once.

    Nothing changes if the switch is already in this position. Raises UnknownAccount.
    """
    account_rows.lock(connection, account_id)
    account = account_rows.get(connection, account_id)
    query = sa.select(_C.switch, _C.collected).where(_C.account_id == account_id, _C.series == series)
    row = connection.execute(query.with_for_update()).one_or_none()
    collected = to is SeriesSwitch.ON or (to is SeriesSwitch.FLEET and series in fleet)
    if row is not None and (row.switch, row.collected) == (to, collected):
        return
    if row is None:
        insert_unasked(connection, account_id, series, now)
    values: dict[str, Any] = {"switch": to, "collected": collected, "active": collected and account.active}
    if collected and (row is None or not row.collected):
        # The old verdict tells why the series ended, or is out of date, so it is cleared.
        values |= {"again_at": now, "failures": 0, "history_due_at": now, "last_code": None, "last_message": ""}
        note_for_commit(connection, [(account_id, series)])
    _update(connection, account_id, series, values)


def insert_unasked(connection: sa.Connection, account_id: str, series: Series, now: datetime) -> None:
    """Insert the row of a series that isn't collected for the account. Raises UnknownAccount."""
    account = account_rows.get(connection, account_id)
    new_row = new_series_row(account_id, series, now, account.consent_until)
    connection.execute(sa.insert(SERIES_OUTCOMES).values(**{**new_row, "collected": False}))


def end_series(connection: sa.Connection, account_id: str, series: Series, message: str, now: datetime) -> None:
    """End a series because the supplier doesn't offer it, or the consent doesn't cover it. Its readings stay."""
    values = {"switch": SeriesSwitch.ENDED, "collected": False, "active": False, "again_at": None, "updated_at": now}
    _update(
        connection, account_id, series, {**values, "last_code": SeriesNotOffered.code, "last_message": message[:500]}
    )


def follow_consent(
    connection: sa.Connection, account_id: str, offered: Collection[Series], fleet: Collection[Series], now: datetime
) -> None:
    """End the series that a consent doesn't cover; restore the switches of the ended series that it covers.

    ``offered``: the series that the consent covers. A series that isn't covered gets an ended row even if it has no row
    yet, because the fleet may collect it later.
    """
    account = account_rows.get(connection, account_id)
    query = sa.select(_C.series, _C.switch, _C.switch_before).where(_C.account_id == account_id)
    rows = {row.series: row for row in connection.execute(query).all()}
    for series in of_supplier(account.supplier):
        row = rows.get(series)
        if row is None and series not in offered:
            insert_unasked(connection, account_id, series, now)
        if series not in offered and (row is None or row.switch in _CHOSEN):
            end_series(connection, account_id, series, "the consent does not cover this series", now)
            before = SeriesSwitch.FLEET if row is None else row.switch
            _update(connection, account_id, series, {"switch_before": before})
        elif row is not None and series in offered and row.switch is SeriesSwitch.ENDED:
            before = row.switch_before or SeriesSwitch.FLEET
            switch_series(connection, account_id, series, before, fleet, now)


def _pages(database: Database) -> Iterator[tuple[str, str]]:
    """Yield the first and the last account id of each page of accounts."""
    last = ""
    while True:
        page = database.fetch(sa.select(ACCOUNTS.c.id).where(ACCOUNTS.c.id > last).order_by(ACCOUNTS.c.id).limit(_PAGE))
        if not page:
            return
        yield page[0].id, page[-1].id
        last = page[-1].id


def _follow_page(database: Database, first: str, last: str, fleet: Sequence[Series], now: datetime) -> int:
    changing = _find_changing(first, last, fleet)
    if not database.fetch(changing.limit(1)):
        return 0
    with database.writing() as connection:
        # The accounts are locked, so that no account is paused between reading its state and writing its rows.
        ids = connection.execute(changing.with_for_update(of=ACCOUNTS)).scalars().all()
        accounts = {row.id: row for row in connection.execute(ACCOUNT_QUERY.where(ACCOUNTS.c.id.in_(ids))).all()}
        of_accounts = _C.account_id.in_(ids)
        rows = connection.execute(sa.select(_C.account_id, _C.series).where(of_accounts)).all()
        known = {(row.account_id, row.series) for row in rows}
        missing = [
            new_series_row(account_id, series, now, account.consent_until) | {"collected": False}
            for account_id, account in accounts.items()
            for series in of_supplier(account.supplier, fleet)
            if (account_id, series) not in known
        ]
        if missing:
            statement = build_insert(database.dialect, SERIES_OUTCOMES).on_conflict_do_nothing()
            connection.execute(statement, missing)
        as_fleet = (of_accounts, _C.switch == SeriesSwitch.FLEET)
        connection.execute(
            sa.update(SERIES_OUTCOMES)
            .where(*as_fleet, _C.series.not_in(fleet), _C.collected)
            .values(collected=False, active=False)
        )
        begins = (*as_fleet, _C.series.in_(fleet), _C.collected.is_(False))
        note_for_commit(connection, connection.execute(sa.select(_C.account_id, _C.series).where(*begins)))
        due = {"collected": True, "again_at": None, "failures": 0, "history_due_at": now}
        active = sa.select(ACCOUNTS.c.id).where(ACCOUNTS.c.id.in_(ids), account_rows.IS_ACTIVE)
        connection.execute(sa.update(SERIES_OUTCOMES).where(*begins).values(active=_C.account_id.in_(active), **due))
        return len(ids)


def _find_changing(first: str, last: str, fleet: Sequence[Series]) -> sa.Select[str]:
    """Return the query of accounts from ``first`` to ``last`` whose rows don't match the fleet's series yet."""
    of_account = _C.account_id == ACCOUNTS.c.id
    differs = sa.and_(_C.switch == SeriesSwitch.FLEET, _C.collected != _C.series.in_(fleet))
    lacks = (
        sa.and_(
            ACCOUNTS.c.supplier.in_(suppliers_of(series)),
            ~sa.select(_C.series).where(of_account, _C.series == series).exists(),
        )
        for series in fleet
    )
    return sa.select(ACCOUNTS.c.id).where(
        ACCOUNTS.c.id.between(first, last),
        ACCOUNTS.c.state.in_(OPEN_STATES),
        sa.or_(sa.select(_C.series).where(of_account, differs).exists(), *lacks),
    )


def _update(connection: sa.Connection, account_id: str, series: Series, values: dict[str, Any]) -> None:
    of_series = (_C.account_id == account_id, _C.series == series)
    connection.execute(sa.update(SERIES_OUTCOMES).where(*of_series).values(**values))
