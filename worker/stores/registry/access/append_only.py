"""Triggers that keep the audit log append-only, for every writer to the database: no row changes, none goes early.

The table of a new database gets them when it is created, and an older database by its migration. A change of them
needs a migration that replaces them; so does one that lets SQLite rebuild the table.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection

from worker.domain.audit_entry import AUDIT_KEPT

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
