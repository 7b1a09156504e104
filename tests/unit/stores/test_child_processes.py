"""What is told of a child that has ended."""

from __future__ import annotations

from pathlib import Path

from worker.stores.child_processes import last_log_line


def test_the_last_line_of_a_log_is_the_last_one_with_words(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    assert last_log_line(None) == last_log_line(log) == ""
    log.write_bytes(b"started\nport 6379 is taken \xff\n\n  \n")
    assert last_log_line(log) == "port 6379 is taken \ufffd"
    log.write_text("\n")
    assert last_log_line(log) == ""
