"""Benchmark of the quota: how much of it fifty workers use, and whether the supplier ever refuses a call.

It prints one JSON object, with results on two clocks.  ``simulated``: fifty threads and an hour of 3600 s on a clock
that jumps when all of them sleep; ledger, Redis server and races are real, and the simulator's own counter judges
each call.  ``short``: fifty processes by the server's clock, with an hour (and a second, and every wait) shortened to
``--hour-seconds``.  There the instants of the permits are judged, since no machine sends 1 200 calls a second evenly.

    python benchmarks/quota.py --per-hour 1000
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Final

from worker.quota.ledger import Limits

sys.path.insert(0, str(Path(__file__).parents[1]))  # `python benchmarks/quota.py` has only this folder on its path.

from redis import Redis

from benchmarks.simulated_time import SimulatedTime
from config.settings import Settings
from simulator.running_state import CallQuota, Peaks
from tests.support import servers
from worker.domain.lanes import enter_lane
from worker.domain.retry import retry_delay_s
from worker.errors import RateLimited
from worker.quota.ledger import QuotaLedger
from worker.stores.redis.connection import connect

HOUR_S: Final = 3600
PER_SECOND: Final = 5
BEGIN: Final = datetime(2026, 11, 3, 8, tzinfo=UTC)  # A full hour, as the supplier counts hours.
SHORTEST_COUNTDOWN_S: Final = 1.0  # As in tasks.base.
MIX: Final = ("first_screen", "nightly", "nightly", "nightly", "nightly", "repair", "backfill", "backfill")
SHARES: Final = Settings(_env_file=None).quota_shares()

Json = dict[str, Any]


class SupplierCounter:
    """The supplier's side: the simulator's counter, which refuses calls, and their peaks."""

    def __init__(self, per_hour: int) -> None:
        self._quota, self._peaks = CallQuota(PER_SECOND, per_hour), Peaks()
        self._lock = threading.Lock()
        self.refused = 0
        self.hours: Counter[int] = Counter()
        self.lanes: Counter[str] = Counter()

    def call(self, at_s: float, lane: str) -> None:
        with self._lock:
            self.refused += self._quota.take("data", datetime.fromtimestamp(at_s, UTC)) is not None
            self._peaks.add(at_s)
            self.hours[int((at_s - BEGIN.timestamp()) // HOUR_S)] += 1
            self.lanes[lane] += 1

    def summary(self, per_hour: int, hours: int) -> Json:
        return {
            "share_used": [round(self.hours[hour] / per_hour, 4) for hour in range(hours)],
            "refusals": self.refused,
            "max_in_any_second": self._peaks.max_in_any_second,
            "max_in_any_hour": self._peaks.max_in_any_hour,
            "by_lane": dict(sorted(self.lanes.items())),
        }


def work(
    ledger: QuotaLedger,
    seed: int,
    is_running: Callable[[], bool],
    sleep: Callable[[float], None],
    scale: float,
    record_permit: Callable[[str], None],
) -> int:
    """Do what a worker's thread does, task after task; return the number of postponed tasks."""
    random_source, postponed, retries = Random(seed), 0, 0
    while is_running():
        try:
            record_permit(ledger.take_permit("data"))
        except RateLimited as error:
            asked_s = (error.retry_after_s or 0.0) / scale
            sleep(max(retry_delay_s(retries, asked_s, random_source.random), SHORTEST_COUNTDOWN_S) * scale)
            postponed += 1
            retries += 1
        else:
            retries = 0
            sleep(random_source.uniform(0.1, 0.6) * scale)  # As long as the supplier's answer and our store take.
    return postponed


def simulated(url: str, per_hour: int, workers: int, hours: int, lanes: tuple[str, ...]) -> Json:
    clock, counter = SimulatedTime(int(BEGIN.timestamp() * 1e6), workers), SupplierCounter(per_hour)
    end_us = clock.now_us() + hours * HOUR_S * 1_000_000
    postponed: list[int] = []
    prefix = f"quota-{uuid.uuid4().hex}:"
    with connect(url) as redis:
        calls, usec = _scripts(redis)

        def run_worker(number: int) -> None:
            lane = lanes[number % len(lanes)]
            enter_lane(lane)
            ledger = QuotaLedger(
                redis,
                "enedis",
                Limits(per_second=PER_SECOND, per_hour=per_hour, shares=SHARES),
                prefix=prefix,
                sleep=clock.sleep,
                clock_us=clock.now_us,
            )
            try:
                postponed.append(
                    work(
                        ledger,
                        number,
                        lambda: clock.now_us() < end_us,
                        clock.sleep,
                        1.0,
                        lambda _: counter.call(clock.now_us() / 1e6, lane),
                    )
                )
            finally:
                clock.leave()

        started_at = time.perf_counter()
        threads = [threading.Thread(target=run_worker, args=(number,)) for number in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - started_at
        calls, usec = (now - before for now, before in zip(_scripts(redis), (calls, usec), strict=True))
        memory = sum(redis.memory_usage(key) for key in redis.scan_iter(f"{prefix}*"))
    return counter.summary(per_hour, hours) | {
        "lanes": sorted(set(lanes)),
        "put_off": sum(postponed),
        "scripts": calls,
        "script_us": round(usec / calls, 1),
        "redis_bytes": memory,
        "seconds": round(seconds, 1),
    }


def _scripts(redis: Redis) -> tuple[int, int]:
    """Return how many scripts have run, and their microseconds."""
    statistics = redis.info("commandstats").get("cmdstat_evalsha", {"calls": 0, "usec": 0})
    return statistics["calls"], statistics["usec"]


def short(url: str, per_hour: int, workers: int, hour_s: float) -> Json:
    scale = hour_s / HOUR_S
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    prefix = f"quota-{uuid.uuid4().hex}:"
    begin_s = time.time() + 1.0  # All processes run by then.

    def run_worker(number: int) -> None:
        lane, permits = MIX[number % len(MIX)], []
        enter_lane(lane)
        limits = {"per_second": PER_SECOND, "second_ms": max(1, round(1000 * scale)), "hour_ms": round(1000 * hour_s)}
        with connect(url) as redis:
            ledger = QuotaLedger(
                redis, "enedis", Limits(per_hour=per_hour, shares=SHARES, **limits), prefix=prefix, max_wait_s=scale
            )
            time.sleep(max(0.0, begin_s - time.time()))
            end_s = begin_s + hour_s

            def sleep(seconds: float) -> None:
                time.sleep(max(0.0, min(seconds, end_s - time.time())))

            postponed = work(ledger, number, lambda: time.time() < end_s, sleep, scale, permits.append)
        results.put((lane, postponed, [int(permit.partition("/")[0]) / 1e6 for permit in permits]))

    processes = [context.Process(target=run_worker, args=(number,)) for number in range(workers)]
    for process in processes:
        process.start()
    answers = [results.get() for _ in processes]
    for process in processes:
        process.join()
    counter = SupplierCounter(per_hour)
    for at_s, lane in sorted((at_s, lane) for lane, _, instants in answers for at_s in instants):
        counter.call(BEGIN.timestamp() + (at_s - begin_s) / scale, lane)
    return counter.summary(per_hour, 1) | {"put_off": sum(count for _, count, _ in answers), "hour_seconds": hour_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-hour", type=int, nargs="*", default=[10_000, 1_000])
    parser.add_argument("--workers", type=int, default=50)
    parser.add_argument("--hours", type=int, default=1, help="of the simulated clock")
    parser.add_argument("--hour-seconds", type=float, default=60, help="of the short hour; 0 leaves it out")
    args = parser.parse_args()
    result: Json = {"benchmark": "quota", "workers": args.workers, "per_second": PER_SECOND}
    with servers.redis_server() as url:
        for per_hour in args.per_hour:
            result[f"{per_hour} an hour, threads, simulated clock"] = {
                "all lanes": simulated(url, per_hour, args.workers, args.hours, MIX),
                "backfill alone": simulated(url, per_hour, args.workers, args.hours, ("backfill",)),
            }
            if args.hour_seconds:
                result[f"{per_hour} an hour, processes, short clock"] = short(
                    url, per_hour, args.workers, args.hour_seconds
                )
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
