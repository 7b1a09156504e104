"""How much waits in a queue, asked of a real broker: what paces the night's fan-out must not always be none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ASK = """
from worker.app import app
app.set_current()
from tasks.queues import queue_length
before = queue_length("nightly"), queue_length("backfill")
for number in range(3):
    app.send_task("tasks.upkeep.purge_account", args=(str(number),), queue="nightly")
print(*before, queue_length("nightly"), queue_length("backfill"))
app.control.purge()
"""


def test_waiting_messages_are_counted_queue_by_queue(redis_url: str, tmp_path: Path) -> None:
    database_of_its_own = redis_url.rsplit("/", 1)[0] + "/7"
    env = {"RELEVE_REDIS_URL": database_of_its_own, "RELEVE_DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    asked = subprocess.run(
        [sys.executable, "-c", ASK], env=env, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert asked.stdout.split() == ["0", "0", "3", "0"], asked.stderr[-2000:]
