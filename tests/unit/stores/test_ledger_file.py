"""The ledger of erasures: append-only, signed, complete or refused."""

from __future__ import annotations

import resource
import signal
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tests.support.processes import NEW_PROCESSES
from worker.errors import StoreUnavailable
from worker.stores.encryption import KeyedHashes
from worker.stores.erasure_ledger import LedgerEntry, LedgerFile, LedgerKind, LedgerRefused

OLD, NEW = "o" * 40, "n" * 40
AT = datetime(2024, 7, 25, 7, tzinfo=UTC)


def erased(account_id: str) -> LedgerEntry:
    return LedgerEntry(LedgerKind.ERASED, account_id, AT, "9f86" * 16, date(2027, 7, 24))


@pytest.fixture
def ledger(tmp_path: Path) -> LedgerFile:
    return LedgerFile(tmp_path / "kept" / "ledger.ndjson", KeyedHashes([OLD]))


def test_what_was_appended_is_read_in_its_order(ledger: LedgerFile) -> None:
    start = ledger.position()
    entries = [erased("a"), LedgerEntry(LedgerKind.STOPPED, "b", AT), LedgerEntry(LedgerKind.CLOSED, "c", AT)]
    for entry in entries:
        ledger.append(entry)
    assert ledger.read_since(start) == entries
    assert ledger.position().entries == 3
    assert ledger.path.stat().st_mode & 0o777 == 0o600


def test_a_new_key_reads_what_was_signed_under_the_one_before(ledger: LedgerFile) -> None:
    start = ledger.position()
    ledger.append(erased("a"))
    rotated = LedgerFile(ledger.path, KeyedHashes([NEW, OLD]))
    rotated.append(erased("b"))
    assert [entry.account_id for entry in rotated.read_since(start)] == ["a", "b"]
    with pytest.raises(LedgerRefused, match="line 3"):
        ledger.read_since(start)


def test_a_changed_line_is_named(ledger: LedgerFile) -> None:
    start = ledger.position()
    ledger.append(erased("a"))
    ledger.path.write_text(ledger.path.read_text().replace('"account":"a"', '"account":"z"'))
    with pytest.raises(LedgerRefused, match="line 2"):
        ledger.read_since(start)


def test_another_ledger_and_a_shorter_one_are_refused(ledger: LedgerFile, tmp_path: Path) -> None:
    ledger.append(erased("a"))
    position = ledger.position()
    other = LedgerFile(tmp_path / "other.ndjson", KeyedHashes([OLD]))
    other.append(erased("a"))
    with pytest.raises(LedgerRefused, match="not the ledger of this backup"):
        other.read_since(position)
    ledger.path.write_text(ledger.path.read_text().splitlines(keepends=True)[0])
    with pytest.raises(LedgerRefused, match="lost entries"):
        ledger.read_since(position)


@pytest.mark.parametrize("content", ["", "no json\n", "[1]\n", '{"ledger":"x"}\n', "\x00"])
def test_a_file_that_is_no_ledger_is_refused_in_one_line(ledger: LedgerFile, content: str) -> None:
    start = ledger.position()
    ledger.path.write_text(content)
    with pytest.raises(LedgerRefused, match=r"^[^\n]+$"):
        ledger.read_since(start)


def test_a_missing_ledger_is_refused_where_it_is_read(ledger: LedgerFile) -> None:
    start = ledger.position()
    ledger.path.unlink()
    with pytest.raises(LedgerRefused, match="there is no ledger"):
        ledger.read_since(start)


def test_a_line_that_a_crash_cut_off_is_dropped_by_the_next_entry(ledger: LedgerFile) -> None:
    start = ledger.position()
    ledger.append(erased("a"))
    with ledger.path.open("a") as file:
        file.write('{"account":"half')
    assert [entry.account_id for entry in ledger.read_since(start)] == ["a"], "a copy may end so"
    ledger.append(erased("b"))
    assert [entry.account_id for entry in ledger.read_since(start)] == ["a", "b"]


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="RELEVE_LEDGER_FILE"):
        LedgerFile(tmp_path / "file" / "ledger.ndjson", KeyedHashes([OLD])).append(erased("a"))


def _append_on_a_full_disk(path: Path, room: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = path.stat().st_size + room
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    with pytest.raises(StoreUnavailable, match="can't be written"):
        LedgerFile(path, KeyedHashes([OLD])).append(erased("b"))


@pytest.mark.parametrize("room", [1, 60])
def test_an_entry_that_a_full_disk_cut_off_is_no_entry_and_is_told(ledger: LedgerFile, room: int) -> None:
    start = ledger.position()
    ledger.append(erased("a"))
    before = ledger.path.read_bytes()
    writer = NEW_PROCESSES.Process(target=_append_on_a_full_disk, args=(ledger.path, room))
    writer.start()
    writer.join()
    assert writer.exitcode == 0
    assert ledger.path.read_bytes() == before
    assert ledger.read_since(start) == [erased("a")]


def _append_many(path: Path, name: str) -> None:
    for number in range(20):
        LedgerFile(path, KeyedHashes([OLD])).append(erased(f"{name}{number}"))


def test_processes_append_at_once_and_lose_nothing(ledger: LedgerFile) -> None:
    writers = [NEW_PROCESSES.Process(target=_append_many, args=(ledger.path, name)) for name in "xyz"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    entries = ledger.read_since(ledger.position())
    assert {entry.account_id for entry in entries} == {f"{name}{number}" for name in "xyz" for number in range(20)}
