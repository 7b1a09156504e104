"""The ledger of erasures: append-only, signed, complete or refused."""

from __future__ import annotations

import json
import resource
import signal
from dataclasses import replace
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
    with pytest.raises(LedgerRefused, match="is another ledger"):
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


# The chain


def lines_of(ledger: LedgerFile) -> list[str]:
    return ledger.path.read_text().splitlines(keepends=True)


def write_as_before(ledger: LedgerFile, account_id: str) -> None:
    """Append an entry as release 0.2.0 does, which knows no chain."""
    text = json.dumps({"account": account_id, "at": AT.isoformat(), "kind": "stopped"}, separators=(",", ":"))
    signed = {**json.loads(text), "signature": KeyedHashes([OLD]).hash("ledger", text)}
    with ledger.path.open("a") as file:
        file.write(json.dumps(signed, separators=(",", ":")) + "\n")


def test_o6_each_line_names_the_signature_of_the_one_before_under_its_own_signature(ledger: LedgerFile) -> None:
    for name in "abc":
        ledger.append(erased(name))
    rows = [json.loads(line) for line in lines_of(ledger)]
    assert [row.get("before") for row in rows] == [None, *(row["signature"] for row in rows[:-1])]
    ledger.path.write_text(ledger.path.read_text().replace(rows[1]["signature"], rows[0]["signature"]))
    with pytest.raises(LedgerRefused, match="line 2"):
        ledger.read_all()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_o6_a_line_that_is_missing_since_the_position_is_noticed(ledger: LedgerFile, number: int) -> None:
    start = ledger.position()
    for name in "abcd":
        ledger.append(erased(name))
    lines = lines_of(ledger)
    ledger.path.write_text("".join(lines[:number] + lines[number + 1 :]))
    with pytest.raises(LedgerRefused, match=f"line {number + 1} "):
        ledger.read_since(start)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_o6_a_line_that_is_missing_before_the_position_is_noticed_even_where_others_were_written_since(
    ledger: LedgerFile, number: int
) -> None:
    for name in "abc":
        ledger.append(erased(name))
    position = ledger.position()
    lines = lines_of(ledger)
    ledger.path.write_text("".join(lines[:number] + lines[number + 1 :]))
    ledger.append(erased("d"))
    ledger.append(erased("e"))
    with pytest.raises(LedgerRefused, match="has lost entries"):
        ledger.read_since(position)


def test_o6_lines_of_release_0_2_0_stay_valid_and_their_count_is_what_protects_them(ledger: LedgerFile) -> None:
    ledger.position()
    for name in "abc":
        write_as_before(ledger, name)
    position = ledger.position()
    write_as_before(ledger, "d")
    ledger.append(erased("e"))
    assert [entry.account_id for entry in ledger.read_since(position)] == list("abcde")
    lines = lines_of(ledger)
    for spoilt in (lines[:2] + lines[3:], [*lines[:2], lines[1], *lines[3:]]):
        ledger.path.write_text("".join(spoilt))
        with pytest.raises(LedgerRefused, match=r"has lost entries|damaged at line 3"):
            ledger.read_since(position)


def test_o6_a_line_without_its_link_is_refused_after_one_that_has_it(ledger: LedgerFile) -> None:
    start = ledger.position()
    ledger.append(erased("a"))
    write_as_before(ledger, "b")
    with pytest.raises(LedgerRefused, match=r"line 3 .* 0\.2\.0 .* stop its processes"):
        ledger.read_since(start)


def test_o6_release_0_2_0_reads_the_chain(ledger: LedgerFile) -> None:
    """It signs all fields of a line but the signature, reads those that it knows, and passes over the others."""
    ledger.append(replace(erased("a"), tenant="alpha"))
    for line in lines_of(ledger):
        row = json.loads(line)
        signature = row.pop("signature")
        text = json.dumps(row, sort_keys=True, separators=(",", ":"))
        assert KeyedHashes([OLD]).matches("ledger", text, signature)
    assert {"before", "tenant"} <= set(row) and (row["account"], row["kind"]) == ("a", "erased")
    assert ledger.read_all()[0].tenant == "alpha"
