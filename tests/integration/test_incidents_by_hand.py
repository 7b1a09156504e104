"""`releve incidents`: listing incidents, opening and closing them by hand, and the replay task after them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

import tasks.upkeep
from config.settings import PREFIX, Settings
from tests.support.commands import CommandResult, run_releve
from tests.support.factories import NOW
from worker.domain.fleet.incidents import FailureCount, IncidentKind
from worker.runtime.process import Runtime


class CommandLine:
    """A command line and a runtime on the same settings."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        base = {"DATA_DIR": str(folder), "REDIS_URL": redis_url, "ENEDIS_URL": "http://127.0.0.1:9"}
        self.settings = {**base, "PRETEND_NOW": NOW.isoformat()}
        values: dict[str, Any] = {name.lower(): text for name, text in self.settings.items()}
        self.runtime = Runtime(Settings.from_env(_env_file=None, **values))

    def __call__(self, *words: str) -> CommandResult:
        return run_releve(
            self.folder, {PREFIX + name: text for name, text in self.settings.items()}, "incidents", *words
        )

    def run_json(self, *words: str) -> list[dict[str, Any]]:
        result = self(*words, "--json")
        assert result.code == 0, result.err
        rows: list[dict[str, Any]] = json.loads(result.out)
        return rows


@pytest.fixture
def releve(tmp_path: Path, redis_url: str) -> Iterator[CommandLine]:
    with Redis.from_url(redis_url) as redis:
        redis.flushdb()
    command_line = CommandLine(tmp_path, redis_url)
    yield command_line
    command_line.runtime.close()


def test_without_any_it_says_so(releve: CommandLine) -> None:
    assert releve().out == "no incident is open, and none is remembered\n"
    assert releve.run_json() == []


def test_one_is_opened_and_closed_by_hand_and_stays_in_the_list(releve: CommandLine) -> None:
    opened = releve.run_json("--open")
    assert [(incident["kind"], incident["series"], incident["open"]) for incident in opened] == [
        ("by_hand", ["daily"], True),
        ("by_hand", ["load_curve"], True),
    ]
    assert "by_hand" in releve().out
    closed = releve.run_json("--close")
    assert {(incident["open"], incident["how"]) for incident in closed} == {(False, "by_hand")}
    assert releve("--close").error_line == "releve: no incident is open"


def test_both_at_once_is_misuse(releve: CommandLine) -> None:
    assert releve("--open", "--close").code == 2


def test_refusals_of_one_that_was_closed_by_hand_are_believed_for_a_day(releve: CommandLine) -> None:
    incidents = releve.runtime.incidents
    assert incidents.open_if_incident(IncidentKind.CONSENT, FailureCount(9, 9))
    releve.run_json("--close")
    with Runtime(releve.runtime.settings) as later:
        assert not later.incidents.may_open(IncidentKind.CONSENT)
        assert later.incidents.may_open(IncidentKind.HOLDER)


def test_what_was_missed_is_asked_for_once_in_the_order_of_treatment(
    releve: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent_tasks: list[str] = []
    monkeypatch.setattr(tasks.upkeep, "get_runtime", lambda: releve.runtime)
    for name in ("resume_backfills", "resume_night", "catch_up", "repair_open_days"):
        monkeypatch.setattr(tasks.upkeep, name, _RecordingTask(name, sent_tasks))
    tasks.upkeep.probe_incidents()
    assert sent_tasks == []
    releve("--open")
    tasks.upkeep.probe_incidents()
    assert sent_tasks == []
    releve("--close")
    tasks.upkeep.probe_incidents()
    assert sent_tasks == ["resume_backfills", "resume_night", "repair_open_days"], (
        "and the catch-up in the afternoon alone"
    )
    del sent_tasks[:]
    tasks.upkeep.probe_incidents()
    assert sent_tasks == []


class _RecordingTask:
    """A task that records its name instead of being sent."""

    def __init__(self, name: str, sent_tasks: list[str]) -> None:
        self.delay = lambda: sent_tasks.append(name)
