"""The operator's lists of accounts: by state, error, series that lags, end of consent and tenant, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, false, or_, select

from worker.domain.account import IN_USE_STATES, AccountState
from worker.domain.series import Series, SeriesSwitch
from worker.stores.database import SqlTable
from worker.stores.registry.account_rows import NOT_REMOVED
from worker.stores.registry.tables import ACCOUNTS, SERIES_OUTCOMES, belongs_to

_PAGE: Final = 500
_A, _S = ACCOUNTS.c, SERIES_OUTCOMES.c


@dataclass(frozen=True, slots=True)
class AccountFilter:
    """The accounts that a list shows; a condition that is None allows all.

    ``code``: an account's reason or a series' last error, or a narrower code. ``late``: a series that is collected, and
    of which neither ``late_since`` nor a later day is complete. ``ending``: the first and last day on which the consent
    of an account in use ends.
    """

    state: AccountState | None = None
    code: str | None = None
    late: Series | None = None
    late_since: date | None = None
    ending: tuple[date, date] | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class ListedAccount:
    """An account of a list. ``series``: the one that fails or lags, if the list is of such.

    ``since``: when this series was last stored, if ever. ``last_at``: when it was last asked.
    """

    id: str
    tenant: str
    supplier: str
    state: AccountState
    reason: str
    consent_until: date | None
    series: Series | None = None
    since: datetime | None = None
    last_at: datetime | None = None


class AccountLists(SqlTable):
    """Lists of the accounts that weren't removed."""

    def page(self, wanted: AccountFilter, after: str = "", limit: int = 50) -> list[ListedAccount]:
        """Return the next page of accounts by id, starting after the id ``after``; empty after the last page."""
        conditions = [NOT_REMOVED, *belongs_to(ACCOUNTS, wanted.tenant), _A.id > after]
        if wanted.state is not None:
            conditions.append(_A.state == wanted.state)
        if wanted.ending is not None:
            conditions += [_A.state.in_(IN_USE_STATES), _A.consent_until.between(*wanted.ending)]
        of_series = _of_series(wanted)
        if wanted.code is not None:
            conditions.append(or_(_matches(_A.reason, wanted.code), _A.id.in_(of_series)))
        elif wanted.late is not None:
            conditions.append(_A.id.in_(of_series))
        columns = _A.id, _A.tenant, _A.supplier, _A.state, _A.reason, _A.consent_until
        rows = self._database.fetch(select(*columns).where(*conditions).order_by(_A.id).limit(limit))
        found = self._load_series(of_series, [row.id for row in rows])
        return [ListedAccount(*row, *found.get(row.id, ())) for row in rows]

    def iterate(self, wanted: AccountFilter) -> Iterator[ListedAccount]:
        """Yield all accounts that ``page`` returns, page by page."""
        after = ""
        while page := self.page(wanted, after, _PAGE):
            yield from page
            after = page[-1].id

    def _load_series(self, of_series: Select[Any], ids: Sequence[str]) -> dict[str, tuple[Any, ...]]:
        query = of_series.where(_S.account_id.in_(ids)).add_columns(_S.series, _S.last_success_at, _S.updated_at)
        rows = self._database.fetch(query.order_by(_S.series.desc()))
        return {account_id: tuple(facts) for account_id, *facts in rows}


def _of_series(wanted: AccountFilter) -> Select[Any]:
    query = select(_S.account_id)
    if wanted.code is not None:
        query = query.where(_S.switch != SeriesSwitch.ENDED, _matches(_S.last_code, wanted.code))
    if wanted.late is not None:
        late = or_(_S.last_complete.is_(None), _S.last_complete < wanted.late_since)
        query = query.where(_S.active, _S.series == wanted.late, late)
    return query if wanted.code or wanted.late else query.where(false())


def _matches(column: ColumnElement[str], code: str) -> ColumnElement[bool]:
    return or_(column == code, column.startswith(f"{code}.", autoescape=True))
