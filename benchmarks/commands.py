"""Benchmark of the commands that list: seconds of processor, seconds until the first byte and the last, lines, bytes.

A fleet is seeded into SQLite and an embedded Redis (the measure store stays empty), then each command runs in a process
of its own.  It prints one JSON object.

    nice -n 10 python benchmarks/commands.py --accounts 50000
    nice -n 10 python benchmarks/commands.py --accounts 1000000 --rows-only --only status
    nice -n 10 python benchmarks/commands.py --accounts 50000 --code /tmp/an-older-checkout

``--rows-only`` seeds neither evidence nor histories, which `status` does not read.  ``--code`` runs the commands of
another checkout on the same fleet.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.fleet_seed import (  # noqa: E402
    NIGHT,
    account_id_of,
    meter_of,
    seed_evidence,
    seed_registry,
)
from config.settings import PREFIX, Settings  # noqa: E402
from drill.embedded_redis import EmbeddedRedis  # noqa: E402
from tests.support.parts import Parts  # noqa: E402
from worker.stores.encryption import generate_key  # noqa: E402

# Each line is a command of the benchmark; ``--only`` chooses by the beginning of a line.
COMMANDS: Final = (
    "",
    "--help",
    "status",
    "status --json",
    "status --error VENDOR_DOWN",
    f"status {account_id_of(7)}",
    "accounts list",
    "accounts list --json",
    "accounts list --state paused --limit 20",
    f"accounts list --meter {meter_of(7)}",
    "consents",
    "consents --json",
    "consents --expiring 30d",
    "explain --days --all",
    "explain --days --all --json",
)


def measure(words: list[str], env: dict[str, str], code: Path, most_s: float) -> dict[str, Any]:
    """Run a command and return the time and memory it took; it is ended after ``most_s``."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", *words],
        env={**env, "PYTHONPATH": str(code)},
        cwd=env[f"{PREFIX}DATA_DIR"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    first_s, size, lines = None, 0, 0
    os.set_blocking(process.stdout.fileno(), True)
    while chunk := os.read(process.stdout.fileno(), 1 << 16):
        first_s = first_s or time.perf_counter() - began
        size, lines = size + len(chunk), lines + chunk.count(b"\n")
        if time.perf_counter() - began > most_s:
            process.kill()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "processor_s": round(usage.ru_utime + usage.ru_stime, 2),
        "first_byte_s": round(first_s, 2) if first_s else None,
        "wall_s": round(time.perf_counter() - began, 2),
        "peak_memory_mb": round(usage.ru_maxrss / 1024),
        "lines": lines,
        "bytes": size,
        "code": process.returncode,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=50_000)
    parser.add_argument("--rows-only", action="store_true", help="without evidence and histories")
    parser.add_argument("--only", action="append", help="commands that begin so; may be repeated")
    parser.add_argument("--code", type=Path, default=ROOT, help="whose commands are run")
    parser.add_argument("--most-s", type=float, default=900.0, help="a command that takes longer is ended")
    args = parser.parse_args()
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        redis = opened.enter_context(EmbeddedRedis(folder / "redis"))
        settings = {
            "DATA_DIR": str(folder),
            "REDIS_URL": redis.url,
            "TOKEN_KEYS": generate_key(),
            "PRETEND_NOW": NIGHT.isoformat(),
            "ENEDIS_URL": "http://127.0.0.1:9",  # Never called; PRETEND_NOW needs a simulator.
        }
        env = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        env |= {PREFIX + name: value for name, value in settings.items()}
        migrate = [sys.executable, "-m", "worker", "migrate"]
        subprocess.run(
            migrate, env={**env, "PYTHONPATH": str(args.code)}, cwd=folder, check=True, stdout=subprocess.DEVNULL
        )
        values = {name.lower(): value for name, value in settings.items()}
        with Parts(Settings.from_env(_env_file=None, **values)) as parts:
            seeded_s = seed_registry(parts.stores.registry, args.accounts)
            if not args.rows_only:
                seed_evidence(parts, args.accounts)
        report = {}
        for line in COMMANDS:
            if not args.only or any(line.startswith(start) for start in args.only):
                report[f"releve {line}".strip()] = measure(line.split(), env, args.code, args.most_s)
                print(line, report[f"releve {line}".strip()], file=sys.stderr)
        print(json.dumps({"accounts": args.accounts, "seeded_s": round(seeded_s, 1), "commands": report}))


if __name__ == "__main__":
    main()
