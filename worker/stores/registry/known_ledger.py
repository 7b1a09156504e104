"""The ledger of erasures, and the registry's record of its end: the number of entries, and the last signature.

The file is written first, and its new end is recorded in the transaction of the entry's event. So the file may have
more lines than the registry knows. If it has fewer or different lines, some were lost, and would be missing when a
backup is restored.
"""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, delete, select, update

from worker.stores.database import Database, SqlTable, build_insert
from worker.stores.erasure_ledger import LedgerEntry, LedgerFile, LedgerPosition, LedgerRefused
from worker.stores.registry.tables import LEDGER_END


class KnownLedger(SqlTable):
    """The ledger's file together with the table of its known end."""

    def __init__(self, database: Database, file: LedgerFile) -> None:
        super().__init__(database)
        self.file = file

    def append(self, entry: LedgerEntry, connection: Connection | None = None) -> None:
        """Append an entry, and record the new end in the caller's transaction, or in one of its own.

        The row stays locked until the transaction ends, so lock it last. If the file lacks known lines, the record
        isn't moved, so that the loss stays visible.
        """
        signatures = self.file.append(entry)
        with (self._database.join(connection) if connection else self._database).writing() as own:
            row = own.execute(select(LEDGER_END).with_for_update()).first()
            if row is None:
                _insert(own, self.file.position())
            elif LedgerPosition(*row).is_in(signatures):
                own.execute(update(LEDGER_END).values(entries=len(signatures) - 1, signature=signatures[-1]))

    def find(self) -> LedgerPosition | None:
        """Return the recorded position; None before the first entry of this version."""
        row = self._database.first(select(LEDGER_END))
        return None if row is None else LedgerPosition(*row)

    def check(self) -> LedgerPosition:
        """Return the ledger's position. Raises LedgerRefused if it lacks lines that the registry knows."""
        try:
            return self.file.position(self.find())
        except LedgerRefused as error:
            advice = "if it is lost, run `releve backup --without-ledger` and delete older backups"
            raise LedgerRefused(f"{error}; {advice}") from None

    def accept(self) -> LedgerPosition:
        """Accept the ledger as it is, and return its position; begin a new one if there is none."""
        position = self.file.position()
        with self._database.writing() as connection:
            connection.execute(delete(LEDGER_END))
            _insert(connection, position)
        return position


def _insert(connection: Connection, position: LedgerPosition) -> None:
    row = build_insert(connection.dialect.name, LEDGER_END).values(asdict(position))
    connection.execute(row.on_conflict_do_nothing())
