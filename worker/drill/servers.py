"""Servers of a drill: Redis, CouchDB behind a relay, the simulator, the worker processes and a Runtime.

``open_servers`` starts them all.  The pretended day is 4 November 2024: every history contains the day of 25 hours.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import requests

from config.settings import PREFIX, get_settings
from worker.cli.supervise import start_part, use_pretend_settings
from worker.domain.clock import real_clock
from worker.domain.fleet.lanes import BROKER_PREFIX
from worker.domain.measures.readings import PARIS
from worker.domain.measures.series import Series
from worker.drill.couchdb_relay import CouchdbRelay
from worker.drill.crash_worker import CLOCK_AHEAD_VARIABLE, set_clock
from worker.drill.processes import POOLS, DrillProcesses
from worker.drill.receiver import MeasuresReceiver
from worker.errors import PageNotReady
from worker.runtime.process import Runtime
from worker.stores.redis.child_processes import Supervisor, answers, free_port
from worker.stores.redis.connection import connect
from worker.stores.redis.embedded import EmbeddedRedis

_TIMEOUT_S: Final = 30.0
MEASURES: Final = "mesure_synchrone_auto|metering_data"  # Paths of Data Connect 2026, and of v4 and v5.
_USUAL_DELAY: Final = {"path": MEASURES, "delay_s": 0.25}
POUCHDB: Final = Path(".test-servers/node_modules/.bin/pouchdb-server")


def find_couchdb_program() -> list[str] | None:
    """Return the command of a checkout's pouchdb-server (tests/install_servers.sh); None without it or node."""
    node, program = shutil.which("node"), Path(__file__).parents[2] / POUCHDB
    return [node, str(program)] if node and program.exists() else None


class DrillRedis(EmbeddedRedis):
    """Embedded Redis server with the faults of the drill."""

    def kill(self) -> None:
        """Send SIGKILL to the server."""
        os.kill(self.pid, signal.SIGKILL)
        self.stop()

    def start(self) -> None:
        """Start the server at its address.  Raises PageNotReady where its port was taken meanwhile."""
        address = getattr(self, "url", None)
        super().start()
        if address not in (None, self.url):
            raise PageNotReady("redis restarted at another address, because its port was in use")

    def stall(self, seconds: float) -> None:
        """Let the server answer nobody for this time; connections stay open."""
        with connect(self.url) as client:
            client.client_pause(round(seconds * 1000), all=True)

    def cut(self) -> None:
        """Close all connections, those that wait for messages too."""
        with connect(self.url) as client:
            for kind in ("normal", "pubsub"):
                client.client_kill_filter(_type=kind, skipme=True)

    def lose_messages(self) -> None:
        """Delete all that the broker holds: messages that wait, and those that workers have taken."""
        with connect(self.url) as client:
            for kind in ("list", "hash", "zset"):
                for key in client.scan_iter(f"{BROKER_PREFIX}*", _type=kind):
                    client.delete(key)


class DrillCouchdb:
    """CouchDB-protocol server behind a relay: our own pouchdb-server, or the one of ``--measures-url``."""

    def __init__(self, supervisor: Supervisor, folder: Path, url: str | None) -> None:
        """Take the server at ``url`` (``couchdb+http://…``), or our own with None.  Raises PageNotReady."""
        self._supervisor, self._folder = supervisor, folder
        self._is_own = url is None
        self.url = url or f"couchdb+http://127.0.0.1:{free_port()}/"
        if urlsplit(self.url).scheme != "couchdb+http":
            raise PageNotReady("the drill can't use TLS: give a couchdb+http:// URL")
        self.relay = CouchdbRelay(self.url)

    def __enter__(self) -> Self:
        if self._is_own:
            self.start()
        self.relay.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.relay.__exit__(*error)

    def kill(self) -> bool:
        """Kill the server and return True; return False where it is not our own."""
        if self._is_own:
            self._supervisor.kill_child("couchdb")
        return self._is_own

    def start(self) -> None:
        """Start our own server, and wait until it answers.

        Raises PageNotReady where it is not installed, and ProcessFailed where it does not start.
        """
        program = find_couchdb_program()
        if program is None:
            raise PageNotReady("no CouchDB server was found: give --measures-url, or --store sqlite")
        port = urlsplit(self.url).port
        files = {"--dir": "couchdb", "--config": "couchdb.json"}
        paths = [word for name, file in files.items() for word in (name, str(self._folder / file))]
        command = [*program, "--host", "127.0.0.1", "--port", str(port), "--no-stdout-logs", "--no-color", *paths]
        (self._folder / "couchdb.json").write_text(f'{{"log": {{"file": "{self._folder / "logs" / "couchdb.log"}"}}}}')
        self._supervisor.start("couchdb", command, log_path=self._folder / "logs" / "couchdb-server.log")
        self._supervisor.wait_until_ready("couchdb", lambda: answers(f"http://127.0.0.1:{port}/"))


class DrillSimulator:
    """Simulator of the suppliers; ``admin`` calls its routes below ``/__sim__/``."""

    def __init__(self, supervisor: Supervisor, logs: Path) -> None:
        self._supervisor, self._logs = supervisor, logs
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self, env: Mapping[str, str]) -> None:
        """Start the simulator with this environment, and wait until it answers.  Raises WorkerError."""
        start_part(self._supervisor, "simulator", "--port", str(self._port), env=env, logs=self._logs)
        self._supervisor.wait_until_ready("simulator", lambda: answers(f"{self.url}/__sim__/health"))
        self.clear_faults()

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
_SUPPLIER_TIMEOUT_S: Final = 2
_CALLS_PER_SECOND: Final = 25
_FIRST_PROBE_S: Final = 1  # Faults last seconds here instead of hours.


@dataclass
class DrillServers:
    """Running servers and processes of a drill; ``folder`` has their logs and databases."""

    folder: Path
    runtime: Runtime
    redis: DrillRedis
    couchdb: DrillCouchdb | None
    simulator: DrillSimulator
    processes: DrillProcesses
    receiver: MeasuresReceiver


@contextmanager
def open_servers(
    folder: Path, *, preset: str, store: str, series: Sequence[Series], measures_url: str | None
) -> Iterator[DrillServers]:
    """Start servers, simulator and processes; at the end of the block stop everything, the workers first.

    The environment of this process is replaced by the drill's, so that a drill never uses the user's own settings.
    Raises PageNotReady where a server does not start.
    """
    ahead = PRETEND_NOW - datetime.now(UTC)
    with ExitStack() as resources:
        redis = DrillRedis(folder)
        resources.callback(redis.stop)
        supervisor = resources.enter_context(Supervisor())
        couchdb_server = (
            resources.enter_context(DrillCouchdb(supervisor, folder, measures_url)) if store != "sqlite" else None
        )
        simulator = DrillSimulator(supervisor, folder / "logs")
        environment = use_pretend_settings(
            folder,
            preset,
            redis.url,
            simulator.url,
            **({"measures_url": couchdb_server.url} if couchdb_server else {}),
            layout="packed" if store == "couchdb-packed" else "plain",
            calls_per_second=_CALLS_PER_SECOND,
            calls_per_hour=0,
            grdf_calls_per_second=_CALLS_PER_SECOND,
            grdf_calls_per_day=0,
            series=",".join(series),
            supplier_timeout_s=_SUPPLIER_TIMEOUT_S,
            incident_probe_s=_FIRST_PROBE_S,
            pretend_now=PRETEND_NOW.isoformat(),
        )
        simulator.start(environment)

        def env() -> Mapping[str, str]:
            """Return the environment of a process that starts now, with the current pretended time."""
            relayed = {f"{PREFIX}MEASURES_URL": couchdb_server.relay.url} if couchdb_server else {}
            paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
            return {
                **environment,
                **relayed,
                f"{PREFIX}PRETEND_NOW": (real_clock() + ahead).isoformat(),
                CLOCK_AHEAD_VARIABLE: str(ahead.total_seconds()),
                "PYTHONPATH": os.pathsep.join(str(Path(path).resolve()) for path in paths if path),
            }

        set_clock(ahead)
        runtime = resources.enter_context(Runtime(get_settings()))
        receiver = resources.enter_context(MeasuresReceiver())
        receiver.set_up(runtime)
        processes = resources.enter_context(DrillProcesses(folder, env))
        for name in POOLS:
            processes.add_worker(name)
        processes.add_beat("beat")
        yield DrillServers(folder, runtime, redis, couchdb_server, simulator, processes, receiver)
