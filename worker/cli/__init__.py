"""The `releve` command: ``main`` has the group, its table and the exit codes; other files, the commands.

Exit codes: 0 success, 1 failure, 2 wrong use, 130 interrupted.  An error is one line that says what to do.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command of this process. A health check that finds no fault loads no other file of this package."""
    if sys.argv[1:2] == ["health"]:
        from worker.ops.quick_health import is_well

        if is_well(" ".join(sys.argv[2:])):
            return
    from worker.cli.main import main as run

    run()
