"""The folder of a worker's counts: it stays while it is in use, and is removed afterwards."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
COUNT = """
import sys
from pathlib import Path
import prometheus_client  # Celery's command line does so too, for Flower.
from worker.ops.metrics_folder import open_folder
folder = open_folder(Path(sys.argv[1]))
from worker.metrics import GATE_CLOSINGS
GATE_CLOSINGS.inc()
print(folder.name, sorted(file.name.split("_")[0] for file in folder.glob("*.db")))
print(*sorted(path.name for path in folder.parent.iterdir() if path != folder))
"""


def test_a_folder_in_use_stays_a_forgotten_one_goes_and_ours_with_us(tmp_path: Path) -> None:
    base = tmp_path / "metrics"
    used, forgotten = base / "worker-used", base / "worker-forgotten"
    for folder in (used, forgotten):
        folder.mkdir(parents=True)
        (folder / "counter_1.db").touch()
    with (used / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lines = subprocess.run(
            [sys.executable, "-c", COUNT, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
    assert lines[0].startswith("worker-") and lines[0].endswith("['counter']")
    assert lines[1].split() == ["lock", "worker-used"]
    assert sorted(path.name for path in base.iterdir()) == ["lock", "worker-used"]
