"""Lists of accounts, page by page: by state, error, series that lags, end of consent, time of change and tenant."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, and_, exists, or_, select, text, true

from worker.domain.account import IN_USE_STATES, AccountState, shown_state
from worker.domain.series import Series, SeriesSwitch
from worker.errors import CLASS_BY_CODE
from worker.stores.database import SqlTable
from worker.stores.registry.account_rows import NOT_REMOVED
from worker.stores.registry.tables import ACCOUNTS, ACTIVE, HAS_REASON, SERIES_OUTCOMES, belongs_to

_A, _S = ACCOUNTS.c, SERIES_OUTCOMES.c


@dataclass(frozen=True, slots=True)
class AccountFilter:
    """The accounts that a list shows; a condition that is None allows all.

    ``code``: an account's reason or a series' last error, or a narrower code. ``late``: a series that is collected, and
    of which neither ``late_since`` nor a later day is complete; with ``code``, the last error of this series.
    ``ending``: the first and last day on which the consent of an account in use ends. ``changed_since``: since then, a
    run of a series has ended or a file was stored, whether or not anything was new in it, or the account's state or
    reason has changed; a pause of an account that waits is not seen. ``ids``: the accounts to choose from.
    """

    state: AccountState | None = None
    code: str | None = None
    late: Series | None = None
    late_since: date | None = None
    ending: tuple[date, date] | None = None
    tenant: str | None = None
    changed_since: datetime | None = None
    ids: Collection[str] | None = None

    @property
    def is_of_series(self) -> bool:
        return self.code is not None or self.late is not None


@dataclass(frozen=True, slots=True)
class ListedAccount:
    """An account of a list. ``series``: the one that fails or lags, if the list is of such.

    ``code``: the error with which its last run ended. ``since``: when it was last stored, if ever.
    """

    id: str
    tenant: str
    supplier: str
    state: AccountState
    reason: str
    consent_until: date | None
    series: Series | None = None
    code: str | None = None
    since: datetime | None = None

    @property
    def shown_state(self) -> str:
        return shown_state(self.state, self.reason)


class AccountLists(SqlTable):
    """Lists of the accounts that weren't removed."""

    def page(self, wanted: AccountFilter, after: str = "", limit: int = 50) -> list[ListedAccount]:
        """Return the next page of accounts by id, starting after the id ``after``; empty after the last page."""
        return self._load(wanted, self.find_ids(wanted, after, limit))

    def find_ids(self, wanted: AccountFilter, after: str = "", limit: int = 50) -> list[str]:
        """Return the ids of the accounts of ``page``."""
        found: set[str] = set()
        for query in _queries(wanted, after):
            found.update(row[0] for row in self._database.fetch(query.limit(limit)))
        return sorted(found)[:limit]

    def _load(self, wanted: AccountFilter, ids: Sequence[str]) -> list[ListedAccount]:
        accounts = select(_A.id, _A.tenant, _A.supplier, _A.state, _A.reason, _A.consent_until).where(_A.id.in_(ids))
        rows, series = self._database.fetch(accounts.order_by(_A.id)), {}
        if wanted.is_of_series:
            of_series = [condition for account_id, condition in _sources(wanted) if account_id is _S.account_id]
            columns = _S.account_id, _S.series, _S.last_code, _S.last_success_at
            query = select(*columns).where(_S.account_id.in_(ids), or_(*of_series))
            found = self._database.fetch(query.order_by(_S.series.desc()))
            series = {account_id: facts for account_id, *facts in found}
        return [ListedAccount(*row, *series.get(row.id, ())) for row in rows]


def _queries(wanted: AccountFilter, after: str) -> Iterator[Select[Any]]:
    """Yield queries for ids after ``after``, in their order, that together find all accounts of a list."""
    conditions = [*belongs_to(ACCOUNTS, wanted.tenant)]
    if wanted.state is not None:
        conditions.append(_A.state == wanted.state)
    if wanted.ending is not None:
        first, last = wanted.ending
        conditions += [_A.state.in_(IN_USE_STATES), _A.consent_until >= first, _A.consent_until <= last]
    if wanted.ids is not None:
        conditions.append(_A.id.in_(wanted.ids))
    if wanted.changed_since is not None and wanted.is_of_series:
        of_account = SERIES_OUTCOMES.alias().c
        runs = exists().where(of_account.account_id == _A.id, of_account.updated_at >= wanted.changed_since)
        conditions.append(or_(_A.state_since >= wanted.changed_since, runs))
    for column, condition in _sources(wanted):
        account_id: ColumnElement[str] = column
        query = select(column).where(condition, column > after)
        if column is _S.account_id and (wanted.late is None or wanted.code is not None):
            query = query.distinct()  # Several series of an account may match.
        elif column is _S.account_id:
            # PostgreSQL expects more lagging series than there are, and would look for them in the order of the ids.
            account_id = query.cte().prefix_with("MATERIALIZED").c.account_id
            query = select(account_id)
        if conditions and column is _S.account_id:
            query = query.join(ACCOUNTS, account_id == _A.id)
        yield query.where(*conditions).order_by(account_id)


def _sources(wanted: AccountFilter) -> list[tuple[Column[str], ColumnElement[bool]]]:
    """Return columns of account ids, each with the condition of its rows, that together have all accounts of a list.

    Each condition is one range of an index, so that a page costs the same for any error. A removed account has no rows
    of series.
    """
    late = [] if wanted.late is None else _late(wanted.late, wanted.late_since)
    if wanted.code is None and late:
        return [(_S.account_id, condition) for condition in late]
    if wanted.code is not None:
        codes = [wanted.code, *(known for known in CLASS_BY_CODE if known.startswith(f"{wanted.code}."))]
        fails = [and_(_S.last_code == code, _S.switch != SeriesSwitch.ENDED) for code in codes]
        if late:
            return [(_S.account_id, and_(condition, or_(*late))) for condition in fails]
        waits = [and_(NOT_REMOVED, _A.reason == code, text(HAS_REASON)) for code in codes]
        return [*((_A.id, condition) for condition in waits), *((_S.account_id, condition) for condition in fails)]
    if wanted.changed_since is not None:
        return [
            (_A.id, and_(NOT_REMOVED, _A.state_since >= wanted.changed_since)),
            (_S.account_id, _S.updated_at >= wanted.changed_since),
        ]
    return [(_A.id, NOT_REMOVED)]


def _late(series: Series, day: date | None) -> list[ColumnElement[bool]]:
    """Return conditions for the rows that ``CompletenessTable.count_complete`` counts as not complete."""
    of_series = _S.series == series, text(ACTIVE)
    never = _S.last_complete.is_(None), _S.days == "" if series.description.optional else true()
    return [and_(*of_series, *never), and_(*of_series, _S.last_complete < day)]
