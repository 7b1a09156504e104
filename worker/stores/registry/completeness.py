"""The day ledger of each account and series (``series_outcomes.days``), and freshness counts.

The ledgers are in the registry and not in the measure store, because a day's mark must change in the same transaction
as the outcome of its window.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import bindparam, func, or_, select, text

from worker.domain.completeness import COMPARED_SERIES, DayLedger, MissingCurve, find_missing_curve
from worker.domain.series import Series
from worker.stores.database import SqlTable, build_insert
from worker.stores.registry import account_rows, outcomes
from worker.stores.registry.due import may_be_asked_on
from worker.stores.registry.tables import ACTIVE, FRESHNESS, SERIES_OUTCOMES

_C = SERIES_OUTCOMES.c
_ACTIVE = text(ACTIVE)
_DAYS = select(_C.days).where(_C.account_id == bindparam("account_id"), _C.series == bindparam("series"))


class HourFreshness(NamedTuple):
    """Number of active accounts at an hour, and of those with a complete yesterday."""

    hour: datetime
    series: Series
    active: int
    complete: int

    @property
    def share(self) -> float | None:
        """The share of complete accounts, or None if there are no active ones."""
        return self.complete / self.active if self.active else None


class CompletenessTable(SqlTable):
    """The ledgers of days; every method that opens the database raises StoreUnavailable."""

    def replace_if_unchanged(self, account_id: str, series: Series, known: DayLedger, ledger: DayLedger) -> bool:
        """Replace the whole ledger if it is still equal to ``known`` (compare-and-set), and return whether it was.

        Raises UnknownAccount.
        """
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, shared=True)
            row = outcomes.lock_row(connection, account_id, series)
            if row is None or row.days != str(known):
                return False
            columns = outcomes.ledger_columns(connection, account_id, series, ledger)
            outcomes.update_row(connection, account_id, series, columns)
            return True

    def load_ledger(self, account_id: str, series: Series) -> DayLedger:
        """Return the ledger of an account and series; an empty one if there is no row."""
        with self._database.reading() as connection:
            parameters = {"account_id": account_id, "series": series}
            return DayLedger.parse(connection.execute(_DAYS, parameters).scalar() or "")

    def load_ledgers(self, account_ids: Iterable[str]) -> dict[tuple[str, Series], DayLedger]:
        """Return the ledgers of these accounts, by account and series. Missing ones are left out."""
        query = select(_C.account_id, _C.series, _C.days).where(_C.account_id.in_(list(account_ids)))
        return {(row.account_id, row.series): DayLedger.parse(row.days) for row in self._database.fetch(query)}

    def find_missing_curve(self, account_id: str) -> MissingCurve | None:
        """Return since when an account's load curve is missing; None if it is collected or nothing is known."""
        return find_missing_curve(*(self.load_ledger(account_id, series) for series in COMPARED_SERIES))

    def count_due(self, today: date) -> dict[Series, int]:
        """Return the number of accounts with due open days, by series; a series without any is left out.

        Load curves that the supplier does not collect are left out.
        """
        query = (
            select(_C.series, func.count())
            .where(_ACTIVE, may_be_asked_on(today), _C.next_ask.is_not(None), _C.next_ask <= today, _C.every == 1)
            .group_by(_C.series)
        )
        return dict(self._database.fetch(query))

    def count_active(self) -> dict[Series, int]:
        """Return the number of active accounts that each series is asked for; one without any is left out."""
        return dict(self._database.fetch(select(_C.series, func.count()).where(_ACTIVE).group_by(_C.series)))

    def count_complete_since(self, series: Series, day: date) -> tuple[int, int]:
        """Return the number of active accounts, and of those for which ``day`` or a later day is complete.

        For the load curve, accounts that never had a complete day don't count: its collection is not switched on.
        """
        rows = select(func.count()).where(_ACTIVE, _C.series == series)
        # A curve that never came is not collected, unless nobody has asked for it yet.
        collected = or_(_C.last_complete.is_not(None), _C.days == "")
        active = rows.where(collected) if series.description.optional else rows
        complete = rows.where(_C.last_complete >= day)
        with self._database.reading() as connection:
            return connection.execute(active).scalar_one(), connection.execute(complete).scalar_one()

    # The freshness of the fleet, hour by hour.

    def save_freshness(self, freshness: HourFreshness) -> None:
        """Save the counts of an hour, in place of those saved before for the same hour."""
        statement = build_insert(self._database.dialect, FRESHNESS).values(freshness._asdict())
        counts = {name: statement.excluded[name] for name in ("active", "complete")}
        self._database.change(statement.on_conflict_do_update(index_elements=["hour", "series"], set_=counts))

    def list_freshness_since(self, moment: datetime) -> list[HourFreshness]:
        """Return the saved hours from ``moment`` on, the oldest first."""
        query = select(FRESHNESS).where(FRESHNESS.c.hour >= moment).order_by(FRESHNESS.c.hour, FRESHNESS.c.series)
        return [HourFreshness(*row) for row in self._database.fetch(query)]

    def delete_freshness_before(self, moment: datetime) -> int:
        """Delete the hours before ``moment`` and return their number."""
        return self._database.change(FRESHNESS.delete().where(FRESHNESS.c.hour < moment))
