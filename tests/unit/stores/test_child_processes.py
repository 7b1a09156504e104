"""The logs of children: what is told of one that has ended, and how long they grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.stores import child_processes
from worker.stores.child_processes import bound_log, last_log_line


def test_the_last_line_of_a_log_is_the_last_one_with_words(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    assert last_log_line(None) == last_log_line(log) == ""
    log.write_bytes(b"started\nport 6379 is taken \xff\n\n  \n")
    assert last_log_line(log) == "port 6379 is taken \ufffd"
    log.write_text("\n")
    assert last_log_line(log) == ""


def test_a_long_log_is_kept_twice_and_emptied_for_those_who_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_processes, "LOG_BYTES", 10)
    log = tmp_path / "child.log"
    bound_log(log)
    with log.open("ab", buffering=0) as child:
        for text in (b"short", b"first run", b"second run of it", b"third run of it"):
            child.write(text)
            bound_log(log)
        child.write(b"end")
    texts = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert texts == {"child.log": "end", "child.log.1": "third run of it", "child.log.2": "second run of it"}


def test_a_log_that_the_disk_has_no_room_to_copy_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "child.log"
    with log.open("wb") as sparse:
        sparse.truncate(2 * 10**12)
    monkeypatch.setattr(child_processes, "LOG_BYTES", 10**12)
    bound_log(log)
    assert [path.name for path in tmp_path.iterdir()] == ["child.log"] and log.stat().st_size == 2 * 10**12
