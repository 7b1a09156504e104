"""The program that ends process groups whose parent is gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Thread
from typing import Final

from worker.stores.process_guard import end_groups

LATE: Final = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(pathlib.Path(sys.argv[1]).write_text("ended") and 0))
print("ready", flush=True)
while True:
    time.sleep(0.01)
"""


def test_a_process_may_end_by_itself_before_it_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "note"
    with subprocess.Popen(
        [sys.executable, "-c", LATE, note], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        Thread(target=process.wait).start()  # Else the ended process stays a zombie, which the guard waits for.
        end_groups([process.pid])
    assert (note.read_text(), process.returncode) == ("ended", 0)
