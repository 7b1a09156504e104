"""What beat does in a home: a round each two minutes, and nothing of what a home has not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from celery.schedules import crontab

from config.settings import PREFIX

_PROGRAM = """
import json
from config.celery_options import beat_schedule
print(json.dumps({name: entry["schedule"] for name, entry in beat_schedule.items()}, default=str))
"""


def schedule(folder: Path, **settings: str) -> dict[str, float | str]:
    """Return when beat sends each task, by the name of its entry: seconds, or the text of a crontab."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[3]), **settings}
    command = [sys.executable, "-c", _PROGRAM]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return dict(json.loads(ended.stdout))


def test_a_home_has_a_round_each_two_minutes_and_no_consent_pages(tmp_path: Path) -> None:
    fleet, home = schedule(tmp_path), schedule(tmp_path, RELEVE_HOME="true")
    assert fleet["requeue orphans"] == 10.0
    assert fleet.keys() - home.keys() == {
        "conclude requests",
        "withdraw rights",
        "check pending rights",
        "check rights",
    }
    rounds = {when for name, when in home.items() if isinstance(fleet[name], float)}
    assert rounds == {str(crontab(minute="*/2")), str(crontab(minute="*/5"))}, "at one moment: one write to the card"
    assert fleet["nightly sync"] != home["nightly sync"], "a gateway's hours begin at six"
