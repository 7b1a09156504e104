"""What the registry knows of the ledger of erasures, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.registries import NOW
from worker.stores.encryption import KeyedHashes
from worker.stores.erasure_ledger import LedgerEntry, LedgerFile, LedgerKind, LedgerRefused
from worker.stores.registry import Registry
from worker.stores.registry.known_ledger import KnownLedger

HASHES = KeyedHashes(["k" * 40])


def entry(name: str) -> LedgerEntry:
    return LedgerEntry(LedgerKind.STOPPED, name, NOW)


@pytest.fixture
def ledger(registry: Registry, tmp_path: Path) -> KnownLedger:
    return KnownLedger(registry.database, LedgerFile(tmp_path / "ledger.ndjson", HASHES))


def test_an_entry_is_in_the_file_first_and_counts_once_its_transaction_is_committed(
    registry: Registry, ledger: KnownLedger
) -> None:
    assert ledger.find() is None
    ledger.append(entry("a"))
    with pytest.raises(ZeroDivisionError), registry.database.writing() as connection:
        ledger.append(entry("b"), connection)
        raise ZeroDivisionError
    known = ledger.find()
    assert known is not None and (known.entries, ledger.file.position().entries) == (1, 2)
    with registry.database.writing() as connection:
        ledger.append(entry("c"), connection)
    assert ledger.find() == ledger.check() == ledger.file.position()


def test_entries_of_several_threads_at_once_are_all_counted(ledger: KnownLedger) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ledger.append, map(entry, "abcdefghijkl")))
    ledger.append(entry("last"))
    assert ledger.find() == ledger.check() and ledger.check().entries == 13


@pytest.mark.parametrize("lost", [0, 1, 2], ids=["the first line", "a middle one", "the last one"])
def test_o6_later_entries_do_not_hide_that_one_is_missing(ledger: KnownLedger, lost: int) -> None:
    for name in "abc":
        ledger.append(entry(name))
    lines = ledger.file.path.read_text().splitlines(keepends=True)
    del lines[1 + lost]
    ledger.file.path.write_text("".join(lines))
    for name in "defgh":
        ledger.append(entry(name))
        with pytest.raises(LedgerRefused, match="has lost entries"):
            ledger.check()
    assert ledger.accept() == ledger.check() == ledger.find()


def test_o6_a_ledger_that_was_begun_anew_is_another_one_until_it_is_accepted(ledger: KnownLedger) -> None:
    ledger.append(entry("a"))
    ledger.file.path.unlink()
    ledger.append(entry("b"))
    with pytest.raises(LedgerRefused, match="is another ledger"):
        ledger.check()
    ledger.accept()
    ledger.append(entry("c"))
    assert ledger.check().entries == 2
