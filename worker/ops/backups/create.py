"""Backup of the registry and of the accounts' measures, in one sealed file.

Redis is left out, because its content is read back from the stores. The measures are saved first and the registry last,
so that its refresh tokens are as fresh as possible: a token that was spent after the backup is worthless.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from config.settings import Settings
from worker.domain.account import AccountState
from worker.domain.documents import ALL_KEYS, key_of
from worker.domain.series import Doctype
from worker.ops.backups.archive import BackupRefused, Row, write_archive
from worker.runtime.keys import build_backup_sealer, build_erasure_hashes
from worker.runtime.process import Runtime
from worker.stores.database import Database
from worker.stores.erasure_ledger import LedgerFile, LedgerPosition
from worker.stores.measures.measure_store import Document, MeasureStore
from worker.stores.registry import migrations
from worker.stores.registry.dump import TABLES, describe_older_tables, has_accounts, open_snapshot, read_rows
from worker.sync.verification import all_accounts

PAGE_SIZE: Final = 500  # Documents that are in memory, or in one request to the store, at the same time.
_CLOCK_SKEW: Final = timedelta(minutes=5)  # The machine that removes an account may have another clock than this one.


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """What was saved; ``accounts`` counts removed ones too, of which only a line is left."""

    file: str
    made_at: str
    accounts: int
    rows: int
    documents: int


def back_up(runtime: Runtime, path: Path, *, allow_empty: bool = False) -> BackupSummary:
    """Write a backup to ``path``; the file appears only when it is complete.

    Raises BackupRefused, for a registry without accounts too unless ``allow_empty``; LedgerRefused where the ledger of
    erasures, which a restore will ask for, can't be read; StoreUnavailable.
    """
    if not allow_empty:
        _require_accounts(runtime)
    began = datetime.now(UTC)
    made_at = began.isoformat(timespec="seconds")
    ledger = runtime.ledger_file.position()
    with write_archive(path, build_backup_sealer(runtime.settings), made_at) as archive:
        documents = sum(archive.add(measures_member(doctype), _documents_of(runtime, doctype)) for doctype in Doctype)
        with open_snapshot(runtime.registry.database) as connection:
            rows = {table: archive.add(table_member(table), read_rows(connection, table)) for table in TABLES}
            schema, removed = migrations.current_step(connection), _removed_since(connection, began - _CLOCK_SKEW)
        archive.finish(_facts(runtime.settings, schema, removed, ledger))
    return BackupSummary(str(path), made_at, rows["accounts"], sum(rows.values()), documents)


def back_up_older_registry(settings: Settings, database: Database, path: Path) -> int:
    """Write the registry alone, as a version before this one has made it, and return the number of rows.

    The version before restores it into an empty registry, beside the measures as they are. Raises as ``back_up`` does.
    """
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    ledger = LedgerFile(settings.ledger(), build_erasure_hashes(settings)).position()
    with write_archive(path, build_backup_sealer(settings), made_at) as archive:
        with open_snapshot(database) as connection:
            older = describe_older_tables(connection)
            names = [table.name for table in older.sorted_tables]
            rows = sum(archive.add(table_member(name), read_rows(connection, name, older)) for name in names)
            schema = migrations.current_step(connection)
        archive.finish(_facts(settings, schema, [], ledger))
    return rows


def measures_member(doctype: Doctype) -> str:
    """Return the name of the archive's member with the documents of a doctype."""
    return f"measures/{doctype.full_name}"


def table_member(name: str) -> str:
    """Return the name of the archive's member with the rows of a table."""
    return f"registry/{name}"


def _facts(settings: Settings, schema: str | None, removed: list[str], ledger: LedgerPosition) -> dict[str, object]:
    """Return what a manifest says beside its members."""
    return {"schema": schema, "removed_meanwhile": removed, "ledger": asdict(ledger), "home": settings.is_home}


def _require_accounts(runtime: Runtime) -> None:
    with runtime.registry.database.reading() as connection:
        if not has_accounts(connection):
            raise BackupRefused(
                f"there is no account to back up ({runtime.registry.database.address}): check RELEVE_REGISTRY_URL "
                "and RELEVE_DATA_DIR, or give --allow-empty"
            )


def _documents_of(runtime: Runtime, doctype: Doctype) -> Iterator[Row]:
    """Yield all documents of all accounts that are not removed, without revisions, account by account."""
    for account in all_accounts(runtime.registry):
        for document in _read_in_pages(runtime.measures, account.id, doctype):
            yield {name: value for name, value in document.items() if name == "_id" or name[0] != "_"}


def _read_in_pages(store: MeasureStore, account_id: str, doctype: Doctype) -> Iterator[Document]:
    first, end = ALL_KEYS
    while page := store.read(account_id, {doctype: (first, end)}, PAGE_SIZE)[doctype]:
        yield from page
        if len(page) < PAGE_SIZE:
            return
        # Keys are compared as text: a key followed by a space is the first text after that key.
        first = f"{key_of(page[-1])} "


def _removed_since(connection: Connection, moment: datetime) -> list[str]:
    """Return the accounts whose measures may be in the archive although they were erased meanwhile."""
    accounts = (row for row in read_rows(connection, "accounts") if row["state"] == AccountState.DELETED.value)
    return [row["id"] for row in accounts if datetime.fromisoformat(row["state_since"]) >= moment]
