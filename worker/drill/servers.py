"""The servers of a drill: Redis, the CouchDB-protocol server where there is one, the simulator; and their relays."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import requests

from worker.drill.couchdb_relay import CouchRelay
from worker.drill.relay import TcpRelay
from worker.errors import SupplierUnavailable
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
