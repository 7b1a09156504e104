"""Print Markdown tables from the reports of drills.

for seed in 1 2 3; do releve drill --minutes 10 --seed $seed --json > drill-$seed.json; done
python benchmarks/drill_table.py drill-*.json
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_ZEROS = ("lost", "doubled", "wrong", "wrong_totals", "wrong_zeros", "stuck")
_REPEATED = ("windows", "windows_stored_again", "calls_beyond_one_a_window", "documents_updated")


def main(paths: Sequence[str]) -> None:
    drills = sorted((json.loads(Path(path).read_text()) for path in paths), key=lambda drill: drill["seed"])
    print("\n".join([*_runs(drills), "", *_recoveries(drills)]))


def _runs(drills: Sequence[dict[str, Any]]) -> Iterable[str]:
    """Yield a line for each drill: its work, its findings and what was repeated."""
    names = ("seed", "store", "minutes", "accounts", "documents", "kills", *_ZEROS)
    yield from _head([*names, "faults", "longest recovery, s", *_REPEATED])
    for drill in drills:
        faults = drill["faults"].values()
        longest = max((fault["longest_s"] for fault in faults if fault["longest_s"] is not None), default="-")
        cells = [*(drill[name] for name in names), sum(fault["count"] for fault in faults), longest]
        yield _line([*cells, *(drill["repeated"][name] for name in _REPEATED)])


def _recoveries(drills: Sequence[dict[str, Any]]) -> Iterable[str]:
    """Yield a line for each kind of fault over all drills, with the median of the drills' medians."""
    rows_by_kind: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for drill in drills:
        for kind, row in drill["faults"].items():
            rows_by_kind[kind].append(row)
    yield from _head(["fault", "times", "not recovered", "median, s", "longest, s", "longest with later faults, s"])
    for kind, rows in sorted(rows_by_kind.items()):
        medians = [row["median_s"] for row in rows if row["median_s"] is not None]
        count, never = (sum(row[name] for row in rows) for name in ("count", "not_recovered"))
        seconds = [round(statistics.median(medians), 1) if medians else "-", *(_longest(rows, n) for n in _LONGEST)]
        yield _line([kind.replace("_", " "), count, never, *seconds])


_LONGEST = ("longest_s", "longest_in_all_s")


def _longest(rows: Iterable[dict[str, Any]], name: str) -> Any:
    return max((row[name] for row in rows if row[name] is not None), default="-")


def _head(names: Sequence[str]) -> Iterable[str]:
    yield _line([name.replace("_", " ") for name in names])
    yield _line(["---"] * len(names))


def _line(cells: Iterable[Any]) -> str:
    return f"| {' | '.join(f'{cell:g}' if isinstance(cell, float) else str(cell) for cell in cells)} |"


if __name__ == "__main__":
    main(sys.argv[1:])
