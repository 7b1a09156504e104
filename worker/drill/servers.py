"""The servers of a drill: Redis, the CouchDB-protocol server where there is one, the simulator; and their relays."""

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
from worker.cli.supervise import settings_apart
from worker.domain.clock import real_clock
from worker.domain.measures.readings import PARIS
from worker.drill.couchdb_relay import CouchRelay
from worker.drill.crash_worker import AHEAD, set_clock
from worker.drill.processes import POOLS, DrillProcesses
from worker.drill.relay import TcpRelay
from worker.errors import SupplierUnavailable
from worker.runtime.process import Runtime
from worker.stores.encryption import new_key
from worker.stores.redis.child_processes import Supervisor, free_port
from worker.stores.redis.embedded import EmbeddedRedis

_TIMEOUT_S: Final = 30.0
MEASURES: Final = "mesure_synchrone_auto|metering_data"  # 2026, and before
_USUAL: Final = {"path": MEASURES, "delay_s": 0.25}
POUCHDB: Final = Path(".test-servers/node_modules/.bin/pouchdb-server")


def find_couch_program() -> list[str] | None:
    """pouchdb-server of a checkout (tests/install_servers.sh), if node is there to run it."""
    node, program = shutil.which("node"), Path(__file__).parents[2] / POUCHDB
    return [node, str(program)] if node and program.exists() else None


class Redis:
    """An embedded server that comes back at the same address, behind a relay."""

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
        parts = urlsplit(self.url)
        return f"redis://:{parts.password}@127.0.0.1:{self.relay.port}/0"

    def stop(self) -> None:
        self._server.stop()

    def kill(self) -> None:
        os.kill(self._server.pid, signal.SIGKILL)
        self._server.stop()

    def start(self) -> None:
        self._server = EmbeddedRedis(self._folder)
        if self._server.url != self.url:
            raise SupplierUnavailable("redis came back at another address: its port was taken meanwhile")


class Couch:
    """A CouchDB-protocol server behind a relay: one of our own on disk, or one we were told of."""

    def __init__(self, supervisor: Supervisor, folder: Path, url: str | None) -> None:
        """``url``: ``couchdb+http://…``."""
        self._supervisor, self._folder = supervisor, folder
        self._own = url is None
        self.url = url or f"couchdb+http://127.0.0.1:{free_port()}/"
        parts = urlsplit(self.url)
        if parts.scheme != "couchdb+http":
            raise SupplierUnavailable("the drill's relay speaks plain http: give a couchdb+http:// URL")
        self.relay = CouchRelay(parts.hostname or "127.0.0.1", parts.port or 5984)

    def __enter__(self) -> Self:
        if self._own:
            self.start()
        self.relay.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.relay.__exit__(*error)

    @property
    def relayed_url(self) -> str:
        parts = urlsplit(self.url)
        user = parts.netloc.rpartition("@")
        return f"{parts.scheme}://{user[0]}{user[1]}127.0.0.1:{self.relay.port}{parts.path}"

    def kill(self) -> bool:
        """False where the server is not ours to kill."""
        if self._own:
            self._supervisor.kill_child("couchdb")
        return self._own

    def start(self) -> None:
        program = find_couch_program()
        if program is None:
            raise SupplierUnavailable("no CouchDB-protocol server here: give --measures-url, or --store sqlite")
        port = urlsplit(self.url).port
        files = {"--dir": "couchdb", "--config": "couchdb.json"}
        where = [word for name, file in files.items() for word in (name, str(self._folder / file))]
        command = [*program, "--host", "127.0.0.1", "--port", str(port), "--no-stdout-logs", "--no-color", *where]
        (self._folder / "couchdb.json").write_text(f'{{"log": {{"file": "{self._folder / "logs" / "couchdb.log"}"}}}}')
        self._supervisor.start("couchdb", command, log_path=self._folder / "logs" / "couchdb-server.log")


class Simulator:
    """The pretend supplier; ``admin`` speaks to what lies below ``/__sim__/``."""

    def __init__(self, supervisor: Supervisor, logs: Path) -> None:
        self._supervisor, self._logs = supervisor, logs
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self, env: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "worker", "simulate", "--port", str(self._port)]
        self._supervisor.start("simulator", command, env=env, log_path=self._logs / "simulator.log")

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(method, f"{self.url}/__sim__/{path}", json=body, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        return answer.json()

    def storm(self, *faults: Mapping[str, Any]) -> None:
        """Every call that matches fails, until ``calm``; the others take their time, as the real one's do."""
        self.admin("DELETE", "faults")
        self.admin("POST", "faults", [{"count": None, **fault} for fault in (*faults, _USUAL)])

    def calm(self) -> None:
        self.storm()


# All that a drill needs, started and ended: servers behind relays, simulator, crew, and a runtime to look through.

PRETEND_NOW: Final = datetime(2024, 11, 4, 9, 0, tzinfo=PARIS)  # 27 October, of 25 hours, is in every history
_START_S: Final = 60.0
_SUPPLIER_TIMEOUT_S: Final = 2
_CALLS_PER_SECOND: Final = 25
_FIRST_CANARY_S: Final = 1  # faults last seconds here, not hours


@dataclass
class DrillServers:
    folder: Path
    supervisor: Supervisor
    runtime: Runtime
    redis: Redis
    couch: Couch | None
    simulator: Simulator
    crew: DrillProcesses


@contextmanager
def open_servers(
    folder: Path,
    *,
    preset: str,
    couchdb: bool,
    measures_url: str | None,
    say: Callable[[str], object],
    say_dead: Callable[[str, int, int], None],
) -> Iterator[DrillServers]:
    """Servers and simulator are up, the crew is hired; everything ends with the block, workers first.

    Our own environment is the pretend one from here on: what the user has set must not be touched by a drill.
    """
    ahead = PRETEND_NOW - datetime.now(UTC)
    with ExitStack() as opened:
        redis = opened.enter_context(Redis(folder))
        supervisor = opened.enter_context(Supervisor())
        couch = opened.enter_context(Couch(supervisor, folder, measures_url)) if couchdb else None
        simulator = Simulator(supervisor, folder / "logs")
        measures = f"sqlite:///{folder / 'measures.db'}"
        own: dict[str, Any] = {
            "preset": preset,
            "enedis_url": simulator.url,
            "enedis_authorize_url": simulator.url,
            "data_dir": folder,
            "redis_url": redis.url,
            "broker_url": redis.url,
            "registry_url": f"sqlite:///{folder / 'registry.db'}",
            "measures_url": couch.url if couch else measures,
            "token_keys": new_key(),
            "calls_per_second": _CALLS_PER_SECOND,
            "calls_per_hour": 0,
            "supplier_timeout_s": _SUPPLIER_TIMEOUT_S,
            "incident_probe_s": _FIRST_CANARY_S,
            "pretend_now": PRETEND_NOW.isoformat(),
        }
        environment = settings_apart(own, say)
        os.environ.update(environment)
        get_settings.cache_clear()
        simulator.start(environment)
        _wait_for("the simulator", lambda: bool(simulator.admin("GET", "health")))
        simulator.calm()
        if couch is not None:
            _wait_for("the CouchDB-protocol server", lambda: requests.get(_http(couch.url), timeout=5).ok)

        def env() -> Mapping[str, str]:
            """Of a process that starts now: it must not live earlier than those that started before."""
            relayed = {"REDIS_URL": redis.relayed_url, "BROKER_URL": redis.relayed_url}
            relayed |= {"MEASURES_URL": couch.relayed_url} if couch else {}
            relayed |= {"PRETEND_NOW": (real_clock() + ahead).isoformat()}
            paths = os.pathsep.join(
                str(Path(path).resolve()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path
            )
            told = {PREFIX + name: value for name, value in relayed.items()}
            return {**environment, **told, AHEAD: str(ahead.total_seconds()), "PYTHONPATH": paths}

        set_clock(ahead)
        runtime = opened.enter_context(Runtime(get_settings()))
        crew = DrillProcesses(folder, env, say_dead)
        opened.callback(crew.stop)
        for name, pool in POOLS.items():
            crew.hire(name, *pool)
        crew.hire_beat("beat")
        yield DrillServers(folder, supervisor, runtime, redis, couch, simulator, crew)


def _http(url: str) -> str:
    parts = urlsplit(url)
    return f"http://{parts.netloc}/"


def _wait_for(what: str, answers: Callable[[], bool]) -> None:
    give_up = time.monotonic() + _START_S
    while time.monotonic() < give_up:
        try:
            if answers():
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise SupplierUnavailable(f"{what} did not start")
