"""Ends process groups once the one who started them is gone, however it went: kill -9 included.

A program of its own that imports nothing of ours.  It reads ``+<group>`` and ``-<group>`` lines; the end of its
input is the end of its parent.  Linux could do this with PR_SET_PDEATHSIG, but for one thread and no
grandchild; a pipe does it for whole groups, and on macOS too.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE_S = 5.0
POLL_S = 0.05


def main() -> None:
    groups: list[int] = []
    for line in sys.stdin:
        if line.startswith("+"):
            groups.insert(0, int(line[1:]))  # last started, first ended
        else:
            groups.remove(int(line[1:]))
    end_groups(groups)


def end_groups(groups: Iterable[int]) -> None:
    """Ask each to end, and make those that did not within the grace."""
    left = [group for group in groups if reach(group, signal.SIGTERM)]
    give_up = time.monotonic() + GRACE_S
    while left and time.monotonic() < give_up:
        time.sleep(POLL_S)
        left = [group for group in left if reach(group, 0)]
    for group in left:
        reach(group, signal.SIGKILL)


def reach(group: int, number: int) -> bool:
    """Send a signal to a process group; false where none of it is left."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group of zombies
        return False
    return True


if __name__ == "__main__":
    main()
