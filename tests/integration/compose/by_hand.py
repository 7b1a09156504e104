"""The services of docker-compose.yml as processes: their own commands, environments and secrets, on real servers.

Loopback ports and folders take the place of the host names and paths of compose's network and volumes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
import requests

from config.settings import PREFIX
from tests.integration.compose.reading import SERVICES, environment, mounts, words
from tests.support import servers
from tests.support.commands import CommandResult, run_releve
from tests.support.couchdb_users import new_user
from tests.support.waiting import DEADLINE_S, until
from worker.stores.child_processes import Supervisor, free_port
from worker.stores.measures import couchdb_user
from worker.stores.redis.embedded import find_server

BIN = Path(sys.executable).parent
TIMEOUT_S = 60.0
# Beat writes its first heartbeat when it sends its first message, so it sends often; curves would only take longer.
QUICK_SETTINGS = {"RELEVE_RECONCILE_EVERY_S": "2", "RELEVE_HISTORY_LOAD_DAYS": "0"}
ADMIN_PASSWORD = "Chosen-by-the-operator"  # Both servers are started here before `secrets` runs.


class ComposeProcesses:
    """Processes of one installation in ``folder``; PostgreSQL and CouchDB run, the test starts everything else."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._supervisor = stack.enter_context(Supervisor(grace_s=TIMEOUT_S))
        self._started: list[str] = []
        self.health_errors: dict[str, str] = {}  # The last errors of each health check, by service.
        self._ports = {name: free_port() for name in ("redis", "couchdb", "postgres", *SERVICES)}
        self._metrics = {name: free_port() for name in SERVICES} | {"metrics": self._ports["metrics"]}
        self.postgres_url = self._start_postgres(stack)
        self.couchdb, self._couchdb_admin_url = self._start_couchdb(stack)
        self._ports["couchdb"] = urlsplit(self.couchdb).port or 0

    def _start_couchdb(self, stack: ExitStack) -> tuple[str, str | None]:
        """Start CouchDB; return its address, and the URL of the administrator of a real one, who is there already."""
        url = stack.enter_context(servers.couchdb_server())
        address = f"http://{urlsplit(url).netloc.rpartition('@')[2]}/"
        if couchdb_user(url) is not None:
            stack.enter_context(new_user(url, "releve"))
            return address, url
        # The entry point of the image makes the first administrator in this way.
        answer = requests.put(f"{address}_config/admins/admin", data=f'"{ADMIN_PASSWORD}"', timeout=DEADLINE_S)
        answer.raise_for_status()
        return address, None

    def _start_postgres(self, stack: ExitStack) -> str | None:
        """Start PostgreSQL with its first database; return None where it is not installed: SQLite takes its place."""
        try:
            url = stack.enter_context(servers.postgres_server(password=ADMIN_PASSWORD))
        except servers.NotInstalled:
            return None
        self._ports["postgres"] = urlsplit(url).port or 0
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE releve")
        return url

    def admit_couchdb_admin(self) -> None:
        """Name the administrator of a real CouchDB in the place of the one that ``secrets`` has named."""
        if self._couchdb_admin_url is not None:
            (self.folder / "secrets/migrate/measures_admin_url").write_text(self._couchdb_admin_url)

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[name]}"

    # -- what compose would do

    def command(self, name: str, command: list[str] | None = None) -> list[str]:
        program, *rest = command or words(name)
        path = BIN / program
        if program == "redis-server":
            program = str(find_server())
        return [
            str(path) if path.exists() else program,
            *(self._own_port(name, self._localize(name, word)) for word in rest),
        ]

    def environment(self, name: str) -> dict[str, str]:
        values = {key: self._localize(name, value) for key, value in environment(name).items()}
        data = self.folder / "data" / name
        data.mkdir(parents=True, exist_ok=True)
        values["RELEVE_DATA_DIR"] = str(data)
        if self.postgres_url is None and values.pop("RELEVE_REGISTRY_URL_FILE", None):
            values.pop("RELEVE_REGISTRY_ADMIN_URL_FILE", None)
            values["RELEVE_REGISTRY_URL"] = f"sqlite:///{self.folder / 'registry.db'}"
        return {**values, **QUICK_SETTINGS}

    def _localize(self, service: str, text: str) -> str:
        """Replace the names of hosts, ports and folders by those of this machine."""
        for host in ("redis", "postgres", "couchdb"):
            text = text.replace(f"{host}:{_PORTS[host]}", f"127.0.0.1:{self._ports[host]}")
        for host in ("web", "simulator"):
            text = text.replace(f"http://{host}:{_PORTS[host]}", self.address(host))
        if text == str(_PORTS["metrics"]):
            return str(self._metrics[service])
        for folder in ("/ledger/", "/backups"):
            text = text.replace(folder, f"{self.folder}{folder}")
        text = text.replace("/run/settings.env", f"{self.folder}/settings.env")
        return text.replace("0.0.0.0", "127.0.0.1").replace("/secrets", str(self._secrets(service)))

    def _own_port(self, service: str, word: str) -> str:
        """Replace the port that the service itself listens on; addresses for browsers stay as they are."""
        port, own_port = str(_PORTS.get(service)), str(self._ports[service])
        if word == port:
            return own_port
        if service == "redis":
            return word.replace("redis-cli", f"redis-cli -p {own_port}")
        return word.replace(f"--port={port}", f"--port={own_port}").replace(
            f"127.0.0.1:{port}", f"127.0.0.1:{own_port}"
        )

    def _secrets(self, service: str) -> Path:
        """Return the folder that takes the place of the service's volume of secrets."""
        root = self.folder / "secrets"
        source = mounts(service).get("/secrets", "")
        return root / source.partition(":")[0].removeprefix("secrets-") if source else root

    # -- running

    def run(self, name: str, command: list[str] | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a service that ends, or another command in its place, as ``docker compose run`` does."""
        env = {**os.environ, **self.environment(name), **variables}
        return subprocess.run(
            self.command(name, command),
            env=env,
            text=True,
            capture_output=True,
            timeout=120,
            check=False,
        )

    def ask(self, name: str, *words: str) -> CommandResult:
        """Run ``releve WORD …`` with a service's settings in this process, because Python takes a second to start."""
        settings = {key: value for key, value in self.environment(name).items() if key.startswith(PREFIX)}
        return run_releve(self.folder, settings, *self.command(name, ["releve", *words])[1:])

    def start(self, name: str, *options: str) -> None:
        command = [*self.command(name), *options]
        self._supervisor.start(name, command, env=self.environment(name), log_path=self._log_path(name))
        self._started.append(name)

    def is_healthy(self, name: str) -> bool:
        """Tell whether the service's own health check passes; fails the test where a service has ended."""
        assert not (exits := self._supervisor.collect_exits()), exits
        kind, *test = SERVICES[name]["healthcheck"]["test"]
        if test[0] == "releve":
            result = self.ask(name, *test[1:])
            self.health_errors[name] = result.err
            return result.code == 0
        answer = self.run(name, test if kind == "CMD" else ["sh", "-c", *test])
        self.health_errors[name] = answer.stderr
        return answer.returncode == 0

    def wait_healthy(self, name: str) -> None:
        until(lambda: self.is_healthy(name), lambda: f"{name}: {self.health_errors[name]}\n{self.log(name)}", TIMEOUT_S)

    def stop_all(self) -> dict[str, int]:
        """Stop all services with SIGTERM, Redis last, and return their exit codes, as ``docker compose stop`` does."""
        codes: dict[str, int] = {}
        for names in ([name for name in self._started if name != "redis"], ["redis"]):
            for name in names:
                self._supervisor.terminate(name)
            while not codes.keys() >= set(names):
                codes |= {end.name: end.code for end in self._supervisor.wait(TIMEOUT_S)}
        return codes

    def log(self, name: str) -> str:
        return self._log_path(name).read_text(errors="replace")

    def _log_path(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def start_redis(self) -> None:
        """Start Redis by the service's own command, with this machine's server, on a port of its own."""
        folder = self.folder / "data" / "redis"
        folder.mkdir(parents=True)
        self.start("redis", "--port", str(self._ports["redis"]), "--bind", "127.0.0.1", "--dir", str(folder))
        url = (self.folder / "secrets/beat/redis_url").read_text()

        def answers() -> bool:
            with suppress(redis.ConnectionError), redis.Redis.from_url(url) as client:
                return bool(client.ping())
            return False

        self._supervisor.wait_until_ready("redis", answers, TIMEOUT_S)


@contextmanager
def open_processes(folder: Path) -> Iterator[ComposeProcesses]:
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.chdir(folder)  # The developer's own .env and settings must not be read.
        for name in [name for name in os.environ if name.startswith(PREFIX) and "_TEST_" not in name]:
            patch.delenv(name)
        yield ComposeProcesses(folder, stack)


_PORTS: Mapping[str, int] = {
    "redis": 6379,
    "postgres": 5432,
    "couchdb": 5984,
    "web": 8000,
    "flower": 5555,
    "simulator": 8765,
    "metrics": 9808,
}
