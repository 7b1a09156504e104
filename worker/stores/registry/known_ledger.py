"""The ledger of erasures, and what the registry knows of it: how many entries it had, and its last signature.

The file is written first, and its new end is kept in the transaction that does what the entry says. So the file may
have more lines than the registry knows of. Where it has fewer, or others, lines were lost: they would be missing when a
backup is restored.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, Select, delete, select, update

from worker.stores.database import Database, SqlTable, build_insert
from worker.stores.erasure_ledger import LedgerEntry, LedgerFile, LedgerPosition, LedgerRefused
from worker.stores.registry.tables import LEDGER_END

_END: Final = select(LEDGER_END)


class KnownLedger(SqlTable):
    """The ledger's file together with the table of its known end."""

    def __init__(self, database: Database, file: LedgerFile) -> None:
        super().__init__(database)
        self.file = file

    def append(self, entry: LedgerEntry, connection: Connection | None = None) -> None:
        """Append an entry, and keep the new end in the caller's transaction, or in one of its own.

        The row is locked until then, so it comes after all other locks. A file that lacks what was known moves it no
        further: the loss stays noticed.
        """
        lines = self.file.append(entry)
        database = self._database if connection is None else self._database.join(connection)
        with database.writing() as own:
            known = _find(own, _END.with_for_update())
            if known is None:
                row = build_insert(own.dialect.name, LEDGER_END).values(_to_row(lines.end))
                own.execute(row.on_conflict_do_nothing(index_elements=["ledger"]))
            elif lines.has(known):
                own.execute(update(LEDGER_END).where(LEDGER_END.c.ledger == known.id).values(_to_row(lines.end)))

    def find(self) -> LedgerPosition | None:
        """Return what the registry knows; None before the first entry of this version."""
        with self._database.reading() as connection:
            return _find(connection)

    def check(self) -> LedgerPosition:
        """Return the ledger's position. Raises LedgerRefused where it lacks what the registry knows of."""
        try:
            return self.file.position(self.find())
        except LedgerRefused as error:
            raise LedgerRefused(
                f"{error}; if it is lost, run `releve backup --without-ledger` and delete older backups"
            ) from None

    def accept(self) -> LedgerPosition:
        """Take the ledger as it is from now on, and return its position; a new one is begun where there is none."""
        position = self.file.position()
        with self._database.writing() as connection:
            connection.execute(delete(LEDGER_END))
            connection.execute(LEDGER_END.insert().values(_to_row(position)))
        return position


def _find(connection: Connection, query: Select[Any] = _END) -> LedgerPosition | None:
    row = connection.execute(query).first()
    return None if row is None else LedgerPosition(*row)


def _to_row(position: LedgerPosition) -> dict[str, str | int]:
    return {"ledger": position.id, "entries": position.entries, "signature": position.signature}
