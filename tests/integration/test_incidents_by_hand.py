"""`releve incidents`: listing incidents, opening and closing them by hand, and the replay task after them."""

from __future__ import annotations

import pytest

import tasks.upkeep
from tests.support.installation import Installation
from worker.runtime.process import Runtime


def test_without_any_it_says_so(installation: Installation) -> None:
    assert installation.releve("incidents").out == "no incident is open, and none is remembered\n"
    assert installation.query("incidents") == []


def test_one_is_opened_and_closed_by_hand_and_stays_in_the_list(installation: Installation) -> None:
    opened = installation.query("incidents", "--open")
    assert [(incident["kind"], incident["series"], incident["open"]) for incident in opened] == [
        ("by_hand", ["daily"], True),
        ("by_hand", ["load_curve"], True),
    ]
    assert "by_hand" in installation.releve("incidents").out
    closed = installation.query("incidents", "--close")
    assert {(incident["open"], incident["how"]) for incident in closed} == {(False, "by_hand")}
    assert installation.run("incidents", "--close").error_line == "releve: no incident is open"


def test_both_at_once_is_misuse(installation: Installation) -> None:
    assert installation.run("incidents", "--open", "--close").code == 2


def test_what_was_missed_is_asked_for_once_in_the_order_of_treatment(
    installation: Installation, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent_tasks: list[str] = []
    monkeypatch.setattr(tasks.upkeep, "get_runtime", lambda: runtime)
    for name in ("resume_backfills", "resume_night", "catch_up", "repair_open_days"):
        monkeypatch.setattr(tasks.upkeep, name, _RecordingTask(name, sent_tasks))
    tasks.upkeep.probe_incidents()
    assert sent_tasks == []
    installation.releve("incidents", "--open")
    tasks.upkeep.probe_incidents()
    assert sent_tasks == []
    installation.releve("incidents", "--close")
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
