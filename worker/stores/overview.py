"""How a whole fleet stands, for its operator: counts in single queries, no account by name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import func, select

from worker.domain.readings import Series
from worker.stores.completeness import CompletenessBook
from worker.stores.database import Database
from worker.stores.tables import SERIES_OUTCOMES


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
        active, complete = CompletenessBook(self._database).complete_since(series, day)
        return Freshness(complete, active)

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
