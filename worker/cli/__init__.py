"""The `releve` command: the module ``main`` has the command group and the exit codes, other modules have the commands.

Exit codes: 0 success, 1 failure, 2 wrong use, 130 interrupted. An error is printed as one line that says what to do.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command in ``sys.argv``. `releve health` loads other modules of this package only if it finds a fault."""
    if sys.argv[1:2] == ["health"]:
        from worker.ops.quick_health import is_well

        if is_well(" ".join(sys.argv[2:])):
            return
    from worker.cli.main import main as run

    run()
