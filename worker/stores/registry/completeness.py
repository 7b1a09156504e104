"""The completeness table: the day ledger of each account and series, open days that are due, and freshness counts.

The ledgers are in the registry and not in the measure store for two reasons: the repair needs one index to find the
due days of a million accounts, and a day's mark must change in the same transaction as the outcome of its window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, or_, select, tuple_

from worker.domain.consent.accounts import AccountState
from worker.domain.measures.completeness import DayLedger, DayMark
from worker.domain.measures.holes import COMPARED_SERIES, MIN_EMPTY_DAYS_AFTER_CURVE, MissingCurve, find_missing_curve
from worker.domain.measures.readings import Series
from worker.stores.registry import account_rows
from worker.stores.registry.database import Database
from worker.stores.registry.outcomes import build_insert
from worker.stores.registry.tables import ACCOUNTS, COMPLETENESS, FRESHNESS

_C = COMPLETENESS.c
_DAYS = select(_C.days).where(_C.account_id == bindparam("account_id"), _C.series == bindparam("series"))
_DAYS_LOCKED = _DAYS.with_for_update()
PAGE = 500


class DueDays(NamedTuple):
    """The ledger of an account and series with at least one open day that is due."""

    account_id: str
    series: Series
    ledger: DayLedger


class HourFreshness(NamedTuple):
    """Number of active accounts at an hour, and of those with a complete yesterday."""

    hour: datetime
    series: Series
    active: int
    complete: int


class CompletenessTable:
    """The table of day ledgers; every method that opens the database raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def merge_marks(
        self, connection: Connection, account_id: str, series: Series, marks: Mapping[date, DayMark]
    ) -> None:
        """Replace the marks of these days inside the caller's transaction.

        The row is locked first, so concurrent calls for the same ledger wait for each other and none is lost.
        """
        if not marks:
            return
        text = self._lock_days(connection, account_id, series)
        ledger = DayLedger.parse(text or "").with_marks(marks)
        if str(ledger) != text:
            self._upsert(connection, account_id, series, ledger)

    def replace_if_unchanged(self, account_id: str, series: Series, known: DayLedger, ledger: DayLedger) -> bool:
        """Replace the whole ledger if it is still equal to ``known`` (compare-and-set), and return whether it was.

        Raises UnknownAccount.
        """
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, shared=True)
            if (self._lock_days(connection, account_id, series) or "") != str(known):
                return False
            self._upsert(connection, account_id, series, ledger)
            return True

    def load_ledger(self, account_id: str, series: Series) -> DayLedger:
        """Return the ledger of an account and series; an empty one if there is no row."""
        with self._database.reading() as connection:
            parameters = {"account_id": account_id, "series": series.value}
            return DayLedger.parse(connection.execute(_DAYS, parameters).scalar() or "")

    def load_ledgers(self, account_ids: Iterable[str]) -> dict[tuple[str, Series], DayLedger]:
        """Return the ledgers of these accounts, by account and series. Missing ones are left out."""
        query = select(COMPLETENESS).where(_C.account_id.in_(list(account_ids)))
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return {(row.account_id, Series(row.series)): DayLedger.parse(row.days) for row in rows}

    def find_missing_curve(self, account_id: str) -> MissingCurve | None:
        """Return since when an account's load curve is missing; None if it is collected or nothing is known."""
        return find_missing_curve(*(self.load_ledger(account_id, series) for series in COMPARED_SERIES))

    def find_accounts_without_curve(self, account_ids: Iterable[str], today: date) -> frozenset[str]:
        """Return those of the accounts whose load curve is not collected, so that nobody requests it every night.

        Only accounts without a recent complete day have their ledgers read. In a healthy fleet these are none.
        """
        candidates = select(_C.account_id).where(
            _C.account_id.in_(list(account_ids)),
            _C.series == Series.LOAD_CURVE.value,
            or_(_C.last_complete.is_(None), _C.last_complete < today - timedelta(days=MIN_EMPTY_DAYS_AFTER_CURVE)),
        )
        with self._database.reading() as connection:
            candidate_ids = connection.execute(candidates).scalars().all()
        if not candidate_ids:
            return frozenset()
        ledgers = self.load_ledgers(candidate_ids)

        def has_no_curve(account_id: str) -> bool:
            both_series = (ledgers.get((account_id, series), DayLedger()) for series in COMPARED_SERIES)
            return find_missing_curve(*both_series) is not None

        return frozenset(filter(has_no_curve, candidate_ids))

    def list_due(self, today: date, after: tuple[str, str] | None = None, limit: int = PAGE) -> list[DueDays]:
        """Return the next page of active accounts with due open days, by (account id, series) > ``after``."""
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
        return [DueDays(row.account_id, Series(row.series), DayLedger.parse(row.days)) for row in rows]

    def count_due(self, today: date) -> dict[Series, int]:
        """Return the number of accounts with due open days, by series.

        Load curves that never had a complete day are left out.
        """
        optional = [series.value for series in Series if series.description.optional]
        query = (
            select(_C.series, func.count().label("number"))
            .join(ACCOUNTS, ACCOUNTS.c.id == _C.account_id)
            .where(_C.next_ask <= today, ACCOUNTS.c.state == AccountState.READY.value)
            .where(or_(_C.series.not_in(optional), _C.last_complete.is_not(None)))
            .group_by(_C.series)
        )
        with self._database.reading() as connection:
            counts = {row.series: row.number for row in connection.execute(query)}
        return {series: counts.get(series.value, 0) for series in Series}

    def count_complete_since(self, series: Series, day: date) -> tuple[int, int]:
        """Return the number of active accounts, and of those for which ``day`` or a later day is complete.

        For the load curve, accounts that never had a complete day don't count: its collection is not switched on.
        """
        ready = ACCOUNTS.c.state == AccountState.READY.value
        active = select(func.count()).select_from(ACCOUNTS).where(ready)
        if series.description.optional:
            never = select(_C.account_id).where(_C.series == series.value, _C.last_complete.is_(None))
            active = active.where(ACCOUNTS.c.id.not_in(never))
        complete = (
            select(func.count())
            .select_from(ACCOUNTS.join(COMPLETENESS, _C.account_id == ACCOUNTS.c.id))
            .where(ready, _C.series == series.value, _C.last_complete >= day)
        )
        with self._database.reading() as connection:
            return connection.execute(active).scalar_one(), connection.execute(complete).scalar_one()

    # The freshness of the fleet, hour by hour.

    def save_freshness(self, freshness: HourFreshness) -> None:
        """Save the counts of an hour, in place of those saved before for the same hour."""
        row = {**freshness._asdict(), "series": freshness.series.value}
        statement = build_insert(self._database.dialect, FRESHNESS).values(row)
        counts = {name: statement.excluded[name] for name in ("active", "complete")}
        with self._database.writing() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["hour", "series"], set_=counts))

    def list_freshness_since(self, moment: datetime) -> list[HourFreshness]:
        """Return the saved hours from ``moment`` on, the oldest first."""
        query = select(FRESHNESS).where(FRESHNESS.c.hour >= moment).order_by(FRESHNESS.c.hour, FRESHNESS.c.series)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [HourFreshness(row.hour, Series(row.series), row.active, row.complete) for row in rows]

    def delete_freshness_before(self, moment: datetime) -> int:
        """Delete the hours before ``moment`` and return their number."""
        with self._database.writing() as connection:
            return connection.execute(FRESHNESS.delete().where(FRESHNESS.c.hour < moment)).rowcount

    def _lock_days(self, connection: Connection, account_id: str, series: Series) -> str | None:
        """Lock the ledger's row until the transaction ends, and return its text."""
        parameters = {"account_id": account_id, "series": series.value}
        text: str | None = connection.execute(_DAYS_LOCKED, parameters).scalar()
        if text is None:
            # A row that doesn't exist can't be locked, so an empty one is inserted first.
            row = {"account_id": account_id, "series": series.value, "days": ""}
            connection.execute(build_insert(self._database.dialect, COMPLETENESS).values(row).on_conflict_do_nothing())
            text = connection.execute(_DAYS_LOCKED, parameters).scalar()
        return text

    def _upsert(self, connection: Connection, account_id: str, series: Series, ledger: DayLedger) -> None:
        columns = {"days": str(ledger), "next_ask": ledger.next_ask(), "last_complete": ledger.last_complete()}
        row = {"account_id": account_id, "series": series.value, **columns}
        statement = build_insert(self._database.dialect, COMPLETENESS).values(row)
        connection.execute(statement.on_conflict_do_update(index_elements=["account_id", "series"], set_=columns))
