"""Benchmark of a night's fan-out over a large fleet: memory of each process and of Redis, time to the first window.

Accounts are rows of a SQLite registry whose history is loaded and whose last night is done.  A feeder does what
`tasks.nightly.nightly_sync` does, and is killed once with SIGKILL.  Consumers take the messages off the queue and
record each window's result with the real recorder in a real Redis; they ask no supplier and write no measures and no
outcomes.  It prints one JSON object.  This is a million accounts, each series every seventh night, which a quota of
10 000 calls an hour carries:

    nice -n 10 python benchmarks/fanout.py --accounts 1000000 --every 7
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import zlib
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from redis import Redis  # noqa: E402

from benchmarks import common, processes  # noqa: E402
from benchmarks.fleet_seed import (  # noqa: E402
    CURVE_DAYS,
    account_ids,
    add_accounts,
    megabytes,
    record_history,
    used_memory,
)
from config.settings import PREFIX, Settings  # noqa: E402
from worker.domain.fleet.policy import FleetPolicy  # noqa: E402
from worker.domain.measures.documents import to_timestamp  # noqa: E402
from worker.domain.measures.messages import AnswerFacts, WindowJob, WindowResult  # noqa: E402
from worker.domain.measures.readings import ONE_DAY, Series  # noqa: E402
from worker.runtime.current import get_runtime  # noqa: E402
from worker.runtime.process import Runtime  # noqa: E402
from worker.stores.encryption import generate_key  # noqa: E402
from worker.stores.redis.child_processes import free_port  # noqa: E402
from worker.stores.redis.embedded import EmbeddedRedis  # noqa: E402

QUEUE: Final = "releve:celery:nightly"
MORNING: Final = datetime(2024, 7, 25, 7, 0, tzinfo=UTC)
DAY: Final = date(2024, 7, 25)


# -- Processes


def feed(policy: FleetPolicy, pause_s: float, started_file: Path) -> None:
    """Publish a night as beat's messages make a worker do it, only without the pause between them."""
    from tasks.base import queue_length
    from tasks.nightly import _publish
    from worker.app import app
    from worker.sync.due import Night, never

    app.finalize()
    fan_out = get_runtime().fan_out(_publish, queue_length, never, policy)
    night = Night(DAY)
    if not started_file.exists():
        started_file.write_text(str(time.time()))
    while not fan_out.feed(night):
        time.sleep(pause_s)
    while get_runtime().progress.get_cursor(night.run) != "~complete":
        fan_out.publish_missing(night)
        time.sleep(pause_s)


class _NullTables:
    """Tables of outcomes and refusals that store nothing: the database's cost is measured elsewhere."""

    def record_outcome(self, *_: object, **__: object) -> None:
        """Record nothing."""

    def clear_refusals(self, account_id: str) -> None:
        """Record nothing."""


def consume(calls_file: Path, stop: Any) -> None:
    """Take windows off the queue and record their results; write a line for each."""
    runtime = get_runtime()
    recorder = replace(runtime.results, registry=_NullTables(), refusals=_NullTables())
    with Redis.from_url(os.environ[f"{PREFIX}REDIS_URL"]) as queue, calls_file.open("a") as lines:
        while not stop.is_set():
            if (queue_entry := queue.brpop([QUEUE], timeout=1)) is None:
                lines.flush()
                continue
            origin = runtime.claims.refresh_window(job_of_message(queue_entry[1]))
            if origin is not None:
                lines.write(f"{origin['account_id']} {origin['series']} {time.time()}\n")
                recorder.record_result(result_of(origin, runtime.now()))


def job_of_message(raw: bytes) -> WindowJob:
    body = zlib.decompress(base64.b64decode(json.loads(raw)["body"]))
    (account_id, series, start, end), keyword_arguments, _ = json.loads(body)
    return WindowJob(account_id=account_id, series=series, start=start, end=end, **keyword_arguments)


def result_of(origin: WindowJob, now: datetime) -> WindowResult:
    """Return the result of a look-back that found nothing new but yesterday."""
    last_day = date.fromisoformat(origin["end"]) - ONE_DAY
    facts = AnswerFacts(
        fetched=30,
        asked_at=now.timestamp(),
        fetched_at=to_timestamp(now),
        dropped=0,
        differing=0,
        last_day=last_day.isoformat(),
        floor=None,
        open=[],
    )
    return WindowResult(**origin, created=0, updated=0, unchanged=30, facts=facts)


# -- The night


class ProcessPool:
    """Processes that may be killed, with the peak memory of each of them and of Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._context = multiprocessing.get_context("spawn")
        self.peaks: dict[str, float] = {}
        self.redis_peak = self.messages = 0

    def start(self, name: str, target: Any, *args: Any) -> SpawnProcess:
        process = self._context.Process(target=target, args=args, name=name)
        process.start()
        return process

    def event(self) -> Any:
        return self._context.Event()

    def measure_peaks(self, started: list[SpawnProcess]) -> None:
        self.redis_peak = max(self.redis_peak, used_memory(self._redis))
        self.messages = max(self.messages, int(self._redis.llen(QUEUE)))
        for process in started:
            if process.pid and (peak_mb := processes.peak_rss_mb(process.pid)):
                self.peaks[process.name] = max(self.peaks.get(process.name, 0.0), peak_mb)
            if process.exitcode not in (None, 0, -signal.SIGKILL):
                raise SystemExit(f"{process.name} ended with {process.exitcode}")


def night(args: argparse.Namespace, redis: Redis, folder: Path, expected: int) -> dict[str, Any]:
    policy = FleetPolicy(args.every, args.every)
    pool = ProcessPool(redis)
    stop = pool.event()
    files = [folder / f"asked-{number}" for number in range(args.consumers)]
    consumers = [pool.start(f"consumer-{n}", consume, file, stop) for n, file in enumerate(files)]
    while not all(file.exists() for file in files):  # Workers run already when beat sends the night.
        time.sleep(0.1)
        pool.measure_peaks(consumers)
    started_at, started_file = time.time(), folder / "begun"
    feeders = [pool.start("feeder", feed, policy, args.pause, started_file)]
    killed_after = None
    while feeders[-1].exitcode != 0:
        time.sleep(0.5)
        pool.measure_peaks([*consumers, *feeders])
        windows_done = sum(file.stat().st_size for file in files if file.exists()) // 40
        if killed_after is None and windows_done > expected // 3:
            killed_after = windows_done
            feeders[-1].kill()
            feeders[-1].join()
            feeders.append(pool.start("feeder-again", feed, policy, args.pause, started_file))
        if time.time() - started_at > args.max_seconds:
            raise SystemExit(
                f"the night did not end within --max-seconds {args.max_seconds:.0f}; {windows_done} windows so far"
            )
    seconds = time.time() - started_at
    stop.set()
    for process in consumers:
        process.join()
    calls: Counter[str] = Counter()
    first_call_at = float("inf")
    for file in files:
        for line in file.open():
            account_and_series, _, at = line.rpartition(" ")
            calls[account_and_series] += 1
            first_call_at = min(first_call_at, float(at))
    return {
        "seconds": round(seconds, 1),
        "first_window_s": round(first_call_at - float(started_file.read_text()), 2),
        "windows": sum(calls.values()),
        "doubled": sum(count - 1 for count in calls.values()),
        "missed": expected - len(calls),
        "feeder_killed_after": killed_after,
        "most_messages_waiting": pool.messages,
        "peak_rss_mb": pool.peaks,
        "redis_mb_peak": megabytes(pool.redis_peak),
    }


def count_turns(count: int, every: int) -> int:
    policy = FleetPolicy(every, every)
    return sum(policy.is_turn(account_id, series, DAY) for account_id in account_ids(count) for series in Series)


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    with EmbeddedRedis(folder) as server:
        variables = {
            "DATA_DIR": str(folder),
            "REDIS_URL": server.url,
            "BROKER_URL": server.url,
            "TOKEN_KEYS": generate_key(),
            "PRESET": "enedis-2026",
            "ENEDIS_URL": f"http://127.0.0.1:{free_port()}",  # No supplier is called.
            "CALLS_PER_HOUR": str(args.per_hour),
            "HISTORY_LOAD_DAYS": str(CURVE_DAYS),
            "PRETEND_NOW": MORNING.isoformat(),
            "LOG_LEVEL": "WARNING",
        }
        os.environ.update({PREFIX + name: value for name, value in variables.items()})
        with Runtime(Settings.from_env(_env_file=None)) as runtime, Redis.from_url(server.url) as redis:
            started_at = time.perf_counter()
            add_accounts(runtime, account_ids(args.accounts), MORNING)
            record_history(runtime, account_ids(args.accounts), DAY, lambda *_: DAY - ONE_DAY)
            seconds = time.perf_counter() - started_at
            memory_before = used_memory(redis)
            result = night(args, redis, folder, count_turns(args.accounts, args.every))
            memory_after = used_memory(redis)
            return {
                "seeded_s": round(seconds, 1),
                **result,
                "redis_mb_before": megabytes(memory_before),
                "redis_mb_after": megabytes(memory_after),
                "redis_bytes_an_account_and_series": round(memory_after / (2 * args.accounts), 1),
                "redis_version": redis.info("server").get("redis_version"),
            }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=100_000, help="how many (default %(default)s)")
    parser.add_argument("--every", type=int, default=1, help="each series every so many nights, 1 to 7 (default 1)")
    parser.add_argument("--consumers", type=int, default=2, help="processes that end windows (default %(default)s)")
    parser.add_argument("--per-hour", type=int, default=10_000, help="the quota that paces it (default %(default)s)")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two turns (default %(default)s)")
    parser.add_argument("--max-seconds", type=float, default=3600, help="give up after (default %(default)s)")
    args = parser.parse_args()
    machine = common.machine()
    with tempfile.TemporaryDirectory(prefix="releve-fanout-", ignore_cleanup_errors=True) as folder:
        result = measure(args, Path(folder))
    good = not result["doubled"] and not result["missed"]
    print(json.dumps({"benchmark": "fanout", "machine": machine, "settings": vars(args), "result": result}, indent=1))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
