"""The table of the audit log: entries are appended, read newest first, and deleted when they are old.

An entry can't be changed: this class has no method for that, and triggers of the database refuse it (``tables``).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, insert, or_, select

from worker.domain.audit_entry import AuditEntry, AuditFilter
from worker.stores.database import SqlTable
from worker.stores.registry.tables import ACCOUNTS, AUDIT_LOG

_C = AUDIT_LOG.c


class AuditTable(SqlTable):
    def append(self, entry: AuditEntry) -> AuditEntry:
        """Append an entry and return it.

        An entry without a tenant gets its account's tenant, or stays without one if there is no such account. A
        caller of the API sees only entries with the caller's tenant. So after a call for another tenant's account, or
        for an account that doesn't exist, the caller sees no entry, and can't learn whether the account exists.
        """
        with self._database.writing() as connection:
            if entry.tenant is None and entry.account_id is not None:
                tenant = select(ACCOUNTS.c.tenant).where(ACCOUNTS.c.id == entry.account_id)
                entry = replace(entry, tenant=connection.execute(tenant).scalar())
            columns = {name: getattr(entry, name) for name in AuditEntry.__slots__}
            connection.execute(insert(AUDIT_LOG).values(**columns))
        return entry

    def page(self, wanted: AuditFilter, limit: int, *, before: str = "") -> list[AuditEntry]:
        """Return the newest entries that match ``wanted``, at most ``limit``.

        ``before``: the id of an entry; only older entries are returned.
        """
        older = (_C.id < before,) if before else ()
        query = select(AUDIT_LOG).where(*_conditions(wanted), *older).order_by(_C.id.desc()).limit(limit)
        return [_to_entry(row) for row in self._database.fetch(query)]

    def count_since(self, moment: datetime, outcome: str) -> int:
        """Return the number of entries with this outcome since ``moment``."""
        query = select(func.count()).where(_C.at >= moment, _C.outcome == outcome)
        return int(self._database.scalar(query))

    def delete_before(self, moment: datetime) -> int:
        """Delete the entries older than ``moment``, and return their number."""
        return self._database.change(delete(AUDIT_LOG).where(_C.at < moment))


def _conditions(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    columns = {_C.account_id: wanted.account_id, _C.action: wanted.action, _C.tenant: wanted.tenant}
    conditions: list[ColumnElement[bool]] = [column == value for column, value in columns.items() if value is not None]
    if wanted.actor is not None:
        conditions.append(or_(_C.actor == wanted.actor, _C.actor_kind == wanted.actor))
    if wanted.since is not None:
        conditions.append(_C.at >= wanted.since)
    if wanted.until is not None:
        conditions.append(_C.at < wanted.until)
    return conditions


def _to_entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(**{name: getattr(row, name) for name in AuditEntry.__slots__})
