"""A backup of what can't be had again, and its way back: the registry, and the measures of its accounts.

Redis is left out: what it held is read back from the store.  Measures come first and the registry last.  On the way
out, because a refresh token that was spent after the backup is worth nothing, so the youngest is the best.  On the way
back, because the registry is what a worker starts from: it is filled in one piece when all else is there, so that a
restore that was interrupted is run again and goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from worker.domain.consent.accounts import AccountState
from worker.domain.measures.documents import doctype, key_of
from worker.domain.measures.readings import Period
from worker.errors import OperatorFault, StoreUnavailable
from worker.ops.backup_file import Archive, BackupRefused, Row, sum_of, writing
from worker.runtime.process import Runtime
from worker.stores.encryption import Sealer
from worker.stores.measures.base import Document, MeasureStore
from worker.stores.registry import migrations
from worker.stores.registry.dump import TABLES, fill, is_empty, rows_of, snapshot

_AT_ONCE: Final = 500  # documents, in memory and in a request (W1)
_CLOCKS_APART: Final = timedelta(minutes=5)  # of this machine and of the one where an account is removed
_REGISTRY: Final = "registry/"
_SEALED: Final = (("tokens", "sealed"), ("consent_proofs", "sealed_usage_point"))
_SEALS_TRIED: Final = 20


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """What was saved or brought back, counted; ``kept``: documents that were there already, as old or younger.

    ``registry_was_there``: just as it is in the archive, from a restore before.
    """

    file: str
    made_at: str
    accounts: int
    rows: int
    documents: int
    kept: int = 0
    registry_was_there: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def back_up(runtime: Runtime, path: Path) -> BackupSummary:
    """Write the archive; nothing is at ``path`` until it is whole.  Raises BackupRefused or StoreUnavailable."""
    began = datetime.now(UTC)
    made_at = began.isoformat(timespec="seconds")
    with writing(path) as archive:
        documents = sum(archive.add(_measures(period), _documents_of(runtime, period)) for period in Period)
        with snapshot(runtime.registry.database) as connection:
            rows = {table: archive.add(_table(table), rows_of(connection, table)) for table in TABLES}
            schema, removed = migrations.current_step(connection), _removed_since(connection, began - _CLOCKS_APART)
        archive.finish({"made_at": made_at, "schema": schema, "removed_meanwhile": removed})
    return BackupSummary(str(path), made_at, rows["accounts"], sum(rows.values()), documents)


def restore(runtime: Runtime, path: Path) -> BackupSummary:
    """Bring back what the archive holds, into an empty registry.  Twice is once, and an interrupted one goes on.

    A document that is stored already and not older than the archive's stays.  Raises BackupRefused, then nothing was
    changed, or StoreUnavailable, then it can be run again.
    """
    with Archive.reading(path) as archive:
        step = archive.manifest["schema"]
        if step not in migrations.known_steps():
            raise BackupRefused(f"{path} comes from a later Relève (schema {step}): update this one first")
        archive.check()
        _check_keys(archive, runtime.sealer)
        done = _is_there(archive, runtime)
        removed = frozenset(archive.manifest["removed_meanwhile"])
        counts = [_bring_back(archive.rows(_measures(period)), runtime.measures[period], removed) for period in Period]
        runtime.state.forget_all()  # what it knew of was another store: windows done there may be missing here
        if not done:
            with runtime.registry.database.writing() as connection:
                _refuse_filled(connection)
                fill(connection, step, lambda table: archive.rows(_table(table)))
        members = archive.manifest["members"]
        return BackupSummary(
            str(path),
            archive.manifest["made_at"],
            members[_table("accounts")]["lines"],
            sum(member["lines"] for name, member in members.items() if name.startswith(_REGISTRY)),
            sum(written for written, _ in counts),
            sum(kept for _, kept in counts),
            registry_was_there=done,
        )


# -- out


def _documents_of(runtime: Runtime, period: Period) -> Iterator[Row]:
    """All documents of all accounts but the removed ones, without revisions, account by account."""
    after = None
    while accounts := runtime.registry.page(after):
        after = accounts[-1].id
        for account in accounts:
            for document in _paged(runtime.measures[period], account.id):
                yield {name: value for name, value in document.items() if name == "_id" or name[0] != "_"}


def _paged(store: MeasureStore, account_id: str) -> Iterator[Document]:
    first = "0"
    while page := store.read(account_id, first, "~", _AT_ONCE):
        yield from page
        if len(page) < _AT_ONCE:
            return
        first = f"{key_of(page[-1])} "  # the first text after it


def _removed_since(connection: Connection, moment: datetime) -> list[str]:
    """Accounts whose measures may have got into the archive while they were erased."""
    accounts = (row for row in rows_of(connection, "accounts") if row["state"] == AccountState.DELETED.value)
    return [row["id"] for row in accounts if datetime.fromisoformat(row["state_since"]) >= moment]


# -- and back


def _check_keys(archive: Archive, sealer: Sealer) -> None:
    """A seal or two must open.  Not each: one under a key that was lost long ago must not hold up the rest."""
    for table, column in _SEALED:
        seals = [row[column] for row in islice(archive.rows(_table(table)), _SEALS_TRIED) if row[column]]
        if seals and not any(_opens(sealer, seal) for seal in seals):
            raise BackupRefused(
                f"the {table} in {archive.path} were sealed under a key that is not given: put it into "
                "RELEVE_TOKEN_KEYS, or bring back the file token.keys of the old data_dir; nothing was changed"
            )


def _opens(sealer: Sealer, seal: str) -> bool:
    with suppress(OperatorFault):
        sealer.unseal(seal)
        return True
    return False


def _is_there(archive: Archive, runtime: Runtime) -> bool:
    """Whether the registry holds just what the archive does.  Raises BackupRefused where it holds anything else."""
    with snapshot(runtime.registry.database) as connection:
        if is_empty(connection):
            return False
        told = archive.manifest["members"]
        if all(sum_of(rows_of(connection, table)) == told.get(_table(table)) for table in TABLES):
            return True
        _refuse_filled(connection)
    raise AssertionError("unreachable")


def _refuse_filled(connection: Connection) -> None:
    if not is_empty(connection):
        raise BackupRefused(
            "the registry holds accounts already, and a restore replaces none: point RELEVE_REGISTRY_URL (or "
            "RELEVE_DATA_DIR) at an empty one; nothing was changed"
        )


def _bring_back(rows: Iterable[Row], store: MeasureStore, removed: frozenset[str]) -> tuple[int, int]:
    """How many documents were written, and how many were there already."""
    written = kept = 0
    for account_id, documents in groupby(rows, key=lambda row: str(row["_id"]).partition(":")[0]):
        while page := [dict(row) for row in islice(documents, _AT_ONCE)]:
            if account_id not in removed:
                missing = list(_missing(account_id, page, store))
                if store.write(missing):
                    raise StoreUnavailable("somebody else writes to the store: stop the workers, and run it again")
                written += len(missing)
                kept += len(page) - len(missing)
    return written, kept


def _missing(account_id: str, page: list[Document], store: MeasureStore) -> Iterator[Document]:
    """What is not stored, or is stored in an older state, ready to be written."""
    stored = {document["_id"]: document for document in store.read(account_id, key_of(page[0]), f"{key_of(page[-1])} ")}
    for document in page:
        found = stored.get(document["_id"])
        if found is None:
            yield document
        elif found.get("updated_at", "") < document.get("updated_at", ""):
            yield {**document, "_rev": found["_rev"]}


def _measures(period: Period) -> str:
    return f"measures/{doctype(period)}.ndjson"


def _table(name: str) -> str:
    return f"{_REGISTRY}{name}.ndjson"
