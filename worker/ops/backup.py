"""Backup and restore of the registry and of the accounts' measures.

Redis is left out, because its content is read back from the stores.  Both directions handle the measures first and
the registry last:

- A backup saves the registry last so that its refresh tokens are as fresh as possible: a token that was spent after
  the backup is worthless.
- A restore fills the registry last and in one transaction, because a worker starts from the registry.  A restore that
  was interrupted can therefore be run again, and it continues.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from worker.domain.consent.accounts import AccountState
from worker.domain.measures.documents import doctype, key_of
from worker.domain.measures.readings import Period
from worker.errors import StoreUnavailable
from worker.ops.backup_file import Archive, BackupRefused, Row, checksum_of, to_line, write_archive
from worker.runtime.process import Runtime
from worker.stores.encryption import Sealer
from worker.stores.measures.base import ALL_KEYS, Document, MeasureStore
from worker.stores.registry import migrations
from worker.stores.registry.dump import TABLES, is_empty, open_snapshot, read_rows, restore_rows
from worker.stores.registry.seals import TEXT_SEALS
from worker.sync.audit import all_accounts

_PAGE_SIZE: Final = 500  # Documents that are in memory, or in one request to the store, at the same time.
_CLOCK_SKEW: Final = timedelta(minutes=5)  # The machine that removes an account may have another clock than this one.
_REGISTRY: Final = "registry/"
_SEALS_CHECKED: Final = 20
_FILLED: Final = (
    "the registry holds accounts already, and a restore replaces none: point RELEVE_REGISTRY_URL (or RELEVE_DATA_DIR) "
    "at an empty one; nothing was changed"
)


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """Counts of what was saved or restored.

    ``kept``: documents that the store already had in the same or a newer version.
    ``registry_was_there``: the registry already had exactly the rows of the archive, from an earlier restore.
    """

    file: str
    made_at: str
    accounts: int
    rows: int
    documents: int
    kept: int = 0
    registry_was_there: bool = False


def back_up(runtime: Runtime, path: Path) -> BackupSummary:
    """Write a backup to ``path``; the file appears only when it is complete.

    Raises BackupRefused or StoreUnavailable.
    """
    began = datetime.now(UTC)
    made_at = began.isoformat(timespec="seconds")
    with write_archive(path) as archive:
        documents = sum(archive.add(_measures(period), _documents_of(runtime, period)) for period in Period)
        with open_snapshot(runtime.registry.database) as connection:
            rows = {table: archive.add(_table(table), read_rows(connection, table)) for table in TABLES}
            schema, removed = migrations.current_step(connection), _removed_since(connection, began - _CLOCK_SKEW)
        archive.finish({"made_at": made_at, "schema": schema, "removed_meanwhile": removed})
    return BackupSummary(str(path), made_at, rows["accounts"], sum(rows.values()), documents)


def restore(runtime: Runtime, path: Path) -> BackupSummary:
    """Restore the archive at ``path`` into an empty registry and its measure stores.

    Running it twice has the same result as running it once, and an interrupted restore continues.  A stored document
    stays where it is as new as the one in the archive, or newer.  Raises BackupRefused when nothing was changed, and
    StoreUnavailable when the restore can be run again.
    """
    with Archive.open(path) as archive:
        step = archive.manifest["schema"]
        if step != migrations.newest_step():
            raise BackupRefused(f"{path} comes from another version (schema {step}): restore it with that one")
        archive.check()
        _check_keys(archive, runtime.sealer)
        restored_before = _is_already_restored(archive, runtime)
        removed = frozenset(archive.manifest["removed_meanwhile"])
        counts = [
            _restore_documents(archive.rows(_measures(period)), runtime.measures, period, removed) for period in Period
        ]
        # Redis knows the windows that were stored in another measure store, and they may be missing in this one.
        runtime.progress.forget_all()
        if not restored_before:
            with runtime.registry.database.writing() as connection:
                if not is_empty(connection):
                    raise BackupRefused(_FILLED)
                restore_rows(connection, lambda table: archive.rows(_table(table)))
        members = archive.manifest["members"]
        return BackupSummary(
            str(path),
            archive.manifest["made_at"],
            members[_table("accounts")]["lines"],
            sum(member["lines"] for name, member in members.items() if name.startswith(_REGISTRY)),
            sum(written for written, _ in counts),
            sum(kept for _, kept in counts),
            registry_was_there=restored_before,
        )


# -- backup


def _documents_of(runtime: Runtime, period: Period) -> Iterator[Row]:
    """Yield all documents of all accounts that are not removed, without revisions, account by account."""
    for account in all_accounts(runtime.registry):
        for document in _read_in_pages(runtime.measures, account.id, period):
            yield {name: value for name, value in document.items() if name == "_id" or name[0] != "_"}


def _read_in_pages(store: MeasureStore, account_id: str, period: Period) -> Iterator[Document]:
    first, end = ALL_KEYS
    while page := store.read(account_id, {period: (first, end)}, _PAGE_SIZE)[period]:
        yield from page
        if len(page) < _PAGE_SIZE:
            return
        # Keys are compared as text: a key followed by a space is the first text after that key.
        first = f"{key_of(page[-1])} "


def _removed_since(connection: Connection, moment: datetime) -> list[str]:
    """Return the accounts whose measures may be in the archive although they were erased meanwhile."""
    accounts = (row for row in read_rows(connection, "accounts") if row["state"] == AccountState.DELETED.value)
    return [row["id"] for row in accounts if datetime.fromisoformat(row["state_since"]) >= moment]


# -- restore


def _check_keys(archive: Archive, sealer: Sealer) -> None:
    """Raise BackupRefused where our keys open none of the first sealed values of a table.

    One value that opens is enough: a value under a key that was lost long ago must not block the others.
    """
    for column in TEXT_SEALS:
        table, name = column.seals.table.name, column.seals.name
        seals = [row[name] for row in islice(archive.rows(_table(table)), _SEALS_CHECKED) if row[name]]
        if seals and not any(sealer.can_unseal(seal) for seal in seals):
            raise BackupRefused(
                f"the {table} in {archive.path} were sealed under a key that is not given: put it into "
                "RELEVE_TOKEN_KEYS, or bring back the file token.keys of the old data_dir; nothing was changed"
            )


def _is_already_restored(archive: Archive, runtime: Runtime) -> bool:
    """Return whether the registry has exactly the rows of the archive.

    An empty registry gives False.  Raises BackupRefused where the registry has any other rows.
    """
    with open_snapshot(runtime.registry.database) as connection:
        if is_empty(connection):
            return False
        members = archive.manifest["members"]
        for table in TABLES:
            if checksum_of(map(to_line, read_rows(connection, table))) != members.get(_table(table)):
                raise BackupRefused(_FILLED)
        return True


def _restore_documents(
    rows: Iterable[Row], store: MeasureStore, period: Period, removed: frozenset[str]
) -> tuple[int, int]:
    """Write what the store lacks; return how many documents were written and how many were already there."""
    written = already_stored = 0
    for account_id, documents in groupby(rows, key=lambda row: str(row["_id"]).partition(":")[0]):
        while page := [dict(row) for row in islice(documents, _PAGE_SIZE)]:
            if account_id not in removed:
                missing = list(_missing_documents(account_id, page, store, period))
                if store.write({period: missing})[period]:
                    raise StoreUnavailable("somebody else writes to the store: stop the workers, and run it again")
                written += len(missing)
                already_stored += len(page) - len(missing)
    return written, already_stored


def _missing_documents(
    account_id: str, page: list[Document], store: MeasureStore, period: Period
) -> Iterator[Document]:
    """Yield the documents that are not stored, or are stored in an older version, ready to be written."""
    ranges = {period: (key_of(page[0]), f"{key_of(page[-1])} ")}
    stored = {document["_id"]: document for document in store.read(account_id, ranges)[period]}
    for document in page:
        current = stored.get(document["_id"])
        if current is None:
            yield document
        elif current.get("updated_at", "") < document.get("updated_at", ""):
            yield {**document, "_rev": current["_rev"]}


def _measures(period: Period) -> str:
    return f"measures/{doctype(period)}.ndjson"


def _table(name: str) -> str:
    return f"{_REGISTRY}{name}.ndjson"
