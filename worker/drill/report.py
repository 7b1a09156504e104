"""What a drill found, and how it is told."""

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
_STORED: Final = re.compile(r"window stored (account_id=\w+ series=\w+ .*?) fetched=.* updated=(\d+)")


@dataclass
class DrillReport:
    """What a drill found.  ``ok``: nothing lost, nothing doubled, nothing wrong, nobody stuck."""

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
        return not self.differences and not self.stuck

    @property
    def recovered_in_time(self) -> bool:
        return all(fault["seconds"] is not None and fault["seconds"] < _RECOVER_S for fault in self.faults)

    def by_kind(self) -> dict[str, dict[str, Any]]:
        """Of each kind: how many, and the seconds to recover, median and longest."""
        found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for fault in self.faults:
            found[fault["kind"]].append(fault)
        return {kind: _summary(found[kind]) for kind in sorted(found)}

    def as_json(self) -> dict[str, Any]:
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
            "faults": self.by_kind(),
        }


def repeats(logs: Path, calls: int) -> dict[str, int]:
    """What was done more than once, told by the workers' logs; ``calls`` is what the supplier saw.

    A window is one run of one account's days; one of which a log tells twice was stored twice.
    """
    runs: Counter[str] = Counter()
    updated = 0
    for line in _lines(logs):
        if told := _STORED.search(line):
            runs[told[1]] += 1  # account, series, window and run
            updated += int(told[2])
    return {
        "windows": len(runs),
        "windows_stored_again": runs.total() - len(runs),
        "calls": calls,
        "calls_beyond_one_a_window": calls - len(runs),
        "documents_updated": updated,
    }


def _lines(logs: Path) -> Iterator[str]:
    for path in sorted(logs.glob("worker*.log")):
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from file


def _summary(faults: list[dict[str, Any]]) -> dict[str, Any]:
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
