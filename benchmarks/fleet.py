"""Simulate a week of a large fleet, with outages and refusals of the supplier, and print one JSON object.

Quota ledger, gate, fan-out, planner, incidents, probes and result recorder are the real ones, with a real Redis and a
registry of the fleet's size.  The clock jumps, the broker is a deque for each queue, and the supplier answers
by a list of troubles and counts calls as the simulator does.  No readings are stored.  The exit code is 1 when a law
is broken (``broken_laws``).

    nice -n 10 python benchmarks/fleet.py --accounts 100000 --plot docs/images/fleet-week.svg
    nice -n 10 python benchmarks/fleet.py --accounts 1000000 --per-hour 20000 --per-second 10
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # `python benchmarks/fleet.py` has only this folder on its path.

from benchmarks import common
from benchmarks.simulated import plot
from benchmarks.simulated.fleet_model import build_week, open_runtime
from benchmarks.simulated.week import DeadlinePassed, Options
from benchmarks.simulated.week_report import report_week


def simulate(options: Options, picture: Path | None = None) -> dict[str, Any]:
    """Simulate the week and return its report.  Raises DeadlinePassed."""
    logging.getLogger("releve").setLevel(logging.CRITICAL)  # Otherwise each window would log a line.
    with (
        tempfile.TemporaryDirectory(prefix="releve-fleet-", ignore_cleanup_errors=True) as folder,
        open_runtime(Path(folder), options) as runtime,
    ):
        week = build_week(runtime, options)
        week.run()
        if picture is not None:
            plot.save(week, picture)
        return report_week(week)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=100_000, help="how many (default %(default)s)")
    parser.add_argument("--days", type=float, default=7, help="how long (default %(default)s)")
    parser.add_argument("--per-hour", type=int, default=10_000, help="the quota (default %(default)s)")
    parser.add_argument("--per-second", type=int, default=5, help="and of the second (default %(default)s)")
    parser.add_argument("--new", type=float, default=0.5, help="accounts that come, %% a week (default %(default)s)")
    parser.add_argument("--old-windows", type=int, default=20_000, help="of history, waiting (default %(default)s)")
    parser.add_argument("--calm", action="store_true", help="nothing goes wrong")
    parser.add_argument("--plot", type=Path, help="where to draw the week as SVG")
    parser.add_argument("--max-seconds", type=float, default=7200, help="give up after (default %(default)s)")
    args = parser.parse_args()
    options = Options(
        args.accounts,
        args.days,
        args.per_hour,
        args.per_second,
        args.new,
        args.old_windows,
        not args.calm,
        args.max_seconds,
    )
    machine, settings = common.machine(), {**vars(args), "plot": str(args.plot) if args.plot else None}
    try:
        result = simulate(options, args.plot)
    except DeadlinePassed as error:
        result = {"broken_laws": [f"it did not end in time: {error}"]}
    print(json.dumps({"benchmark": "fleet", "machine": machine, "settings": settings, "result": result}, indent=1))
    return 1 if result["broken_laws"] else 0


if __name__ == "__main__":
    sys.exit(main())
