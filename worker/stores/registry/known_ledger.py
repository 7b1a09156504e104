"""The ledger of erasures, and the registry's record of the ledger's end: number of entries and last signature.

An entry is first written to the ledger's file; then a transaction records the new end of the file. So the file may have
more lines than the registry knows. If the file has fewer lines, or different ones, then lines were lost. Their entries
would be missing when a backup is restored.
"""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, delete, select, update

from worker.stores.database import Database, SqlTable, build_insert
from worker.stores.erasure_ledger import LedgerEntry, LedgerFile, LedgerPosition, LedgerRefused
from worker.stores.registry.tables import LEDGER_END


class KnownLedger(SqlTable):
    """The ledger's file, together with the table that records the file's end."""

    def __init__(self, database: Database, file: LedgerFile) -> None:
        super().__init__(database)
        self.file = file

    def append(self, entry: LedgerEntry, connection: Connection | None = None) -> None:
        """Append an entry, and record the new end in the caller's transaction, or in a transaction of its own.

        The row with the end stays locked until the transaction ends, so the caller must lock everything else first. If
        the file lacks lines that the registry knows, the record stays as it is, so that the loss can still be noticed.
        """
        signatures = self.file.append(entry)
        with (self._database.join(connection) if connection else self._database).writing() as own:
            row = own.execute(select(LEDGER_END).with_for_update()).first()
            if row is None:
                _insert(own, self.file.position())
            elif LedgerPosition(*row).is_in(signatures):
                own.execute(update(LEDGER_END).values(entries=len(signatures) - 1, signature=signatures[-1]))

    def find(self) -> LedgerPosition | None:
        """Return the recorded position; None if no position was recorded yet."""
        row = self._database.first(select(LEDGER_END))
        return None if row is None else LedgerPosition(*row)

    def check(self) -> LedgerPosition:
        """Return the ledger's position. Raises LedgerRefused if the file lacks lines that the registry knows."""
        try:
            return self.file.position(self.find())
        except LedgerRefused as error:
            advice = "if it is lost, run `releve backup --without-ledger` and delete older backups"
            raise LedgerRefused(f"{error}; {advice}") from None

    def accept(self) -> LedgerPosition:
        """Record the ledger's file as it is now, and return its position; create a new file if there is none."""
        position = self.file.position()
        with self._database.writing() as connection:
            connection.execute(delete(LEDGER_END))
            _insert(connection, position)
        return position


def _insert(connection: Connection, position: LedgerPosition) -> None:
    row = build_insert(connection.dialect.name, LEDGER_END).values(asdict(position))
    connection.execute(row.on_conflict_do_nothing())
