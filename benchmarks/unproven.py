"""Benchmark of what the time of a callback's answer reveals: a meter with an account against an unknown one.

A browser begins a consent and comes back with a typed meter, in turns with one of an account and one of nobody.  Each
answer is timed in this process, over a real Redis-protocol server and a registry in a file.  ``p``: how likely times as
different as these are where both kinds are alike (Mann and Whitney's test); below 0.01 the times tell who is known.

    python benchmarks/unproven.py --calls 1000
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from fastapi.testclient import TestClient  # noqa: E402

from config.settings import Settings  # noqa: E402
from drill.embedded_redis import EmbeddedRedis  # noqa: E402
from tests.support.parts import Parts  # noqa: E402
from worker.stores.database import Database  # noqa: E402
from worker.stores.registry.migrations import upgrade_schema  # noqa: E402

ACCOUNTS: Final = 1000
FIRST_METER: Final = 30_001_640_000_000
PRESETS: Final = ("enedis-v5", "enedis-2026")


def measure(parts: Parts, calls: int) -> dict[str, float]:
    """Return the medians of both kinds of answers, in ms, and how likely it is that they are alike."""
    browser = TestClient(parts.create_app(), follow_redirects=False)
    for number in range(ACCOUNTS):
        parts.stores.registry.accounts.add("enedis", str(FIRST_METER + number), parts.stores.now(), token_needed=False)
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    for number in range(2 * calls):
        kind = ("known", "unknown")[number % 2]
        meter = FIRST_METER + number // 2 % ACCOUNTS + (0 if kind == "known" else 10**9)
        for key in parts.stores.redis.scan_iter("releve:limit:*"):
            parts.stores.redis.delete(key)
        page = browser.get("/connect/enedis").headers["location"]
        state = parse_qs(urlsplit(page).query)["state"][0]
        began = time.perf_counter()
        answer = browser.get("/callback/enedis", params={"state": state, "usage_point_id": str(meter)})
        times[kind].append(time.perf_counter() - began)
        if answer.status_code != 403:
            raise RuntimeError(f"a typed callback was answered with {answer.status_code}")
    medians = {f"{kind}_ms": round(statistics.median(values) * 1000, 3) for kind, values in times.items()}
    return {**medians, "p": round(likelihood(times["known"], times["unknown"]), 4)}


def likelihood(some: list[float], others: list[float]) -> float:
    """Return the two-sided p of Mann and Whitney's test, by its normal approximation; times hardly ever are equal."""
    ranked = sorted([(value, 0) for value in some] + [(value, 1) for value in others])
    ranks = sum(rank for rank, (_, kind) in enumerate(ranked, start=1) if kind == 0)
    n, m = len(some), len(others)
    u = ranks - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1000, help="of each kind (default %(default)s)")
    args = parser.parse_args()
    report = {}
    for preset in PRESETS:
        with ExitStack() as opened:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            redis = opened.enter_context(EmbeddedRedis(folder / "redis"))
            values = {"preset": preset, "data_dir": folder, "redis_url": redis.url, "enedis_url": "http://127.0.0.1:9"}
            os.chdir(folder)  # No .env file of this folder counts.
            database = Database(f"sqlite:///{folder / 'registry.db'}")
            upgrade_schema(database)
            database.close()
            report[preset] = measure(opened.enter_context(Parts(Settings.from_env(**values))), args.calls)
    print(json.dumps({"calls_of_each_kind": args.calls, **report}))


if __name__ == "__main__":
    main()
