"""The `releve` command: ``main`` has the group, its table and the exit codes; other files, the commands.

Exit codes: 0 success, 1 failure, 2 wrong use, 130 interrupted.  An error is one line that says what to do.
"""

from __future__ import annotations

from worker.cli.main import main

__all__ = ["main"]
