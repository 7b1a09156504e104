"""The runtime of this process, for tasks: importing a task loads neither stores nor clients."""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING

from config.settings import get_settings

if TYPE_CHECKING:
    from worker.runtime.process import Runtime


_lock = threading.Lock()
_runtime: tuple[int, Runtime] | None = None


def get_runtime() -> Runtime:
    """Return the runtime of this process, built at first use: a forked child builds its own."""
    from worker.runtime.process import Runtime

    global _runtime  # noqa: PLW0603 - one a process is the point
    with _lock:
        if _runtime is None or _runtime[0] != os.getpid():
            _runtime = (os.getpid(), Runtime(get_settings(), guarded=True))
            atexit.register(_runtime[1].close)
        return _runtime[1]
