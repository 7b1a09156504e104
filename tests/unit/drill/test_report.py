"""The report: repeats, by the workers' log lines, whose form these tests fix; both recoveries; what was left out."""

from __future__ import annotations

import logging
from pathlib import Path
from unittest.mock import patch

from drill.faults import FaultKind, possible_kinds
from drill.run import DrillReport, Recovery, count_repeats
from tests.support.factories import NOW
from worker.domain.messages import AnswerFacts, WindowResult
from worker.logs import ConsoleFormatter
from worker.sync import results


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
    with patch.object(results.log, "info") as told:
        results._log_stored(report, NOW)
    record = {
        "name": "releve.sync",
        "levelname": "INFO",
        "msg": told.call_args.args[0],
        **told.call_args.kwargs["extra"],
    }
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


def test_a_report_says_in_one_line_what_the_run_left_out() -> None:
    possible = possible_kinds("sqlite")
    asked_for = (FaultKind.KILL_BEAT, FaultKind.REDIS_CUT)
    report = DrillReport(1, 2, "sqlite", "enedis-2026", possible=possible, asked_for=asked_for, injected={asked_for[0]})
    impossible, not_asked, no_time = report.as_json()["left_out"].split("; ")
    assert impossible.startswith("not possible with this store: couchdb killed, couchdb slow, ")
    assert not_asked.startswith("not asked for: worker killed between two touches of the store, ")
    assert no_time == "no time or no process for: redis connections cut"
    report.asked_for = report.possible = report.injected = {*FaultKind}
    assert report.as_json()["left_out"] == "no kind of fault"


def test_a_recovery_in_time_is_judged_from_the_last_fault_and_told_from_the_first_too() -> None:
    slow = Recovery(FaultKind.KILL_BEAT, 10.0, NOW, {}, 100.0, overlapped=True, done_s=131.0)
    report = DrillReport(1, 2, "sqlite", "enedis-2026", recoveries=[slow])
    told = report.as_json()
    assert (told["recovered_in_time"], told["longest_s"], told["longest_in_all_s"]) == (True, 31.0, 121.0)
    slow.done_s = 161.0
    assert not report.as_json()["recovered_in_time"]
    slow.done_s = None
    assert not report.as_json()["recovered_in_time"]
