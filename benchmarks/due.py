"""Benchmark of what is due: a million accounts, the query of a page, and the memory of the process that feeds.

Rows are written as a running fleet has them: asked over the last nights, a tenth paused, a hundredth failing.  Then a
feeder does what `tasks.nightly.nightly_sync` does, again and again: it claims and publishes pages (to nobody), and each
window's end is written.  It prints one JSON object.

    nice -n 10 python benchmarks/due.py --accounts 1000000
    nice -n 10 python benchmarks/due.py --accounts 1000000 --registry postgresql://…
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from sqlalchemy import func, select, text  # noqa: E402

from benchmarks.fleet_seed import NIGHT, seed_registry  # noqa: E402
from config.settings import Settings  # noqa: E402
from drill.embedded_redis import EmbeddedRedis  # noqa: E402
from worker.domain.messages import WindowJob  # noqa: E402
from worker.domain.series import USUAL_SERIES, Series  # noqa: E402
from worker.runtime.stores import open_registry  # noqa: E402
from worker.stores.redis.claims import ProgressStore  # noqa: E402
from worker.stores.redis.connection import connect  # noqa: E402
from worker.stores.registry import Registry  # noqa: E402
from worker.stores.registry.migrations import upgrade_schema  # noqa: E402
from worker.stores.registry.tables import SERIES_OUTCOMES  # noqa: E402
from worker.sync.claims import WindowClaims, most_waiting  # noqa: E402
from worker.sync.due import DueWindows  # noqa: E402

CALLS_PER_HOUR: Final = 10_000


def feed(registry: Registry, progress: ProgressStore, rounds: int) -> dict[str, Any]:
    """Feed and end windows; return the times in ms and the peak memory in MB."""
    at = NIGHT
    claims = WindowClaims(
        registry=registry,
        progress=progress,
        history=None,  # type: ignore[arg-type]  # No history goes on here.
        now=lambda: at,
        claim_ttl_s=900,
    )
    due = DueWindows(
        table=registry.due,
        policies=registry.policies,
        claims=claims,
        calls_per_hour=CALLS_PER_HOUR,
        now=lambda: at,
    )
    room = most_waiting(CALLS_PER_HOUR)
    queries, feeds, published, names = [], [], 0, set()
    for _ in range(rounds):
        at += timedelta(minutes=10)
        for series in USUAL_SERIES:
            began = time.perf_counter()
            registry.due.list_nightly(series, 1, NIGHT, at, room)
            queries.append((time.perf_counter() - began) * 1000)
        began = time.perf_counter()
        jobs = due.claim_night(NIGHT).jobs
        feeds.append((time.perf_counter() - began) * 1000)
        published += len(jobs)
        names |= {(job["account_id"], job["series"]) for job in jobs}
        end_windows(registry, jobs, at)
        claims.release(jobs)
    return {
        "room": room,
        "query_ms_median": round(statistics.median(queries), 2),
        "query_ms_max": round(max(queries), 2),
        "feed_ms_median": round(statistics.median(feeds), 1),
        "published": published,
        "distinct": len(names),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def end_windows(registry: Registry, jobs: list[WindowJob], at: datetime) -> None:
    """Write the ends of windows, many in one transaction: the benchmark is about the queries."""
    columns = SERIES_OUTCOMES.c
    with registry.database.writing() as connection:
        for job in jobs:
            key = columns.account_id == job["account_id"], columns.series == job["series"]
            connection.execute(SERIES_OUTCOMES.update().where(*key).values(asked_at=at, again_at=None))


def page_query_ms(registry: Registry) -> dict[str, float]:
    """Return the ms of a page of the other lanes."""
    room, times = most_waiting(CALLS_PER_HOUR), {}
    lanes = {
        "again": lambda: registry.due.list_again(NIGHT + timedelta(hours=1), room),
        "catch_up": lambda: registry.due.list_catch_up(
            Series.DAILY, date(2026, 11, 24), NIGHT - timedelta(days=9), NIGHT, NIGHT, room
        ),
        "histories": lambda: registry.due.list_histories(Series.DAILY, NIGHT, room),
        "repairs": lambda: registry.due.list_repairs(NIGHT.date(), room),
    }
    for name, query in lanes.items():
        began = time.perf_counter()
        query()
        times[name] = round((time.perf_counter() - began) * 1000, 2)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--registry", help="URL of an empty registry; unset, SQLite in a folder that is deleted")
    args = parser.parse_args()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        settings = Settings.from_env(_env_file=None, data_dir=folder, registry_url=args.registry)
        registry = open_registry(settings, opened)
        upgrade_schema(registry.database)
        seconds = seed_registry(registry, args.accounts)
        with registry.database.writing() as connection:
            connection.execute(text("ANALYZE"))
            rows = connection.execute(select(func.count()).select_from(SERIES_OUTCOMES)).scalar_one()
        server = opened.enter_context(EmbeddedRedis(folder / "redis"))
        redis = opened.enter_context(connect(server.url))
        report = feed(registry, ProgressStore(redis), args.rounds)
        print(json.dumps({"rows": rows, "seeded_s": round(seconds, 1), **report, "pages_ms": page_query_ms(registry)}))


if __name__ == "__main__":
    main()
