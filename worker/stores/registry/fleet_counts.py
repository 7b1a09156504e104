"""Counts over the whole fleet, for the operator's page and the metrics."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import case, distinct, func, null, or_, select, text

from worker.domain.account import IN_USE_STATES, AccountState
from worker.domain.series import Series, SeriesSwitch
from worker.errors import CLASS_BY_CODE
from worker.stores.database import SqlTable
from worker.stores.registry.account_rows import IS_ACTIVE, NOT_REMOVED
from worker.stores.registry.notices import MAX_ATTEMPTS
from worker.stores.registry.tables import ACCOUNTS, HAS_REASON, NOTICES, QUARANTINE, SERIES_OUTCOMES

_REASON: Final = ACCOUNTS.c.reason
_MOST_ERRORS: Final = 20  # The largest number of error codes on the operator's page.


@dataclass(frozen=True, slots=True)
class CodeCount:
    """The number of accounts with a series whose last run ended with this code. ``last_at``: as in ``ErrorCount``."""

    series: Series
    code: str
    accounts: int
    last_at: datetime


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """The number of accounts whose ``reason`` is this code, or that have a series whose last run ended with it.

    ``last_at``: when the row of such a series was last updated; None if no series has the code.
    """

    code: str
    accounts: int
    last_at: datetime | None


class Overview(SqlTable):
    def count_accounts_by_state(self) -> dict[AccountState, int]:
        """Return the number of accounts in each state, including states without accounts."""
        query = select(ACCOUNTS.c.state, func.count()).group_by(ACCOUNTS.c.state)
        return dict.fromkeys(AccountState, 0) | dict(self._database.fetch(query))

    def count_active_accounts(self, supplier: str, today: date) -> int:
        """Return how many active accounts of a supplier have a consent that includes ``today`` (in Europe/Paris)."""
        until = ACCOUNTS.c.consent_until
        query = select(func.count()).select_from(ACCOUNTS)
        of_supplier = ACCOUNTS.c.supplier == supplier, or_(until.is_(None), until >= today)
        return int(self._database.scalar(query.where(IS_ACTIVE, *of_supplier)))

    def count_waiting_notices(self) -> int:
        """Return how many undelivered notices have delivery attempts left."""
        waiting = (NOTICES.c.delivered_at.is_(None), NOTICES.c.attempts < MAX_ATTEMPTS)
        return int(self._database.scalar(select(func.count()).select_from(NOTICES).where(*waiting)))

    def count_deviations_since(self, moment: datetime) -> tuple[int, int]:
        """Return how many deviations were first seen since ``moment``, and how many older deviations came again."""
        columns = QUARANTINE.c
        new = func.count(case((columns.first_seen >= moment, 1)))
        query = select(new, func.count()).select_from(QUARANTINE).where(columns.last_seen >= moment)
        with self._database.reading() as connection:
            first_seen_count, count = connection.execute(query).one()
        return first_seen_count, count - first_seen_count

    def count_ending(self, first: date, last: date) -> int:
        """Return how many accounts in use have a consent that ends from ``first`` to ``last``."""
        # The state isn't in the condition, because SQLite would search the accounts by their states.
        in_use = func.count(case((ACCOUNTS.c.state.in_(IN_USE_STATES), 1)))
        return int(self._database.scalar(select(in_use).where(ACCOUNTS.c.consent_until.between(first, last))))

    def count_reasons(self, limit: int) -> list[tuple[str, int]]:
        """Return the most frequent reasons why accounts need action, each with the number of accounts."""
        columns, number = ACCOUNTS.c, func.count().label("number")
        needs_action = columns.state == AccountState.ACTION_NEEDED, text(HAS_REASON)
        query = select(columns.reason, number).where(*needs_action).group_by(columns.reason)
        rows = self._database.fetch(query.order_by(number.desc(), columns.reason).limit(limit))
        return [(row.reason, row.number) for row in rows]

    def list_last_errors(self) -> list[CodeCount]:
        """Count accounts by series and last error code; return the most frequent pairs. Ended series don't count."""
        columns = SERIES_OUTCOMES.c
        number = func.count().label("number")
        query = (
            select(columns.series, columns.last_code, number, func.max(columns.updated_at).label("last_at"))
            .where(columns.last_code.is_not(None), columns.switch != SeriesSwitch.ENDED)
            .group_by(columns.series, columns.last_code)
            .order_by(number.desc(), columns.series, columns.last_code)
            .limit(_MOST_ERRORS)
        )
        return [CodeCount(*row) for row in self._database.fetch(query)]

    def list_codes(self) -> list[str]:
        """Return the known codes that are accounts' reasons or with which last runs ended, sorted.

        Each code is looked up in an index, so the time doesn't depend on the number of accounts.
        """
        waits = self._database.find_occurring(_REASON, CLASS_BY_CODE, text(HAS_REASON))
        return sorted(waits | self._database.find_occurring(SERIES_OUTCOMES.c.last_code, CLASS_BY_CODE))

    def count_errors(self, code: str | None = None) -> list[ErrorCount]:
        """Return the codes that are accounts' reasons or with which last runs ended, the most frequent first.

        With ``code``, only this code is counted.
        """
        columns = SERIES_OUTCOMES.c
        is_code, is_reason = (() if code is None else (column == code,) for column in (columns.last_code, _REASON))
        of_series = select(columns.account_id, columns.last_code.label("code"), columns.updated_at).where(
            columns.last_code.is_not(None), columns.switch != SeriesSwitch.ENDED, *is_code
        )
        of_account = select(ACCOUNTS.c.id, _REASON, null()).where(NOT_REMOVED, text(HAS_REASON), *is_reason)
        found = of_series.union_all(of_account).subquery()
        accounts = func.count(distinct(found.c.account_id)).label("accounts")
        query = select(found.c.code, accounts, func.max(found.c.updated_at)).group_by(found.c.code)
        return [ErrorCount(*row) for row in self._database.fetch(query.order_by(accounts.desc(), found.c.code))]
