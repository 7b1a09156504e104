"""Servers of a drill: Redis and CouchDB behind relays, the simulator, the worker processes and a Runtime.

``open_servers`` starts them all.  The pretended day is 4 November 2024: every history contains the day of 25 hours.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import requests

from config.settings import PREFIX, get_settings
from worker.cli.supervise import isolated_environment
from worker.domain.clock import real_clock
from worker.domain.measures.readings import PARIS
from worker.drill.couchdb_relay import CouchdbRelay
from worker.drill.crash_worker import CLOCK_AHEAD_VARIABLE, set_clock
from worker.drill.processes import POOLS, DrillProcesses
from worker.drill.relay import TcpRelay
from worker.errors import SupplierUnavailable
from worker.runtime.process import Runtime
from worker.stores.encryption import generate_key
from worker.stores.redis.child_processes import Supervisor, free_port
from worker.stores.redis.embedded import EmbeddedRedis

_TIMEOUT_S: Final = 30.0
MEASURES: Final = "mesure_synchrone_auto|metering_data"  # Paths of Data Connect 2026, and of v4 and v5.
_USUAL_DELAY: Final = {"path": MEASURES, "delay_s": 0.25}
POUCHDB: Final = Path(".test-servers/node_modules/.bin/pouchdb-server")


def find_couchdb_program() -> list[str] | None:
    """Return the command of a checkout's pouchdb-server (tests/install_servers.sh); None without it or node."""
    node, program = shutil.which("node"), Path(__file__).parents[2] / POUCHDB
    return [node, str(program)] if node and program.exists() else None


class DrillRedis:
    """Embedded Redis server behind a relay; it starts again at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = EmbeddedRedis(folder)
        self.url = self._server.url
        self.relay = TcpRelay(urlsplit(self.url).port or 0)

    def __enter__(self) -> Self:
        self.relay.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.relay.__exit__(*error)
        self._server.stop()

    @property
    def relayed_url(self) -> str:
        """URL of the relay."""
        parts = urlsplit(self.url)
        return f"redis://:{parts.password}@127.0.0.1:{self.relay.port}/0"

    def stop(self) -> None:
        """Stop the server, which writes its data to disk first."""
        self._server.stop()

    def kill(self) -> None:
        """Send SIGKILL to the server."""
        os.kill(self._server.pid, signal.SIGKILL)
        self._server.stop()

    def start(self) -> None:
        """Start the server again.  Raises SupplierUnavailable where its port was taken meanwhile."""
        self._server = EmbeddedRedis(self._folder)
        if self._server.url != self.url:
            raise SupplierUnavailable("redis came back at another address: its port was taken meanwhile")


class DrillCouchdb:
    """CouchDB-protocol server behind a relay: our own pouchdb-server, or the one of ``--measures-url``."""

    def __init__(self, supervisor: Supervisor, folder: Path, url: str | None) -> None:
        """Take the server at ``url`` (``couchdb+http://…``), or our own with None.  Raises SupplierUnavailable."""
        self._supervisor, self._folder = supervisor, folder
        self._is_own = url is None
        self.url = url or f"couchdb+http://127.0.0.1:{free_port()}/"
        parts = urlsplit(self.url)
        if parts.scheme != "couchdb+http":
            raise SupplierUnavailable("the drill's relay speaks plain http: give a couchdb+http:// URL")
        self.relay = CouchdbRelay(parts.hostname or "127.0.0.1", parts.port or 5984)

    def __enter__(self) -> Self:
        if self._is_own:
            self.start()
        self.relay.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.relay.__exit__(*error)

    @property
    def relayed_url(self) -> str:
        """URL of the relay."""
        parts = urlsplit(self.url)
        user = parts.netloc.rpartition("@")
        return f"{parts.scheme}://{user[0]}{user[1]}127.0.0.1:{self.relay.port}{parts.path}"

    def kill(self) -> bool:
        """Kill the server and return True; return False where it is not our own."""
        if self._is_own:
            self._supervisor.kill_child("couchdb")
        return self._is_own

    def start(self) -> None:
        """Start our own server.  Raises SupplierUnavailable where it is not installed."""
        program = find_couchdb_program()
        if program is None:
            raise SupplierUnavailable("no CouchDB-protocol server here: give --measures-url, or --store sqlite")
        port = urlsplit(self.url).port
        files = {"--dir": "couchdb", "--config": "couchdb.json"}
        paths = [word for name, file in files.items() for word in (name, str(self._folder / file))]
        command = [*program, "--host", "127.0.0.1", "--port", str(port), "--no-stdout-logs", "--no-color", *paths]
        (self._folder / "couchdb.json").write_text(f'{{"log": {{"file": "{self._folder / "logs" / "couchdb.log"}"}}}}')
        self._supervisor.start("couchdb", command, log_path=self._folder / "logs" / "couchdb-server.log")


class DrillSimulator:
    """Simulator of Enedis; ``admin`` calls its routes below ``/__sim__/``."""

    def __init__(self, supervisor: Supervisor, logs: Path) -> None:
        self._supervisor, self._logs = supervisor, logs
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self, env: Mapping[str, str]) -> None:
        """Start the simulator with this environment."""
        command = [sys.executable, "-m", "worker", "simulate", "--port", str(self._port)]
        self._supervisor.start("simulator", command, env=env, log_path=self._logs / "simulator.log")

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Call a route below ``/__sim__/`` and return its JSON."""
        answer = requests.request(method, f"{self.url}/__sim__/{path}", json=body, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        return answer.json()

    def inject_faults(self, *faults: Mapping[str, Any]) -> None:
        """Let matching calls fail until ``clear_faults``; all others take 0.25 s, as with the real supplier."""
        self.admin("DELETE", "faults")
        self.admin("POST", "faults", [{"count": None, **fault} for fault in (*faults, _USUAL_DELAY)])

    def clear_faults(self) -> None:
        """End the faults; calls still take 0.25 s."""
        self.inject_faults()


PRETEND_NOW: Final = datetime(2024, 11, 4, 9, 0, tzinfo=PARIS)
_START_S: Final = 60.0
_SUPPLIER_TIMEOUT_S: Final = 2
_CALLS_PER_SECOND: Final = 25
_FIRST_PROBE_S: Final = 1  # Faults last seconds here instead of hours.


@dataclass
class DrillServers:
    """Running servers and processes of a drill; ``folder`` has their logs and databases."""

    folder: Path
    supervisor: Supervisor
    runtime: Runtime
    redis: DrillRedis
    couchdb: DrillCouchdb | None
    simulator: DrillSimulator
    processes: DrillProcesses


@contextmanager
def open_servers(
    folder: Path,
    *,
    preset: str,
    couchdb: bool,
    measures_url: str | None,
    warn: Callable[[str], object],
    report_end: Callable[[str, int, int], None],
) -> Iterator[DrillServers]:
    """Start servers, simulator and processes; at the end of the block stop everything, the workers first.

    The environment of this process is replaced by the drill's, so that a drill never uses the user's own settings.
    Raises SupplierUnavailable where a server does not start.
    """
    ahead = PRETEND_NOW - datetime.now(UTC)
    with ExitStack() as resources:
        redis = resources.enter_context(DrillRedis(folder))
        supervisor = resources.enter_context(Supervisor())
        couchdb_server = resources.enter_context(DrillCouchdb(supervisor, folder, measures_url)) if couchdb else None
        simulator = DrillSimulator(supervisor, folder / "logs")
        measures = f"sqlite:///{folder / 'measures.db'}"
        settings: dict[str, Any] = {
            "preset": preset,
            "enedis_url": simulator.url,
            "enedis_authorize_url": simulator.url,
            "data_dir": folder,
            "redis_url": redis.url,
            "broker_url": redis.url,
            "registry_url": f"sqlite:///{folder / 'registry.db'}",
            "measures_url": couchdb_server.url if couchdb_server else measures,
            "token_keys": generate_key(),
            "calls_per_second": _CALLS_PER_SECOND,
            "calls_per_hour": 0,
            "supplier_timeout_s": _SUPPLIER_TIMEOUT_S,
            "incident_probe_s": _FIRST_PROBE_S,
            "pretend_now": PRETEND_NOW.isoformat(),
        }
        environment = isolated_environment(settings, warn)
        os.environ.update(environment)
        get_settings.cache_clear()
        simulator.start(environment)
        _wait_for("the simulator", lambda: bool(simulator.admin("GET", "health")))
        simulator.clear_faults()
        if couchdb_server is not None:
            _wait_for("the CouchDB-protocol server", lambda: requests.get(_http(couchdb_server.url), timeout=5).ok)

        def env() -> Mapping[str, str]:
            """Return the environment of a process that starts now, with the current pretended time."""
            relayed = {"REDIS_URL": redis.relayed_url, "BROKER_URL": redis.relayed_url}
            relayed |= {"MEASURES_URL": couchdb_server.relayed_url} if couchdb_server else {}
            relayed |= {"PRETEND_NOW": (real_clock() + ahead).isoformat()}
            paths = os.pathsep.join(
                str(Path(path).resolve()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path
            )
            relayed_settings = {PREFIX + name: value for name, value in relayed.items()}
            return {
                **environment,
                **relayed_settings,
                CLOCK_AHEAD_VARIABLE: str(ahead.total_seconds()),
                "PYTHONPATH": paths,
            }

        set_clock(ahead)
        runtime = resources.enter_context(Runtime(get_settings()))
        processes = DrillProcesses(folder, env, report_end)
        resources.callback(processes.stop)
        for name, pool in POOLS.items():
            processes.add_worker(name, *pool)
        processes.add_beat("beat")
        yield DrillServers(folder, supervisor, runtime, redis, couchdb_server, simulator, processes)


def _http(url: str) -> str:
    parts = urlsplit(url)
    return f"http://{parts.netloc}/"


def _wait_for(name: str, is_ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            if is_ready():
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise SupplierUnavailable(f"{name} did not start")
