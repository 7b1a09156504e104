"""A drill counts repeats in the workers' log lines, so these tests fix the form of those lines."""

from __future__ import annotations

import logging
from pathlib import Path

from drill.run import count_repeats
from tests.support.factories import NOW
from worker.domain.messages import AnswerFacts, WindowResult
from worker.logs import ConsoleFormatter
from worker.sync.results import _stored_fields


def log_line(run_id: str, updated: int) -> str:
    facts = AnswerFacts(
        fetched=30,
        asked_at=NOW.timestamp(),
        fetched_at="",
        dropped=0,
        differing=0,
        left_out=0,
        set_aside={},
        last_day=None,
        floor=None,
        activated_on=None,
        lacks=[],
        open={},
    )
    report = WindowResult(
        account_id="home1",
        series="daily",
        start="2024-10-05",
        end="2024-11-04",
        run_id=run_id,
        claim=None,
        created=1,
        updated=updated,
        removed=0,
        unchanged=2,
        left_out=0,
        seen="",
        late_days=[],
        facts=facts,
    )
    record = {"name": "releve.sync", "levelname": "INFO", "msg": "window stored", "fields": _stored_fields(report, NOW)}
    return ConsoleFormatter().format(logging.makeLogRecord(record)) + "\n"


def test_a_window_of_one_run_that_is_told_twice_was_stored_twice(tmp_path: Path) -> None:
    (tmp_path / "worker-1.log").write_text(log_line("r1", 5) + "something else\n" + log_line("r2", 0))
    (tmp_path / "worker-2.log").write_text(log_line("r1", 2))
    (tmp_path / "beat.log").write_text(log_line("r9", 9))
    assert count_repeats(tmp_path, calls=7) == {
        "windows": 2,
        "windows_stored_again": 1,
        "calls": 7,
        "calls_beyond_one_a_window": 5,
        "documents_updated": 7,
    }
