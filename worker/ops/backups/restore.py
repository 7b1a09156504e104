"""Restore of a backup: the measures first, then the registry in one transaction, because a worker starts from it.

1. The whole archive and the ledger of erasures are read and checked before anything is opened or made (``checked``).
2. Measures are written, but for those of accounts that were erased since.
3. Redis forgets what it knew of another store, and requests and flows of people who were connecting.
4. The registry is filled. In the same transaction everything that lets somebody in is ended (``registry.dump``),
   and the ledger is applied (``ledger_replay``): nobody ever sees what was erased or stopped after the backup.

A restore that was interrupted can be run again, and continues. One that was complete changes nothing when it is run
again: Redis remembers for a week what it has written, and rows that are no longer the same are refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from config.settings import Settings
from worker.domain.account import AccountState
from worker.domain.clock import real_clock
from worker.domain.documents import key_of
from worker.domain.series import Doctype
from worker.errors import StoreUnavailable
from worker.ops.backups.archive import Archive, BackupRefused, Row, to_line
from worker.ops.backups.blocks import Checksum
from worker.ops.backups.checked import FILLED, CheckedBackup, open_checked
from worker.ops.backups.create import PAGE_SIZE, measures_member, table_member
from worker.ops.backups.ledger_replay import LedgerEffect, replay_ledger
from worker.runtime.home_mark import mark_home
from worker.runtime.process import Runtime
from worker.stores.erasure_ledger import LedgerEntry, LedgerKind
from worker.stores.measures.measure_store import Document, MeasureStore
from worker.stores.redis.pending_consents import ConsentFlows
from worker.stores.registry.dump import (
    TABLES,
    EndedRights,
    end_rights,
    is_empty,
    open_snapshot,
    read_rows,
    restore_rows,
)
from worker.stores.registry.tables import AUDIT_LOG

_RECORD: Final = "restore"
_RECORD_LIFE_S: Final = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class RestoreSummary:
    """What was restored.

    ``kept``: documents that the store already had in the same or a newer version. ``registry_was_there``: an earlier
    run of this restore had filled it. ``home``: whether the backup is known to be a home's, and the data folder is one
    now. ``erasures_unknown_since``: when the backup was made, if its ledger is lost.
    """

    file: str
    made_at: str
    accounts: int
    rows: int
    documents: int
    kept: int
    registry_was_there: bool
    home: bool
    ended: EndedRights = field(default_factory=EndedRights)
    since_backup: LedgerEffect = field(default_factory=LedgerEffect)
    erasures_unknown_since: str | None = None


def restore(settings: Settings, path: Path, *, without_ledger: bool = False) -> RestoreSummary:
    """Restore the archive at ``path`` into an empty registry and its measure stores.

    A stored document stays where it is as new as the one in the archive, or newer. The ledger of erasures must be the
    one that the backup was made with; with ``without_ledger`` it may be lost, and a new one is begun. A home's backup
    makes the data folder a home's.

    Raises BackupRefused, LedgerRefused or ConfigError when nothing was changed, and StoreUnavailable when the restore
    can be run again.
    """
    with (
        open_checked(settings, path, without_ledger=without_ledger) as backup,
        Runtime(settings, guarded=True) as runtime,
    ):
        summary = _restore(runtime, backup)
        if without_ledger:
            runtime.ledger_file.position()  # It is made where there is none.
        if backup.is_home and not settings.is_home:
            mark_home(settings)
        return summary


def _restore(runtime: Runtime, backup: CheckedBackup) -> RestoreSummary:
    archive, entries = backup.archive, backup.entries
    name = _name_of(archive, entries)
    was_there = _is_already_restored(runtime, name)
    written, kept = _restore_measures(runtime, archive, entries)
    # Redis knows the windows that were stored in another measure store, and they may be missing in this one.
    runtime.progress.forget_all()
    runtime.connection_requests.forget_all()
    ConsentFlows(runtime.redis).forget_all()
    ended, effect = EndedRights(), LedgerEffect()
    if was_there:
        with open_snapshot(runtime.registry.database) as connection:
            _remember(runtime, name, connection)
    else:
        ended, effect = _fill_registry(runtime, archive, entries, name)
    return RestoreSummary(
        str(archive.path),
        archive.manifest["made_at"],
        archive.count(table_member("accounts")),
        sum(archive.count(table_member(table)) for table in TABLES),
        written,
        kept,
        was_there,
        backup.is_home,
        ended,
        effect,
        None if backup.has_its_ledger else archive.manifest["made_at"],
    )


# -- Whether it has run before


def _name_of(archive: Archive, entries: Iterable[LedgerEntry]) -> str:
    """Return a text that names what is restored: another archive or another ledger gives another one."""
    facts = [archive.manifest, [(entry.kind, entry.account_id, entry.at.isoformat()) for entry in entries]]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _is_already_restored(runtime: Runtime, name: str) -> bool:
    """Return whether the registry has exactly the rows that this restore has written before.

    An empty registry gives False. Raises BackupRefused where the registry has any other rows.
    """
    with open_snapshot(runtime.registry.database) as connection:
        if is_empty(connection):
            return False
        record = json.loads(runtime.progress.get_text(_RECORD) or "{}")
        if record != {"restore": name, "rows": _checksum_rows(connection)}:
            raise BackupRefused(FILLED)
        return True


def _remember(runtime: Runtime, name: str, connection: Connection) -> None:
    record = {"restore": name, "rows": _checksum_rows(connection)}
    runtime.progress.put_text(_RECORD, json.dumps(record), _RECORD_LIFE_S)


def _checksum_rows(connection: Connection) -> dict[str, Any]:
    """Return the checksum of all rows of the registry, but for the audit log, which each command adds to."""
    checksum = Checksum()
    for table in TABLES:
        if table == AUDIT_LOG.name:
            continue
        for row in read_rows(connection, table):
            checksum.add(to_line(row))
    return checksum.to_entry()


# -- Registry


def _fill_registry(
    runtime: Runtime, archive: Archive, entries: list[LedgerEntry], name: str
) -> tuple[EndedRights, LedgerEffect]:
    with runtime.registry.database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        if not is_empty(connection):
            raise BackupRefused(FILLED)
        restore_rows(connection, lambda table: archive.rows(table_member(table)))
        ended = end_rights(connection, real_clock())
        effect = replay_ledger(runtime, connection, entries)
        # A record without its rows does no harm; rows without their record could not be told from a registry in use.
        _remember(runtime, name, connection)
    return ended, effect


# -- Measures


def _restore_measures(runtime: Runtime, archive: Archive, entries: Iterable[LedgerEntry]) -> tuple[int, int]:
    """Write what the store lacks, without what was erased; return how much was written, and how much was there."""
    erased = _erased_since(archive, entries)
    for account_id in sorted(erased):
        runtime.measures.erase(account_id)  # An erasure may have been interrupted.
    left_out = erased | set(archive.manifest["removed_meanwhile"])
    counts = [
        _restore_documents(archive.rows(measures_member(doctype)), runtime.measures, doctype, left_out)
        for doctype in Doctype
    ]
    return sum(written for written, _ in counts), sum(kept for _, kept in counts)


def _erased_since(archive: Archive, entries: Iterable[LedgerEntry]) -> set[str]:
    """Return the accounts that the ledger names as erased and the archive does not."""
    erased = {entry.account_id for entry in entries if entry.kind is LedgerKind.ERASED}
    for row in archive.rows(table_member("accounts")) if erased else ():
        if row["state"] == AccountState.DELETED.value:
            erased.discard(row["id"])
    return erased


def _restore_documents(
    rows: Iterable[Row], store: MeasureStore, doctype: Doctype, left_out: Collection[str]
) -> tuple[int, int]:
    """Write what the store lacks; return how many documents were written and how many were already there."""
    written = already_stored = 0
    for account_id, documents in groupby(rows, key=lambda row: str(row["_id"]).partition(":")[0]):
        while page := [dict(row) for row in islice(documents, PAGE_SIZE)]:
            if account_id not in left_out:
                missing = list(_missing_documents(account_id, page, store, doctype))
                if store.write({doctype: missing})[doctype]:
                    raise StoreUnavailable(
                        "another process writes to the measure store: stop the workers, and run it again"
                    )
                written += len(missing)
                already_stored += len(page) - len(missing)
    return written, already_stored


def _missing_documents(
    account_id: str, page: list[Document], store: MeasureStore, doctype: Doctype
) -> Iterator[Document]:
    """Yield the documents that are not stored, or are stored in an older version, ready to be written."""
    ranges = {doctype: (key_of(page[0]), f"{key_of(page[-1])} ")}
    stored = {document["_id"]: document for document in store.read(account_id, ranges)[doctype]}
    for document in page:
        current = stored.get(document["_id"])
        if current is None:
            yield document
        elif current.get("updated_at", "") < document.get("updated_at", ""):
            yield {**document, "_rev": current["_rev"]}
