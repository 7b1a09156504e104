"""Compare a first sync and an unchanged sync by the original's published library and by Relève.

One home has three years of daily values and 28 days of load curve (3 152 documents), on one CouchDB-protocol server.
A first round counts the requests on the wire and is not timed; in the others each side takes its turn to go first.
The stored values are compared with what the home measured.  Then both get the load curve of a home that was
connected long ago, and do the unchanged sync again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

ROOT: Final = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import processes  # noqa: E402
from benchmarks.common import TODAY, Deadline, DeadlinePassed, Json, machine, morning  # noqa: E402
from benchmarks.original import ours, theirs  # noqa: E402
from benchmarks.original.rounds import CURVE_DAYS, KINDS, Comparison, Outcome, WrongContent  # noqa: E402
from config.settings import PREFIX  # noqa: E402
from drill.expected_documents import Truth  # noqa: E402
from tests.support import servers  # noqa: E402
from worker.domain.windows import DateWindow  # noqa: E402
from worker.stores.child_processes import Supervisor, answers, free_port  # noqa: E402

DAILY_DAYS: Final = 3 * 365
RELEVE, ASKING, PACKED = "releve", "asking the supplier", "packed"

RoundRunner = Callable[..., Outcome]


def compare(args: argparse.Namespace, deadline: Deadline) -> Json:
    with open_comparison(args.aged_days) as comparison:
        contestants: dict[str, RoundRunner] = {flow: _original_round(comparison, flow) for flow in theirs.FLOWS}
        contestants[RELEVE] = lambda counting=False: comparison.run_releve(asking=False, counting=counting)
        contestants[ASKING] = lambda counting=False: comparison.run_releve(asking=True, counting=counting)
        contestants[PACKED] = lambda counting=False: comparison.run_releve(
            asking=False, counting=counting, layout="packed"
        )
        counted = {
            name: _run_round(name, "counted", one_round, counting=True) for name, one_round in contestants.items()
        }
        timed: dict[str, list[Outcome]] = {name: [] for name in contestants}
        for number in range(args.rounds):
            for name in _rotated(list(contestants), number):
                deadline.check("the comparison")
                timed[name].append(_run_round(name, f"round {number + 1}", contestants[name]))
    results = {name: _summary(counted[name], timed[name]) for name in contestants}
    return {
        "documents": sum(map(len, comparison.truth.values())),
        "results": results,
        "ratios": _ratios(results),
    }


@contextmanager
def open_comparison(aged_days: int) -> Iterator[Comparison]:
    """Start all servers, and end them with the block.  Raises NotInstalled."""
    for name in [name for name in os.environ if name.startswith(PREFIX) and "_TEST_" not in name]:
        del os.environ[name]  # The user's own settings must not apply.
    with ExitStack() as opened:
        pids_before = processes.children()
        couchdb = opened.enter_context(servers.couchdb_server(direct=True))
        # A real CouchDB is no child of ours.
        pids = sorted(processes.children() - pids_before) or processes.listening_at(urlsplit(couchdb).port)
        redis = opened.enter_context(servers.redis_server())
        simulator = opened.enter_context(simulator_process())
        daily = DateWindow(TODAY - timedelta(days=DAILY_DAYS), TODAY)
        truth = Truth.fetch(simulator, ours.METER, daily, DateWindow(TODAY - timedelta(days=CURVE_DAYS), TODAY))
        settings = {"redis_url": redis, "enedis_url": simulator, "preset": "enedis-2026"}
        address = couchdb.removeprefix("couchdb+").rstrip("/")
        yield Comparison(
            address,
            pids,
            settings,
            theirs.Rows.from_truth(truth),
            truth.expected_loads(),
            ours.AnswerCache(),
            aged_days,
        )


@contextmanager
def simulator_process() -> Iterator[str]:
    """Run a simulator in a process of its own, whose work doesn't count as ours; yield its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    env = {"PYTHONPATH": str(ROOT), f"{PREFIX}PRETEND_NOW": morning(TODAY)}
    command = [sys.executable, "-m", "worker", "simulate", "--port", str(port)]
    with tempfile.TemporaryDirectory(prefix="releve-benchmark-") as folder, Supervisor() as supervisor:
        supervisor.start("simulator", command, env=env, log_path=Path(folder) / "simulator.log")
        supervisor.wait_until_ready("simulator", lambda: answers(f"{address}/__sim__/health"))
        yield address


def _original_round(comparison: Comparison, flow: str) -> RoundRunner:
    return lambda counting=False: comparison.run_original(flow, counting=counting)


def _run_round(name: str, description: str, run: RoundRunner, **options: Any) -> Outcome:
    print(f"{description}: {name} …", file=sys.stderr)
    return run(**options)


def _rotated(names: list[str], number: int) -> list[str]:
    first = number % len(names)
    return names[first:] + names[:first]


def _summary(counted: Outcome, timed: list[Outcome]) -> Json:
    summary = {}
    for kind in KINDS:
        seconds = [second for outcome in timed for second in outcome.seconds[kind]]
        cpu_seconds = [second for outcome in timed for second in outcome.cpu_seconds[kind]]
        summary[kind] = {
            "requests": counted.requests[kind],
            "seconds": round(statistics.median(seconds), 4),
            "cpu_seconds": round(statistics.mean(cpu_seconds), 4),  # The system counts it in steps of 10 ms.
            "all_seconds": [round(second, 4) for second in seconds],
        }
    return summary


def _ratios(results: Json) -> Json:
    """Return the ratios of each of our variants to each of theirs: fewer requests to CouchDB, faster and so on."""
    return {
        name: {
            flow: {kind: _ratio(results[flow][kind], results[name][kind]) for kind in KINDS} for flow in theirs.FLOWS
        }
        for name in (RELEVE, ASKING, PACKED)
    }


def _ratio(theirs_: Json, ours_: Json) -> Json:
    return {
        "fewer_requests": round(theirs_["requests"]["couchdb"] / ours_["requests"]["couchdb"], 1),
        "faster": round(theirs_["seconds"] / ours_["seconds"], 1),
        "less_processor": round(theirs_["cpu_seconds"] / ours_["cpu_seconds"], 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of each (default %(default)s)")
    parser.add_argument(
        "--aged-days", type=int, default=730, help="days of load curve that the older home holds (default %(default)s)"
    )
    parser.add_argument("--max-seconds", type=float, default=600, help="give up after (default %(default)s)")
    args = parser.parse_args()
    if args.rounds < 1 or args.aged_days < CURVE_DAYS:
        parser.error(f"--rounds must be at least 1, --aged-days {CURVE_DAYS}")
    result = {"benchmark": "original", "machine": machine(), "settings": vars(args)}
    try:
        result |= {"library": theirs.version(), **compare(args, Deadline(args.max_seconds))}
    except servers.NotInstalled as missing:
        result["skipped"] = str(missing)
    except (DeadlinePassed, WrongContent, RuntimeError, subprocess.CalledProcessError) as error:
        result["error"] = str(error)
    result["load_after"] = round(os.getloadavg()[0], 2)
    print(json.dumps(result, indent=1))
    return 1 if "error" in result else 0


if __name__ == "__main__":
    sys.exit(main())
