"""Processor time and memory of a benchmark's processes, from /proc; there are no figures without it (macOS)."""

from __future__ import annotations

import gc
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_LISTENS: Final = "0A"  # The state in /proc/net/tcp.
_TICKS: Final = os.sysconf("SC_CLK_TCK")


def children() -> set[int]:
    """Return the pids of our direct children."""
    return set(_family().get(os.getpid(), []))


def cpu_s(pids: Iterable[int]) -> float:
    """Return the processor seconds used so far by these processes and their running descendants."""
    family = _family()
    return sum(own_cpu_s(pid) for pid in _with_all_below(pids, family))


def listening_at(port: int | None) -> list[int]:
    """Return the pids of the processes that listen at a port of this machine, as far as we may look."""
    lines = [line.split() for line in _read(_PROC / "net/tcp").splitlines()[1:]]
    at_port = (line for line in lines if line[3] == _LISTENS and int(line[1].partition(":")[2], 16) == port)
    sockets = {f"socket:[{line[9]}]" for line in at_port}
    pids = set()
    for link in _PROC.glob("[0-9]*/fd/*"):
        with suppress(OSError):  # The process has ended, or is somebody else's.
            if str(link.readlink()) in sockets:
                pids.add(int(link.parts[2]))
    return sorted(pids)


def peak_rss_mb(pid: int) -> float | None:
    """Return the peak resident memory of a process, in MB (10^6 bytes)."""
    status = _read(_PROC / str(pid) / "status")
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return round(int(line.split()[1]) * 1024 / 1e6, 1) if line else None


def pss_mb(pid: int) -> float:
    """Return the proportional memory of a process, in MB (10^6 bytes): shared pages count in equal parts."""
    lines = _read(_PROC / str(pid) / "smaps_rollup").splitlines()
    return round(sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6, 1)


def command_of(pid: int) -> str:
    """Return the command line of a process."""
    return _read(_PROC / str(pid) / "cmdline").replace("\0", " ")


def reset_peak() -> None:
    """Let our own ``peak_rss_mb`` begin anew, after collecting garbage."""
    gc.collect()
    with suppress(FileNotFoundError):
        (_PROC / "self/clear_refs").write_text("5")  # See clear_refs in proc_pid_clear_refs(5).


def with_all_below(pids: Iterable[int]) -> Iterable[int]:
    """Return these processes and their running descendants."""
    return _with_all_below(pids, _family())


def _with_all_below(pids: Iterable[int], family: Mapping[int, list[int]]) -> Iterable[int]:
    for pid in pids:
        yield pid
        yield from _with_all_below(family.get(pid, []), family)


def _family() -> dict[int, list[int]]:
    """Return the children of each process."""
    family: defaultdict[int, list[int]] = defaultdict(list)
    for folder in _PROC.glob("[0-9]*"):
        if fields := _stat(int(folder.name)):
            family[int(fields[1])].append(int(folder.name))
    return dict(family)


def own_cpu_s(pid: int) -> float:
    """Return the seconds of a process and of its children that have ended."""
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) / _TICKS if fields else 0.0


def _stat(pid: int) -> list[str]:
    """Return the fields behind the program's name, which may hold spaces: state, parent and so on."""
    return _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):  # The process has ended.
        return ""
