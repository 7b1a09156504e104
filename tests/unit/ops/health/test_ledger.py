"""The check of the ledger: it makes nothing, and finds a ledger that can't be written, was changed or has no key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.registries import prepare_registry
from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.ops.check_results import Level
from worker.ops.store_checks import check_ledger
from worker.stores.encryption import KeyedHashes
from worker.stores.erasure_ledger import LedgerEntry, LedgerFile, LedgerKind
from worker.stores.registry.known_ledger import KnownLedger

KEY = "k" * 48
NOW = datetime(2024, 7, 25, 9, tzinfo=UTC)


def filled_ledger(folder: Path) -> Path:
    path = folder / "ledger.ndjson"
    LedgerFile(path, KeyedHashes([KEY])).append(LedgerEntry(LedgerKind.STOPPED, "h4t8q2mxk0ra", NOW))
    return path


def test_a_ledger_that_is_not_there_yet_is_not_made(build_connections: BuildConnections, tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.ndjson"
    assert_result(check_ledger(build_connections(ledger_file=path)), Level.OK, "none yet")
    assert list(tmp_path.iterdir()) == []


def test_its_entries_are_counted(build_connections: BuildConnections, tmp_path: Path) -> None:
    path = filled_ledger(tmp_path)
    connections = build_connections(ledger_file=path, erasure_keys=KEY)
    assert_result(check_ledger(connections), Level.OK, "1 entries")


def test_a_changed_line_is_found(build_connections: BuildConnections, tmp_path: Path) -> None:
    path = filled_ledger(tmp_path)
    path.write_text(path.read_text().replace("h4t8q2mxk0ra", "another"))
    assert_result(check_ledger(build_connections(ledger_file=path, erasure_keys=KEY)), Level.FAIL, "line 2")


def test_a_ledger_that_can_not_be_written_is_found(build_connections: BuildConnections, tmp_path: Path) -> None:
    (tmp_path / "ledger.ndjson").mkdir()
    connections = build_connections(erasure_keys=KEY)
    assert_result(check_ledger(connections), Level.FAIL, "can't be written", "RELEVE_LEDGER_FILE")


def test_a_ledger_without_its_keys_is_found_and_no_new_key_is_made(
    build_connections: BuildConnections, tmp_path: Path
) -> None:
    path = filled_ledger(tmp_path)
    assert_result(check_ledger(build_connections(ledger_file=path)), Level.FAIL, "RELEVE_ERASURE_KEYS")
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.ndjson"]


@pytest.mark.parametrize("is_gone", [False, True], ids=["a line is gone", "the file is gone"])
def test_o6_what_the_registry_knows_of_and_the_ledger_lacks_is_found(
    build_connections: BuildConnections, tmp_path: Path, is_gone: bool
) -> None:
    prepare_registry(tmp_path)
    path, url = filled_ledger(tmp_path), f"sqlite:///{tmp_path / 'registry.db'}"
    connections = build_connections(ledger_file=path, erasure_keys=KEY, registry_url=url)
    ledger = KnownLedger(connections.registry.database, LedgerFile(path, KeyedHashes([KEY])))
    ledger.append(LedgerEntry(LedgerKind.STOPPED, "another", NOW))
    assert_result(check_ledger(connections), Level.OK, "2 entries")
    ledger.file.append(LedgerEntry(LedgerKind.STOPPED, "not committed", NOW))
    assert_result(check_ledger(connections), Level.OK, "3 entries")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    if is_gone:
        path.unlink()
    assert_result(check_ledger(connections), Level.FAIL, "put its newest copy back", "`releve backup --without-ledger`")
    assert path.exists() is not is_gone
