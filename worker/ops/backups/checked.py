"""A backup that was checked before a restore opens a store or makes a file: what is refused leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from config.settings import Settings
from worker.ops.backups.archive import Archive, BackupRefused
from worker.ops.backups.create import table_member
from worker.ops.health.connections import missing_sqlite_file
from worker.runtime.home_mark import refuse_fleet
from worker.runtime.keys import build_erasure_hashes, build_sealer, has_registry_keys, open_backup_sealer
from worker.runtime.stores import open_database
from worker.stores.encryption import Purpose, Sealer
from worker.stores.erasure_ledger import LedgerEntry, LedgerFile, LedgerPosition, LedgerRefused
from worker.stores.registry import migrations
from worker.stores.registry.dump import is_empty, open_snapshot
from worker.stores.registry.key_rotation import TEXT_SEALS

FILLED: Final = (
    "nothing was changed: the registry already has accounts; set RELEVE_REGISTRY_URL (or RELEVE_DATA_DIR) to an "
    "empty one"
)
_SEALS_CHECKED: Final = 20


@dataclass(frozen=True)
class CheckedBackup:
    """A whole archive that our keys open, with all entries of the ledger of erasures.

    ``has_its_ledger``: whether the ledger is the backup's own and whole.
    """

    archive: Archive
    entries: list[LedgerEntry]
    has_its_ledger: bool

    @property
    def is_home(self) -> bool:
        """Whether it is known to be a home's."""
        return bool(self.archive.manifest.get("home"))


@contextmanager
def open_checked(settings: Settings, path: Path, *, without_ledger: bool) -> Iterator[CheckedBackup]:
    """Open the archive at ``path``, and check it and the ledger of erasures.

    Raises BackupRefused, LedgerRefused, ConfigError, and StoreUnavailable where the registry can't be looked at.
    """
    with Archive.open(path, open_backup_sealer(settings)) as archive:
        step = archive.manifest["schema"]
        if step != migrations.newest_step():
            raise BackupRefused(
                f"{path} comes from another version (schema {step}): restore it with that version, then upgrade"
            )
        archive.check()
        _check_keys(archive, build_sealer(settings, Purpose.REGISTRY, keep_new=False))
        ledger = LedgerFile(settings.ledger(), build_erasure_hashes(settings, keep_new=False))
        backup = CheckedBackup(archive, *_read_ledger(ledger, archive, without_ledger=without_ledger))
        if backup.is_home and not settings.is_home:
            refuse_fleet(settings)
        _check_registry(settings)
        yield backup


def _check_keys(archive: Archive, sealer: Sealer) -> None:
    """Raise BackupRefused where our keys open none of the first sealed values of a table.

    One value that opens is enough: a value under a key that was lost long ago must not block the others.
    """
    for column in TEXT_SEALS:
        table, name, key = column.seals.table.name, column.seals.name, column.key.name
        rows = [row for row in islice(archive.rows(table_member(table)), _SEALS_CHECKED) if row[name]]
        if rows and not any(sealer.can_unseal(row[name], column.place_of(row[key])) for row in rows):
            raise BackupRefused(
                f"nothing was changed: the key of the {table} in {archive.path} is missing; add it to "
                "RELEVE_TOKEN_KEYS, or restore token.keys from the old RELEVE_DATA_DIR"
            )


def _read_ledger(ledger: LedgerFile, archive: Archive, *, without_ledger: bool) -> tuple[list[LedgerEntry], bool]:
    """Return all entries of the ledger, and whether it is the backup's own and whole.

    With ``without_ledger`` whatever ledger is there is applied too: an account that it names must not come back.
    Raises LedgerRefused.
    """
    try:
        return ledger.read_since(LedgerPosition(**archive.manifest["ledger"])), True
    except LedgerRefused as error:
        if not without_ledger:
            raise LedgerRefused(f"nothing was changed: {error}; if it is lost, give --without-ledger") from None
    return ledger.read_all(), False


def _check_registry(settings: Settings) -> None:
    """Raise BackupRefused for a filled registry without its keys: opening it as usual would make new ones.

    Where they are at hand, an earlier run of the same restore may have filled it, which Redis knows.
    """
    if has_registry_keys(settings) or missing_sqlite_file(settings.registry()):
        return
    with ExitStack() as opened:
        database = open_database(settings, opened)
        if migrations.find_step(database) != migrations.newest_step():
            return
        with open_snapshot(database) as connection:
            if not is_empty(connection):
                raise BackupRefused(FILLED)
