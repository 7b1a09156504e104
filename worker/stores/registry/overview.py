"""How a whole fleet stands, for its operator: counts in single queries, no account by name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import case, func, select

from worker.domain.consent.accounts import AccountState
from worker.domain.measures.readings import Series
from worker.stores.registry.completeness import CompletenessTable
from worker.stores.registry.corrections import CorrectionTable
from worker.stores.registry.database import Database
from worker.stores.registry.notices import MOST_ATTEMPTS
from worker.stores.registry.tables import ACCOUNTS, NOTICES, QUARANTINE, SERIES_OUTCOMES


@dataclass(frozen=True, slots=True)
class Freshness:
    """Active accounts, and those of them whose day is whole."""

    fresh: int
    active: int

    @property
    def share(self) -> float | None:
        return self.fresh / self.active if self.active else None


@dataclass(frozen=True, slots=True)
class CodeCount:
    """How many accounts' series ended with this code last, and when that was seen for the last time."""

    series: Series
    code: str
    accounts: int
    last_at: datetime


class Overview:
    """Every method raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def freshness(self, series: Series, day: date) -> Freshness:
        """How many of the active accounts have ``day``, or a later one, of the series whole, as their ledgers tell."""
        active, complete = CompletenessTable(self._database).complete_since(series, day)
        return Freshness(complete, active)

    def accounts_by_state(self) -> dict[AccountState, int]:
        """Every state, those without an account too."""
        query = select(ACCOUNTS.c.state, func.count().label("number")).group_by(ACCOUNTS.c.state)
        with self._database.reading() as connection:
            counts = {row.state: row.number for row in connection.execute(query)}
        return {state: counts.get(state.value, 0) for state in AccountState}

    def notices_waiting(self) -> int:
        """Those still to be delivered; what was given up waits no more."""
        waiting = (NOTICES.c.delivered_at.is_(None), NOTICES.c.attempts < MOST_ATTEMPTS)
        with self._database.reading() as connection:
            return connection.execute(select(func.count()).select_from(NOTICES).where(*waiting)).scalar_one()

    def accounts_due(self, today: date) -> dict[Series, int]:
        """Active accounts with open days that the repair is to ask for again."""
        return CompletenessTable(self._database).count_due(today)

    def corrections_since(self, moment: datetime) -> dict[Series, int]:
        """What the supplier changed since."""
        return CorrectionTable(self._database).count_since(moment)

    def surprises_since(self, moment: datetime) -> tuple[int, int]:
        """Those in quarantine that came since for the first time, and those that came again."""
        columns = QUARANTINE.c
        new = func.count(case((columns.first_seen >= moment, 1)))
        query = select(new, func.count()).select_from(QUARANTINE).where(columns.last_seen >= moment)
        with self._database.reading() as connection:
            first, seen = connection.execute(query).one()
        return first, seen - first

    def last_errors(self, limit: int = 20) -> list[CodeCount]:
        """The codes that series stand at, of accounts not removed, the commonest first."""
        columns = SERIES_OUTCOMES.c
        number = func.count().label("number")
        query = (
            select(columns.series, columns.last_code, number, func.max(columns.updated_at).label("last_at"))
            .where(columns.last_code.is_not(None))
            .group_by(columns.series, columns.last_code)
            .order_by(number.desc(), columns.series, columns.last_code)
            .limit(limit)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [CodeCount(Series(row.series), row.last_code, row.number, row.last_at) for row in rows]
