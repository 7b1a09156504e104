"""``celery -A tests.acceptance.killing``: a worker that one account's answers end, as the kernel does for memory.

RELEVE_TEST_KILLED names a file with the id of that account.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from worker.app import app
from worker.sync.window import WindowSync

__all__ = ["app"]

if "RELEVE_TEST_PREFORK" in os.environ:
    app.conf.worker_pool = "prefork"
_fetch = WindowSync.fetch


def fetch(self: WindowSync, job: Any) -> Any:
    file = Path(os.environ["RELEVE_TEST_KILLED"])
    if file.exists() and file.read_text() == job["account_id"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return _fetch(self, job)


setattr(WindowSync, "fetch", fetch)  # noqa: B010 - only this worker ends so
