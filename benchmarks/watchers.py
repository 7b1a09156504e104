"""Benchmark of many people who watch their first sync at once: a real web process on loopback, a connection each.

    python benchmarks/watchers.py --watchers 200 --accounts 20

It prints one JSON object: seconds until a watcher's first event, seconds from a step of progress until a watcher sees
it, processor time and memory of the web process, and the requests that failed.  The exit code is 1 when one failed.
Nothing outside this machine is called.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import uvicorn

from config.settings import Settings
from drill.embedded_redis import EmbeddedRedis
from tests.support.parts import Parts
from worker.domain.completeness import COMPLETE
from worker.domain.series import USUAL_SERIES
from worker.domain.sessions import Scope
from worker.domain.windows import DateWindow
from worker.stores.child_processes import Supervisor, answers, free_port

STEPS = 8  # Steps of progress; then the history is loaded.
STEP_S = 1.5
GIVE_UP_S = 90.0  # After the last step.


@dataclass
class Watcher:
    """One connection, with the times of its request and of each step it saw."""

    account_id: str
    asked_at: float = 0.0
    first_at: float = 0.0
    steps: dict[int, float] = field(default_factory=dict)
    end: str = "never connected"


def main() -> int:
    arguments = _parse()
    with tempfile.TemporaryDirectory(prefix="releve-bench-") as folder:
        if arguments.serve:
            return _serve(arguments.serve)
        result = _measure(arguments, Path(folder))
    print(json.dumps(result, indent=2))
    return 0 if result["failed"] == 0 else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--accounts", type=int, default=20, help="accounts that they watch between them")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    return parser.parse_args()


def _serve(port: int) -> int:
    """Run the web process; its settings are environment variables."""
    with Parts(Settings.from_env()) as parts:
        app = parts.create_app()
        uvicorn.run(app, port=port, access_log=False, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    return 0


def _measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    port = free_port()
    with EmbeddedRedis(folder) as redis, Supervisor() as supervisor:
        env = {
            "RELEVE_DATA_DIR": str(folder),
            "RELEVE_REDIS_URL": redis.url,
            "RELEVE_ENEDIS_URL": "http://127.0.0.1:9",
            "RELEVE_API_CALLS_PER_MINUTE": "1000000",
        }
        os.environ.update(env)
        with Parts(Settings.from_env(_env_file=None)) as parts:
            ids = [_add(parts, number) for number in range(arguments.accounts)]
            token = parts.stores.registry.api_tokens.create("benchmark", [Scope.READ_ACCOUNTS])[1]
            pid = supervisor.start("web", [sys.executable, __file__, "--serve", str(port)])
            supervisor.wait_until_ready("web", lambda: answers(f"http://127.0.0.1:{port}/api/openapi.json"))
            watchers = [Watcher(ids[number % len(ids)]) for number in range(arguments.watchers)]
            before, began = _cpu_s(pid), time.monotonic()
            marked_at = asyncio.run(_watch_all(parts, port, token, watchers, ids))
            duration_s, cpu_s, peak_mb = time.monotonic() - began, _cpu_s(pid) - before, _peak_mb(pid)
    failed = [watcher for watcher in watchers if watcher.end != "loaded"]
    delays = [at - marked_at[step] for watcher in watchers for step, at in watcher.steps.items() if step in marked_at]
    return {
        "benchmark": "watchers",
        "watchers": len(watchers),
        "accounts": len(ids),
        "failed": len(failed),
        "failures": dict(Counter(watcher.end for watcher in failed)),
        "events": sum(len(watcher.steps) for watcher in watchers),
        "first_event_s": _spread([watcher.first_at - watcher.asked_at for watcher in watchers if watcher.first_at]),
        "step_to_watcher_s": _spread(delays),
        "took_s": round(duration_s, 2),
        "web_cpu_s": round(cpu_s, 2),
        "web_peak_mb": peak_mb,
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
    }


async def _watch_all(parts: Parts, port: int, token: str, watchers: list[Watcher], ids: list[str]) -> dict[int, float]:
    """Run all watchers at once and return when each step was marked; steps begin after everyone's first event."""
    tasks = [asyncio.create_task(_watch(port, token, watcher)) for watcher in watchers]
    give_up = time.monotonic() + GIVE_UP_S
    while time.monotonic() < give_up and not all(
        watcher.first_at or task.done() for watcher, task in zip(watchers, tasks, strict=True)
    ):
        await asyncio.sleep(0.05)
    marked_at = {}
    for step in range(1, STEPS + 1):
        await asyncio.to_thread(_mark_progress, parts, ids, step)
        marked_at[step] = time.monotonic()
        await asyncio.sleep(STEP_S)
    _, late = await asyncio.wait(tasks, timeout=GIVE_UP_S)
    for task in late:
        task.cancel()
    return marked_at


async def _watch(port: int, token: str, watcher: Watcher) -> None:
    watcher.asked_at = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET /api/accounts/{watcher.account_id}/progress/stream HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Authorization: Bearer {token}\r\nConnection: close\r\n\r\n".encode()
        )
        status = (await reader.readline()).decode().strip()
        if " 200 " not in f"{status} ":
            watcher.end = status or "closed without an answer"
            return
        watcher.end = "cut off"
        async for line in reader:
            _record_event(watcher, line)
        writer.close()
    except OSError as error:
        watcher.end = type(error).__name__


def _record_event(watcher: Watcher, line: bytes) -> None:
    if line.startswith(b"event: loaded"):
        watcher.end = "loaded"
    elif line.startswith(b"data: ") and watcher.end != "loaded":
        daily = json.loads(line[6:])["series"]["daily"]
        step = STEPS * daily["done"] // daily["total"]
        now = time.monotonic()
        watcher.first_at = watcher.first_at or now
        watcher.steps.setdefault(step, now)


def _add(parts: Parts, number: int) -> str:
    account, _ = parts.stores.registry.accounts.add(
        "enedis", f"{30_000_000_000_000 + number}", parts.stores.now(), token_needed=False
    )
    return account.id


def _mark_progress(parts: Parts, ids: list[str], step: int) -> None:
    """Mark the first ``step`` eighths of each series as done."""
    for account_id in ids:
        for series in USUAL_SERIES:
            if history := parts.sync.history.wanted_window(series):
                length = timedelta(days=-(-history.days * step // STEPS))
                days = DateWindow(history.start, history.start + length).dates()
                known = parts.stores.registry.completeness.load_ledger(account_id, series)
                marked = known.with_marks(dict.fromkeys(days, COMPLETE))
                parts.stores.registry.completeness.replace_if_unchanged(account_id, series, known, marked)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def _spread(numbers: list[float]) -> dict[str, float]:
    ordered = sorted(numbers)
    if not ordered:
        return {}
    places = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {name: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3) for name, share in places.items()}


if __name__ == "__main__":
    sys.exit(main())
