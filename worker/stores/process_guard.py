"""A program that ends process groups when the process that started them is gone, even after kill -9.

The program imports none of our other modules. It reads lines from its standard input: ``+4711`` watches process group
4711, ``-4711`` stops watching it, and ``>4711`` watches a group that is ended after all others. The end of the input
means that the parent has ended. Linux's PR_SET_PDEATHSIG is no alternative, because it depends on one thread of the
parent and ignores grandchildren; a pipe works for whole groups, and on macOS, too.
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
    groups, last = list[int](), list[int]()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("-"):
            (last if group in last else groups).remove(group)
        else:
            (groups if line.startswith("+") else last).insert(0, group)  # The group started last is ended first.
    end_groups(groups)
    end_groups(last)


def end_groups(groups: Iterable[int]) -> None:
    """End the groups with SIGTERM; kill those that still run after ``GRACE_S``."""
    running = [group for group in groups if signal_group(group, signal.SIGTERM)]
    deadline = time.monotonic() + GRACE_S
    while running and time.monotonic() < deadline:
        time.sleep(POLL_S)
        running = [group for group in running if signal_group(group, 0)]
    for group in running:
        signal_group(group, signal.SIGKILL)


def signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; return whether the group still had a process."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS raises PermissionError for a group of zombies.
        return False
    return True


if __name__ == "__main__":
    main()
