"""Report of a drill, and the counts of repeated work in the workers' logs."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from worker.cli.totals_check import Differences

_RECOVER_S: Final = 60.0
# Example of such a line: "window stored account_id=… series=daily … fetched=30 … updated=2".
_STORED: Final = re.compile(r"window stored (account_id=\w+ series=\w+ .*?) fetched=.* updated=(\d+)")


@dataclass
class DrillReport:
    """Result of a drill, as ``--json`` prints it."""

    seed: int
    minutes: float
    store: str
    preset: str
    accounts: int = 0
    documents: int = 0
    seconds: float = 0.0
    kills: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list)
    differences: Differences = field(default_factory=Differences)
    stuck: int = 0
    settled_s: float = 0.0
    repeated: dict[str, int] = field(default_factory=dict)
    ended_by_themselves: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing is lost, doubled or wrong, and no account is stuck."""
        return not self.differences and not self.stuck

    @property
    def recovered_in_time(self) -> bool:
        """Whether every fault was recovered from within a minute."""
        return all(fault["seconds"] is not None and fault["seconds"] < _RECOVER_S for fault in self.faults)

    def summarize_faults(self) -> dict[str, dict[str, Any]]:
        """Return for each kind its count and the seconds to recover, median and longest."""
        by_kind: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for fault in self.faults:
            by_kind[fault["kind"]].append(fault)
        return {kind: _summarize(by_kind[kind]) for kind in sorted(by_kind)}

    def as_json(self) -> dict[str, Any]:
        """Return the report as ``--json`` prints it."""
        return {
            "ok": self.ok,
            "seed": self.seed,
            "minutes": self.minutes,
            "store": self.store,
            "preset": self.preset,
            "accounts": self.accounts,
            "documents": self.documents,
            "kills": self.kills,
            **self.differences.as_json(),
            "stuck": self.stuck,
            "recovered_in_time": self.recovered_in_time,
            "settled_s": round(self.settled_s, 1),
            "seconds": round(self.seconds, 1),
            "repeated": self.repeated,
            "ended_by_themselves": self.ended_by_themselves,
            "faults": self.summarize_faults(),
        }


def count_repeats(logs: Path, calls: int) -> dict[str, int]:
    """Count the work done more than once, from the workers' logs and the supplier's number of ``calls``.

    A window is one run over the days of one account; a window that the logs name twice was stored twice.
    """
    runs: Counter[str] = Counter()
    updated = 0
    for line in _read_lines(logs):
        if match := _STORED.search(line):
            # The first group is account, series, window and run.
            runs[match[1]] += 1
            updated += int(match[2])
    return {
        "windows": len(runs),
        "windows_stored_again": runs.total() - len(runs),
        "calls": calls,
        "calls_beyond_one_a_window": calls - len(runs),
        "documents_updated": updated,
    }


def _read_lines(logs: Path) -> Iterator[str]:
    for path in sorted(logs.glob("worker*.log")):
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from file


def _summarize(faults: list[dict[str, Any]]) -> dict[str, Any]:
    alone = sorted(fault["seconds"] for fault in faults if fault["seconds"] is not None)
    in_all = [fault["seconds_in_all"] for fault in faults if fault["seconds_in_all"] is not None]
    return {
        "count": len(faults),
        "overlapped": sum(fault["overlapped"] for fault in faults),
        "not_recovered": sum(fault["seconds"] is None for fault in faults),
        "median_s": median(alone) if alone else None,
        "longest_s": max(alone, default=None),
        "longest_in_all_s": max(in_all, default=None),
    }
