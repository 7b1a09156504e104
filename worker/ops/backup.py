"""Backup of the registry and of the accounts' measures in one sealed file, and its restore.

**Backup.** Redis is left out, because it holds nothing that must survive. The registry is saved last, after the
measures, so that the saved refresh tokens are as new as possible. A refresh token can be used only once, so a saved
token that was used after the backup is worthless.

**Restore.** Workers start from the registry. So it is filled last, in one transaction.

1. The whole archive and the ledger of erasures are read and checked before a store is changed or a file is created, so
   that a refused restore leaves nothing behind (``open_checked``).
2. The measures are written, except those of accounts that were erased since the backup.
3. Redis forgets what it knew about the stores, and the requests and flows of people who were connecting.
4. The registry is filled. In the same transaction, everything that gives somebody access is ended (``end_rights``), and
   the ledger of erasures is applied (``replay_ledger``), so nobody ever sees what was erased or stopped after the
   backup. If a series was stored while the backup was made, its ledger of days (the state of each day) is rebuilt from
   the restored measures. Days that these measures lack are requested again.

The ledger of erasures may have several entries for an account. The most final one counts: an erased account never comes
back, a closed one is never requested again, and a stopped consent stays stopped unless the backup has a later consent.
The entries are applied with the same functions as the original events.

If an interrupted restore is run again, it continues. If a complete restore is run again, it changes nothing: for a week
Redis remembers the checksum of the rows that the restore wrote to the registry. After that week, or if these rows have
changed, another run is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from config.settings import Settings
from worker.domain.account import OPEN_STATES, Account, AccountState
from worker.domain.clock import clock_from, real_clock
from worker.domain.documents import ALL_KEYS, key_of
from worker.domain.series import Doctype
from worker.domain.windows import civil_date
from worker.errors import ConsentStopped, StoreUnavailable
from worker.ops.backup_format import Archive, BackupRefused, Checksum, Row, to_line, write_archive
from worker.ops.check_results import missing_sqlite_file
from worker.runtime.consent_parts import build_requests
from worker.runtime.keys import Keys, build_sealer, has_keys, mark_home, open_backup_sealer, refuse_fleet
from worker.runtime.stores import Stores, ledger_file, open_registry, open_stores
from worker.runtime.sync_parts import Sync, build_sync
from worker.stores.database import Database
from worker.stores.encryption import Purpose, Sealer
from worker.stores.erasure_ledger import LedgerEntry, LedgerFile, LedgerKind, LedgerPosition, LedgerRefused
from worker.stores.measures.measure_store import Document, MeasureStore
from worker.stores.redis.pending_consents import ConsentFlows
from worker.stores.registry import Registry, dump, migrations
from worker.stores.registry.key_rotation import TEXT_SEALS
from worker.stores.registry.rights import withdraw_waiting
from worker.sync.history import rebuild_days

PAGE_SIZE: Final = 500  # The largest number of documents in memory, or in one request to the store.
_CLOCK_SKEW: Final = timedelta(minutes=5)  # During a backup, other machines write with clocks that may be behind ours.
FILLED: Final = (
    "nothing was changed: the registry already has accounts; set RELEVE_REGISTRY_URL (or RELEVE_DATA_DIR) to an "
    "empty one"
)
_SEALS_CHECKED: Final = 20
_BATCH: Final = 500  # How many accounts are looked up at once.
_RECORD: Final = "restore"
_RECORD_LIFE_S: Final = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """What was saved; ``accounts`` includes removed accounts, of which only a row is left."""

    file: str
    made_at: str
    accounts: int
    rows: int
    documents: int


def back_up(stores: Stores, path: Path, *, allow_empty: bool = False, without_ledger: bool = False) -> BackupSummary:
    """Write a backup to ``path``; the file appears only when it is complete.

    Raises StoreUnavailable and BackupRefused. Without ``allow_empty``, a registry that has no accounts is refused. A
    restore needs the ledger of erasures. So without ``without_ledger``, LedgerRefused is raised if the ledger can't be
    read or lacks entries that the registry knows of.
    """
    if not allow_empty:
        _require_accounts(stores.registry)
    began = stores.now()
    made_at = began.isoformat(timespec="seconds")
    known = stores.erasure_ledger
    ledger = known.accept() if without_ledger or known.find() is None else known.check()
    with write_archive(path, build_sealer(stores.settings, Purpose.BACKUP), made_at) as archive:
        documents = sum(archive.add(measures_member(doctype), _documents_of(stores, doctype)) for doctype in Doctype)
        with stores.registry.database.snapshot() as connection:
            rows = {table: archive.add(table_member(table), dump.read_rows(connection, table)) for table in dump.TABLES}
            schema, removed = migrations.current_step(connection), _removed_since(connection, began - _CLOCK_SKEW)
        archive.finish(_facts(stores.settings, schema, removed, ledger))
    return BackupSummary(str(path), made_at, rows["accounts"], sum(rows.values()), documents)


def back_up_older_registry(settings: Settings, database: Database, path: Path) -> int:
    """Back up only the registry, whose tables are those of an older version, and return the number of rows.

    The older version can restore the file into an empty registry; the measures stay as they are. Raises the same errors
    as ``back_up``.
    """
    made_at = clock_from(settings.pretend_now)().isoformat(timespec="seconds")
    ledger = ledger_file(settings, Keys(settings)).position()
    with write_archive(path, build_sealer(settings, Purpose.BACKUP), made_at) as archive:
        with database.snapshot() as connection:
            older = dump.describe_older_tables(connection)
            names = [table.name for table in older.sorted_tables]
            rows = sum(archive.add(table_member(name), dump.read_rows(connection, name, older)) for name in names)
            schema = migrations.current_step(connection)
        archive.finish(_facts(settings, schema, [], ledger))
    return rows


def measures_member(doctype: Doctype) -> str:
    return f"measures/{doctype.full_name}"


def table_member(name: str) -> str:
    return f"registry/{name}"


def _facts(settings: Settings, schema: str | None, removed: list[str], ledger: LedgerPosition) -> dict[str, object]:
    """Return the manifest's fields except ``members``.

    The ledger's signature has its own field, because version 0.2.0 refuses a field ``ledger`` that contains it.
    """
    known = {"ledger": {"id": ledger.id, "entries": ledger.entries}, "ledger_signature": ledger.signature}
    return {"schema": schema, "removed_meanwhile": removed, **known, "home": settings.is_home}


def _require_accounts(registry: Registry) -> None:
    with registry.database.reading() as connection:
        if not dump.has_accounts(connection):
            raise BackupRefused(
                f"there is no account to back up ({registry.database.address}): check RELEVE_REGISTRY_URL "
                "and RELEVE_DATA_DIR, or give --allow-empty"
            )


def _documents_of(stores: Stores, doctype: Doctype) -> Iterator[Row]:
    """Yield all documents of all accounts that are not removed, without revisions, account by account."""
    for account in stores.registry.accounts.iterate():
        for document in _read_in_pages(stores.measures, account.id, doctype):
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
    """Return the accounts that were erased since ``moment``. The archive may already contain their measures."""
    accounts = (row for row in dump.read_rows(connection, "accounts") if row["state"] == AccountState.DELETED.value)
    return [row["id"] for row in accounts if datetime.fromisoformat(row["state_since"]) >= moment]


@dataclass(frozen=True)
class CheckedBackup:
    """A complete archive that our keys open, and the entries of the ledger of erasures that was found.

    ``has_its_ledger``: whether this ledger belongs to the backup and is complete.
    """

    archive: Archive
    entries: list[LedgerEntry]
    has_its_ledger: bool

    @property
    def is_home(self) -> bool:
        """Whether the backup is known to be a home's."""
        return bool(self.archive.manifest.get("home"))


@contextmanager
def open_checked(settings: Settings, path: Path, *, without_ledger: bool) -> Iterator[CheckedBackup]:
    """Open the archive at ``path``, and check it and the ledger of erasures.

    Raises BackupRefused, LedgerRefused, ConfigError, and StoreUnavailable if the registry can't be read.
    """
    with Archive.open(path, open_backup_sealer(settings)) as archive:
        step = archive.manifest["schema"]
        if step != migrations.newest_step():
            raise BackupRefused(
                f"{path} comes from another version (schema {step}): restore it with that version, then upgrade"
            )
        archive.check()
        keys = Keys(settings, keep_new=False)
        _check_keys(archive, keys.registry)
        ledger = ledger_file(settings, keys)
        backup = CheckedBackup(archive, *_read_ledger(ledger, archive, without_ledger=without_ledger))
        if backup.is_home and not settings.is_home:
            refuse_fleet(settings)
        _check_registry(settings)
        yield backup


def _check_keys(archive: Archive, sealer: Sealer) -> None:
    """Raise BackupRefused if our keys open none of the sealed values in the first rows of some table.

    A table without sealed values in these rows is accepted.
    """
    for column in TEXT_SEALS:
        table, name, key = column.seals.table.name, column.seals.name, [one.name for one in column.key]
        rows = [row for row in islice(archive.rows(table_member(table)), _SEALS_CHECKED) if row[name]]
        if rows and not any(sealer.can_unseal(row[name], column.place_of(*(row[one] for one in key))) for row in rows):
            raise BackupRefused(
                f"nothing was changed: the key of the {column.label} in {archive.path} is missing; add it to "
                "RELEVE_TOKEN_KEYS, or restore token.keys from the old RELEVE_DATA_DIR"
            )


def _read_ledger(ledger: LedgerFile, archive: Archive, *, without_ledger: bool) -> tuple[list[LedgerEntry], bool]:
    """Return all entries of the ledger, and whether it is the complete ledger that belongs to the backup.

    Raises LedgerRefused if it is not that ledger, unless ``without_ledger``. With ``without_ledger`` the entries of any
    ledger count, because the accounts that they name must not come back.
    """
    try:
        signature = archive.manifest["ledger_signature"]
        return ledger.read_since(LedgerPosition(**archive.manifest["ledger"], signature=signature)), True
    except LedgerRefused as error:
        if not without_ledger:
            raise LedgerRefused(f"nothing was changed: {error}; if it is lost, give --without-ledger") from None
    return ledger.read_all(), False


def _check_registry(settings: Settings) -> None:
    """Raise BackupRefused if the registry has rows, but its keys are missing.

    The restore would otherwise create new keys when it opens this registry. If the keys are there, rows are allowed
    here: an earlier run of the same restore may have written them, which ``_is_already_restored`` checks.
    """
    if has_keys(settings, "token_keys", "erasure_keys") or missing_sqlite_file(settings.registry()):
        return
    with ExitStack() as opened:
        database = open_registry(settings, opened).database
        if migrations.find_step(database) != migrations.newest_step():
            return
        with database.snapshot() as connection:
            if not dump.is_empty(connection):
                raise BackupRefused(FILLED)


@dataclass(slots=True)
class LedgerEffect:
    """How many accounts the ledger has changed in a restored registry."""

    erased: int = 0
    closed: int = 0
    stopped: int = 0


def replay_ledger(stores: Stores, connection: Connection, entries: Iterable[LedgerEntry]) -> LedgerEffect:
    """Apply the entries inside the transaction that fills the registry, and return how many accounts changed.

    The meters of erased accounts are remembered, even if the backup lacks the account.
    """
    replay = _Replay(stores, connection)
    by_account: dict[str, dict[LedgerKind, LedgerEntry]] = {}
    for entry in entries:
        replay.remember(entry)
        latest = by_account.setdefault(entry.account_id, {})
        if entry.kind not in latest or latest[entry.kind].at < entry.at:
            latest[entry.kind] = entry
    names = iter(by_account)
    while batch := list(islice(names, _BATCH)):
        for account in replay.registry.accounts.get_many(batch).values():
            replay.apply(account, {kind: entry.at for kind, entry in by_account[account.id].items()})
    return replay.effect


class _Replay:
    """Applies the ledger's entries inside the transaction, and counts the accounts that change."""

    def __init__(self, stores: Stores, connection: Connection) -> None:
        self.effect = LedgerEffect()
        self.registry = stores.registry.join(connection)
        self._connection = connection
        self._keep_days = stores.settings.keep_consent_proof_days
        self._now = stores.now()

    def remember(self, entry: LedgerEntry) -> None:
        """Remember an erased meter until the entry's ``forget_on``.

        Also schedule the withdrawal of those access rights to the meter that belong to no account.
        """
        if entry.meter is not None:
            withdraw_waiting(self._connection, entry.meter, entry.at)
        if entry.meter is not None and entry.forget_on is not None and entry.forget_on > civil_date(self._now):
            self.registry.erasures.remember(self._connection, entry.meter, entry.at, entry.forget_on, entry.tenant)

    def apply(self, account: Account, moments: dict[LedgerKind, datetime]) -> None:
        """Repeat on a restored account what the ledger says happened to it at these moments."""
        if (erased_at := moments.get(LedgerKind.ERASED)) is not None:
            if account.state is not AccountState.DELETED:
                self.registry.accounts.remove(account.id, self._now)
                self.registry.consents.erase_after_removal(account.id, erased_at, self._keep_days)
                self.effect.erased += 1
        elif account.state not in OPEN_STATES:
            return
        elif (closed_at := moments.get(LedgerKind.CLOSED)) is not None:
            self.registry.consents.close(self._connection, account.id, closed_at)
            self.registry.consents.end_closed(self._connection, account.id, closed_at, None)
            self.effect.closed += 1
        elif not self._has_consented_since(account.id, stopped_at := moments[LedgerKind.STOPPED]):
            self.effect.stopped += account.reason != ConsentStopped.code
            self.registry.consents.withdraw(account.id, stopped_at)

    def _has_consented_since(self, account_id: str, moment: datetime) -> bool:
        proof = self.registry.consents.newest_proofs([account_id]).get(account_id)
        return proof is not None and proof.consented_at > moment


@dataclass(frozen=True, slots=True)
class RestoreSummary:
    """What was restored.

    ``kept``: documents that the store already had in the same or a newer version. ``registry_was_there``: whether an
    earlier run of this restore had filled the registry. ``home``: whether the backup is known to be a home's; if it is,
    the data folder now belongs to a home. ``erasures_unknown_since``: when the backup was made, if its complete
    ledger was not found; otherwise None.
    """

    file: str
    made_at: str
    accounts: int
    rows: int
    documents: int
    kept: int
    registry_was_there: bool
    home: bool
    ended: dump.EndedRights = field(default_factory=dump.EndedRights)
    since_backup: LedgerEffect = field(default_factory=LedgerEffect)
    erasures_unknown_since: str | None = None


def restore(settings: Settings, path: Path, *, without_ledger: bool = False) -> RestoreSummary:
    """Restore the archive at ``path`` into an empty registry and its measure stores.

    A stored document stays if it is as new as the one in the archive, or newer. The ledger of erasures must be the
    ledger that the backup was made with. With ``without_ledger`` it may be another one or missing; if it is missing, a
    new ledger is begun. A home's backup turns the data folder into a home's.

    After BackupRefused, LedgerRefused or ConfigError, nothing was changed. After StoreUnavailable, the restore can be
    run again.
    """
    with open_checked(settings, path, without_ledger=without_ledger) as backup, open_stores(settings) as stores:
        sync = build_sync(stores)
        summary = _restore(stores, sync, backup)
        stores.erasure_ledger.accept()
        if backup.is_home and not settings.is_home:
            mark_home(settings)
        return summary


def _restore(stores: Stores, sync: Sync, backup: CheckedBackup) -> RestoreSummary:
    archive, entries = backup.archive, backup.entries
    name = _name_of(archive, entries)
    was_there = _is_already_restored(stores, name)
    written, kept = _restore_measures(stores.measures, archive, entries)
    # The states and progress in Redis don't belong to this registry and these measures.
    stores.windows.forget_all()
    build_requests(stores).forget_all()
    ConsentFlows(stores.redis).forget_all()
    ended, effect = dump.EndedRights(), LedgerEffect()
    if was_there:
        with stores.registry.database.snapshot() as connection:
            _remember(stores, name, connection)
    else:
        ended, effect = _fill_registry(stores, sync, archive, entries, name)
    return RestoreSummary(
        str(archive.path),
        archive.manifest["made_at"],
        archive.count(table_member("accounts")),
        sum(archive.count(table_member(table)) for table in dump.TABLES),
        written,
        kept,
        was_there,
        backup.is_home,
        ended,
        effect,
        None if backup.has_its_ledger else archive.manifest["made_at"],
    )


# -- Whether this restore has run before


def _name_of(archive: Archive, entries: Iterable[LedgerEntry]) -> str:
    """Return a text that identifies a restore: another archive or another ledger gives another text."""
    facts = [archive.manifest, [(entry.kind, entry.account_id, entry.at.isoformat()) for entry in entries]]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _is_already_restored(stores: Stores, name: str) -> bool:
    """Return whether the registry has exactly the rows that an earlier run of this restore wrote.

    False for an empty registry. Raises BackupRefused if the registry has other rows.
    """
    with stores.registry.database.snapshot() as connection:
        if dump.is_empty(connection):
            return False
        record = json.loads(stores.windows.get_text(_RECORD) or "{}")
        if record != _record_of(name, connection):
            raise BackupRefused(FILLED)
        return True


def _remember(stores: Stores, name: str, connection: Connection) -> None:
    stores.windows.put_text(_RECORD, json.dumps(_record_of(name, connection)), _RECORD_LIFE_S)


def _record_of(name: str, connection: Connection) -> dict[str, Any]:
    """Return what is remembered of a restore: its name, and the checksum of the rows that nothing else fills."""
    checksum = Checksum()
    for table in dump.COMPARED_TABLES:
        for row in dump.read_rows(connection, table):
            checksum.add(to_line(row))
    return {"restore": name, "rows": checksum.to_entry()}


# -- Registry


def _fill_registry(
    stores: Stores, sync: Sync, archive: Archive, entries: list[LedgerEntry], name: str
) -> tuple[dump.EndedRights, LedgerEffect]:
    with stores.registry.database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        if not dump.is_empty(connection):
            raise BackupRefused(FILLED)
        dump.restore_rows(connection, lambda table: archive.rows(table_member(table)))
        ended = dump.end_rights(connection, real_clock())
        effect = replay_ledger(stores, connection, entries)
        _rebuild_newest(stores, sync, archive, connection)
        # The record is written before the rows are committed: a record without rows does no harm, but rows without a
        # record would look like a registry in use.
        _remember(stores, name, connection)
    return ended, effect


def _rebuild_newest(stores: Stores, sync: Sync, archive: Archive, connection: Connection) -> None:
    """Rebuild each ledger of days that was changed during the backup.

    The measures were saved before the registry, so such a ledger may count days whose measures the backup lacks.
    """
    ledgers = stores.registry.join(connection).completeness
    saved_from = datetime.fromisoformat(archive.manifest["made_at"]) - _CLOCK_SKEW
    for account_id, series in ledgers.list_updated_since(saved_from):
        rebuild_days(stores.measures, ledgers, account_id, series, sync.history.today())


# -- Measures


def _restore_measures(measures: MeasureStore, archive: Archive, entries: Iterable[LedgerEntry]) -> tuple[int, int]:
    """Write the documents that the store lacks, except those of erased accounts.

    Return how many documents were written, and how many were already there.
    """
    erased = _erased_since(archive, entries)
    for account_id in sorted(erased):
        measures.erase(account_id)  # An earlier erasure may have been interrupted.
    left_out = erased | set(archive.manifest["removed_meanwhile"])
    counts = [
        _restore_documents(archive.rows(measures_member(doctype)), measures, doctype, left_out) for doctype in Doctype
    ]
    return sum(written for written, _ in counts), sum(kept for _, kept in counts)


def _erased_since(archive: Archive, entries: Iterable[LedgerEntry]) -> set[str]:
    """Return the accounts that are erased according to the ledger, but not according to the archive."""
    erased = {entry.account_id for entry in entries if entry.kind is LedgerKind.ERASED}
    for row in archive.rows(table_member("accounts")) if erased else ():
        if row["state"] == AccountState.DELETED.value:
            erased.discard(row["id"])
    return erased


def _restore_documents(
    rows: Iterable[Row], store: MeasureStore, doctype: Doctype, left_out: Collection[str]
) -> tuple[int, int]:
    """Write the documents that the store lacks; return how many were written, and how many were already there.

    ``left_out``: the accounts whose documents are neither written nor counted.
    """
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
