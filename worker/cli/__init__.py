"""The releve command: the same walks as the tasks', by hand.

Exit codes: 0 ok, 1 failed, 2 misuse.  An error is one line that says what to do.
"""

from worker.cli.main import main

__all__ = ["main"]
