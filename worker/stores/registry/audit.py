"""The table of the audit log: entries are appended, read newest first, and deleted when they are old.

Nothing changes an entry: there is no method for it, and the database refuses it (``append_only``).

Triggers that keep the audit log append-only, for every writer to the database: no row changes, none goes early.

The table of a new database gets them when it is created, and an older database by its migration. A change of them
needs a migration that replaces them; so does one that lets SQLite rebuild the table.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, or_, select

from worker.domain.audit_entry import AUDIT_KEPT, AuditEntry, AuditFilter
from worker.stores.database import SqlTable
from worker.stores.registry.tables import ACCOUNTS, AUDIT_LOG

_C = AUDIT_LOG.c


class AuditTable(SqlTable):
    """The table of audit entries; every method raises StoreUnavailable."""

    def append(self, entry: AuditEntry) -> AuditEntry:
        """Append an entry and return it. Without a tenant it gets that of its account, where there is such an account.

        Nobody who reads the trail of one service can tell from it whether an account of another one exists.
        """
        with self._database.writing() as connection:
            if entry.tenant is None and entry.account_id is not None:
                tenant = select(ACCOUNTS.c.tenant).where(ACCOUNTS.c.id == entry.account_id)
                entry = replace(entry, tenant=connection.execute(tenant).scalar())
            columns = {name: getattr(entry, name) for name in AuditEntry.__slots__}
            connection.execute(insert(AUDIT_LOG).values(**columns))
        return entry

    def page(self, wanted: AuditFilter, limit: int, *, before: str = "") -> list[AuditEntry]:
        """Return the newest entries that are asked for; with ``before``, those older than the entry of this id."""
        older = (_C.id < before,) if before else ()
        query = select(AUDIT_LOG).where(*_conditions(wanted), *older).order_by(_C.id.desc()).limit(limit)
        return [_to_entry(row) for row in self._database.fetch(query)]

    def delete_before(self, moment: datetime) -> int:
        """Delete the entries from before ``moment``, and return their number. The database keeps younger ones."""
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


_REFUSAL: Final = "audit_log is append-only"
_KEPT: Final = f"{AUDIT_KEPT.days} days"
_TRIGGERS: Final = {
    "sqlite": (
        f"""CREATE TRIGGER audit_log_unchanged BEFORE UPDATE ON audit_log
        BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END""",
        f"""CREATE TRIGGER audit_log_kept BEFORE DELETE ON audit_log
        WHEN OLD.at > datetime('now', '-{_KEPT}')
        BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END""",
    ),
    "postgresql": (
        f"""CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' THEN
                IF OLD.at <= now() - interval '{_KEPT}' THEN
                    RETURN OLD;
                END IF;
            END IF;
            RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'integrity_constraint_violation';
        END $$""",
        """CREATE TRIGGER audit_log_unchanged BEFORE UPDATE OR DELETE ON audit_log
        FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()""",
        """CREATE TRIGGER audit_log_kept BEFORE TRUNCATE ON audit_log
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()""",
    ),
}


def make_append_only(connection: Connection) -> None:
    """Create the triggers on a new table."""
    for statement in _TRIGGERS[connection.dialect.name]:
        connection.exec_driver_sql(statement)
