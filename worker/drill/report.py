"""Report of a drill, and the counts of repeated work in the workers' logs."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any, Final

from worker.cli.totals_check import DIFFERENCES, Differences
from worker.drill.recovery import Recovery

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
    recoveries: list[Recovery] = field(default_factory=list)
    differences: Differences = field(default_factory=Differences)
    stuck: int = 0
    not_sent: int = 0
    settled_s: float = 0.0
    repeated: dict[str, int] = field(default_factory=dict)
    ended_by_themselves: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        """Whether nothing is lost, doubled or wrong, no account is stuck, and the receiver has what is stored."""
        return not self.differences and not self.stuck and not self.not_sent

    def summarize_faults(self) -> dict[str, dict[str, Any]]:
        """Return for each kind its count and the seconds to recover, median and longest."""
        by_kind = sorted(self.recoveries, key=_name_of)
        return {kind: _summarize(list(recoveries)) for kind, recoveries in groupby(by_kind, key=_name_of)}

    def as_json(self) -> dict[str, Any]:
        """Return the report as ``--json`` prints it."""
        names = ("seed", "minutes", "store", "preset", "accounts", "documents", "kills")
        return {
            "ok": self.ok,
            **{name: getattr(self, name) for name in names},
            **{name: self.differences[name] for name in DIFFERENCES},
            "stuck": self.stuck,
            "not_sent": self.not_sent,
            "recovered_in_time": all(item.took_s is not None and item.took_s < _RECOVER_S for item in self.recoveries),
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
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in logs.glob("worker*.log"))
    # The first group is account, series, window and run.
    stored = [match for text in texts for match in _STORED.findall(text)]
    windows = len({window for window, _ in stored})
    return {
        "windows": windows,
        "windows_stored_again": len(stored) - windows,
        "calls": calls,
        "calls_beyond_one_a_window": calls - windows,
        "documents_updated": sum(int(updated) for _, updated in stored),
    }


def _name_of(recovery: Recovery) -> str:
    return recovery.kind.name.lower()


def _summarize(recoveries: list[Recovery]) -> dict[str, Any]:
    alone = [recovery.took_s for recovery in recoveries if recovery.took_s is not None]
    in_all = [recovery.took_in_all_s for recovery in recoveries if recovery.took_in_all_s is not None]
    return {
        "count": len(recoveries),
        "overlapped": sum(recovery.overlapped for recovery in recoveries),
        "not_recovered": len(recoveries) - len(alone),
        "median_s": median(alone) if alone else None,
        "longest_s": max(alone, default=None),
        "longest_in_all_s": max(in_all, default=None),
    }
