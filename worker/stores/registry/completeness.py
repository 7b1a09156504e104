"""The ledger of days of each account and series, and the fleet's open days in the order they fall due.

It stands in the registry and not with the measures: the repair must find what is due among a million accounts by
one index, and a day's mark must change with the outcome of the window that brought it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, or_, select, tuple_

from worker.domain.consent.accounts import AccountState
from worker.domain.measures.completeness import Ledger, Mark
from worker.domain.measures.holes import IN_A_ROW_AFTER_A_CURVE, MissingCurve, missing_curve
from worker.domain.measures.readings import Series
from worker.stores.registry import account_rows
from worker.stores.registry.database import Database
from worker.stores.registry.outcomes import insert
from worker.stores.registry.tables import ACCOUNTS, COMPLETENESS, FRESHNESS

_C = COMPLETENESS.c
_ONE = select(_C.days).where(_C.account_id == bindparam("wanted"), _C.series == bindparam("of_series"))
_ONE_LOCKED = _ONE.with_for_update()
PAGE = 500


class DueDays(NamedTuple):
    account_id: str
    series: Series
    ledger: Ledger


class HourFreshness(NamedTuple):
    """Active accounts at that hour, and those of them whose yesterday was whole."""

    hour: datetime
    series: Series
    active: int
    complete: int


class CompletenessTable:
    """Every method that opens the database raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, connection: Connection, account_id: str, series: Series, news: Mapping[date, Mark]) -> None:
        """Put these days' marks in place of what was known, inside the caller's transaction; two at once take turns."""
        if not news:
            return
        known = self._text(connection, account_id, series)
        ledger = Ledger.parse(known or "").noting(news)
        if str(ledger) != known:
            self._put(connection, account_id, series, ledger)

    def exchange(self, account_id: str, series: Series, known: Ledger, ledger: Ledger) -> bool:
        """Tell all days anew, unless something was noted since ``known`` was read.  Raises UnknownAccount."""
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, shared=True)
            if (self._text(connection, account_id, series) or "") != str(known):
                return False
            self._put(connection, account_id, series, ledger)
            return True

    def ledger(self, account_id: str, series: Series) -> Ledger:
        """What is known; empty where nothing is."""
        with self._database.reading() as connection:
            named = {"wanted": account_id, "of_series": series.value}
            return Ledger.parse(connection.execute(_ONE, named).scalar() or "")

    def ledgers_of(self, account_ids: Iterable[str]) -> dict[tuple[str, Series], Ledger]:
        """Those that there are of a page of accounts."""
        query = select(COMPLETENESS).where(_C.account_id.in_(list(account_ids)))
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return {(row.account_id, Series(row.series)): Ledger.parse(row.days) for row in rows}

    def missing_curve(self, account_id: str) -> MissingCurve | None:
        """Since when an account's curve isn't collected; None where it is, or nothing tells."""
        return missing_curve(*(self.ledger(account_id, series) for series in Series))

    def curves_off(self, account_ids: Iterable[str], today: date) -> frozenset[str]:
        """Those of a page of accounts whose curve isn't collected: to ask for it each night brings nothing.

        Ledgers are read only of those that had no whole day lately; of a healthy fleet that is nobody.
        """
        doubtful = select(_C.account_id).where(
            _C.account_id.in_(list(account_ids)),
            _C.series == Series.LOAD_CURVE.value,
            or_(_C.last_complete.is_(None), _C.last_complete < today - timedelta(days=IN_A_ROW_AFTER_A_CURVE)),
        )
        with self._database.reading() as connection:
            found = connection.execute(doubtful).scalars().all()
        if not found:
            return frozenset()
        ledgers = self.ledgers_of(found)
        both = {each: [ledgers.get((each, series), Ledger()) for series in Series] for each in found}
        return frozenset(each for each, told in both.items() if missing_curve(*told))

    def due(self, today: date, after: tuple[str, str] | None = None, limit: int = PAGE) -> list[DueDays]:
        """Active accounts with open days to be asked for again, in the order of ids and series, beyond ``after``."""
        query = (
            select(COMPLETENESS)
            .join(ACCOUNTS, ACCOUNTS.c.id == _C.account_id)
            .where(_C.next_ask <= today, ACCOUNTS.c.state == AccountState.READY.value)
            .order_by(_C.account_id, _C.series)
            .limit(limit)
        )
        if after is not None:
            query = query.where(tuple_(_C.account_id, _C.series) > tuple_(*after))
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [DueDays(row.account_id, Series(row.series), Ledger.parse(row.days)) for row in rows]

    def count_due(self, today: date) -> dict[Series, int]:
        """How many accounts ``due`` would give, of each series; not curves of which never a day was whole."""
        query = (
            select(_C.series, func.count().label("number"))
            .join(ACCOUNTS, ACCOUNTS.c.id == _C.account_id)
            .where(_C.next_ask <= today, ACCOUNTS.c.state == AccountState.READY.value)
            .where(or_(_C.series != Series.LOAD_CURVE.value, _C.last_complete.is_not(None)))
            .group_by(_C.series)
        )
        with self._database.reading() as connection:
            counts = {row.series: row.number for row in connection.execute(query)}
        return {series: counts.get(series.value, 0) for series in Series}

    def complete_since(self, series: Series, day: date) -> tuple[int, int]:
        """How many active accounts there are, and how many of them have ``day`` or a later one whole.

        Of the load curve those that never had a whole day don't count: nobody has switched its collection on.
        """
        ready = ACCOUNTS.c.state == AccountState.READY.value
        active = select(func.count()).select_from(ACCOUNTS).where(ready)
        if series is Series.LOAD_CURVE:
            never = select(_C.account_id).where(_C.series == series.value, _C.last_complete.is_(None))
            active = active.where(ACCOUNTS.c.id.not_in(never))
        whole = (
            select(func.count())
            .select_from(ACCOUNTS.join(COMPLETENESS, _C.account_id == ACCOUNTS.c.id))
            .where(ready, _C.series == series.value, _C.last_complete >= day)
        )
        with self._database.reading() as connection:
            return connection.execute(active).scalar_one(), connection.execute(whole).scalar_one()

    # -- the fleet's freshness, hour by hour

    def keep_freshness(self, found: HourFreshness) -> None:
        """Keep an hour's count; the last one told for an hour holds."""
        row = {**found._asdict(), "series": found.series.value}
        statement = insert(self._database.dialect, FRESHNESS).values(row)
        counts = {name: statement.excluded[name] for name in ("active", "complete")}
        with self._database.writing() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["hour", "series"], set_=counts))

    def freshness_since(self, moment: datetime) -> list[HourFreshness]:
        """What was kept from ``moment`` on, oldest first."""
        query = select(FRESHNESS).where(FRESHNESS.c.hour >= moment).order_by(FRESHNESS.c.hour, FRESHNESS.c.series)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [HourFreshness(row.hour, Series(row.series), row.active, row.complete) for row in rows]

    def forget_freshness_before(self, moment: datetime) -> int:
        with self._database.writing() as connection:
            return connection.execute(FRESHNESS.delete().where(FRESHNESS.c.hour < moment)).rowcount

    def _text(self, connection: Connection, account_id: str, series: Series) -> str | None:
        """What stands there, held until the transaction ends; a first row is made to be held."""
        named = {"wanted": account_id, "of_series": series.value}
        text: str | None = connection.execute(_ONE_LOCKED, named).scalar()
        if text is None:
            row = {"account_id": account_id, "series": series.value, "days": ""}
            connection.execute(insert(self._database.dialect, COMPLETENESS).values(row).on_conflict_do_nothing())
            text = connection.execute(_ONE_LOCKED, named).scalar()
        return text

    def _put(self, connection: Connection, account_id: str, series: Series, ledger: Ledger) -> None:
        told = {"days": str(ledger), "next_ask": ledger.next_ask(), "last_complete": ledger.last_complete()}
        row = {"account_id": account_id, "series": series.value, **told}
        statement = insert(self._database.dialect, COMPLETENESS).values(row)
        connection.execute(statement.on_conflict_do_update(index_elements=["account_id", "series"], set_=told))
