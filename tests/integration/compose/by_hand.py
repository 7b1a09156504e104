"""The services of docker-compose.yml started by hand: their own commands, environments and secrets, on real servers.

What compose's network and volumes would do is done by putting loopback ports and folders in place of names and paths.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis
import requests

from config.settings import PREFIX
from tests.integration.compose.reading import SERVICES, environment, mounts, words
from tests.support import servers
from tests.support.commands import Ended, run_here
from worker.stores.redis.child_processes import Guard, free_port

BIN = Path(sys.executable).parent
PATIENCE_S = 60.0
# Beat's first sign of life comes with the first thing that it sends; the load curve's history is only more of the same.
IMPATIENT = {"RELEVE_RECONCILE_EVERY_S": "2", "RELEVE_HISTORY_LOAD_DAYS": "0"}
ADMIN_PASSWORD = "Chosen-by-the-operator"  # of both: their servers here are started before `secrets` runs


class ByHand:
    """``secrets`` has run in ``folder``, the servers are up; the rest is for the test to start."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self.folder = folder
        self._guard = Guard()
        opened.callback(self._guard.close)
        opened.callback(self.stop_all)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.complaints: dict[str, str] = {}  # what each health check said last
        self._ports = {name: free_port() for name in ("redis", "couchdb", "postgres", *SERVICES)}
        self._metrics = {name: free_port() for name in SERVICES} | {"metrics": self._ports["metrics"]}
        self.postgres_url = self._start_postgres(opened)
        self.couchdb = opened.enter_context(servers.couchdb_server()).removeprefix("couchdb+")
        self._ports["couchdb"] = urlsplit(self.couchdb).port or 0
        # the first administrator, as the image's entry point makes it
        made = requests.put(f"{self.couchdb}_config/admins/admin", data=f'"{ADMIN_PASSWORD}"', timeout=10)
        made.raise_for_status()

    def _start_postgres(self, opened: ExitStack) -> str | None:
        """With its first database, as the image makes it; None where PostgreSQL is not installed: SQLite serves."""
        try:
            url = opened.enter_context(servers.postgres_server(password=ADMIN_PASSWORD))
        except servers.NotInstalled:
            return None
        self._ports["postgres"] = urlsplit(url).port or 0
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE releve")
        return url

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[name]}"

    # -- what compose would do

    def command(self, name: str, command: list[str] | None = None) -> list[str]:
        program, *rest = command or words(name)
        found = BIN / program
        return [str(found) if found.exists() else program, *(self._door(name, self._here(name, word)) for word in rest)]

    def environment(self, name: str) -> dict[str, str]:
        told = {key: self._here(name, value) for key, value in environment(name).items()}
        data = self.folder / "data" / name
        data.mkdir(parents=True, exist_ok=True)
        ours = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        told["RELEVE_DATA_DIR"] = str(data)
        if self.postgres_url is None and told.pop("RELEVE_REGISTRY_URL_FILE", None):
            told.pop("RELEVE_REGISTRY_ADMIN_URL_FILE", None)
            told["RELEVE_REGISTRY_URL"] = f"sqlite:///{self.folder / 'registry.db'}"
        return {**ours, **told, **IMPATIENT}

    def _here(self, service: str, text: str) -> str:
        """Names of hosts, ports and folders as they are on this machine, without an engine."""
        for host in ("redis", "postgres", "couchdb"):
            text = text.replace(f"{host}:{_PORTS[host]}", f"127.0.0.1:{self._ports[host]}")
        for host in ("web", "simulator"):
            text = text.replace(f"http://{host}:{_PORTS[host]}", self.address(host))
        if text == str(_PORTS["metrics"]):
            return str(self._metrics[service])
        return text.replace("0.0.0.0", "127.0.0.1").replace("/secrets", str(self._secrets(service)))

    def _door(self, service: str, word: str) -> str:
        """The port that the service itself listens on; addresses for browsers stay, they lead nowhere from inside."""
        inside, here = str(_PORTS.get(service)), str(self._ports[service])
        if word == inside:
            return here
        if service == "redis":
            return word.replace("redis-cli", f"redis-cli -p {here}")
        return word.replace(f"--port={inside}", f"--port={here}").replace(f"127.0.0.1:{inside}", f"127.0.0.1:{here}")

    def _secrets(self, service: str) -> Path:
        """Where that service's volume is."""
        whole = self.folder / "secrets"
        source = mounts(service).get("/secrets", "")
        return whole / source.partition(":")[0].removeprefix("secrets-") if source else whole

    # -- running

    def run(self, name: str, command: list[str] | None = None, **given: str) -> subprocess.CompletedProcess[str]:
        """A service that ends, or another command in its place, as ``docker compose run`` does."""
        env = {**self.environment(name), **given}
        return subprocess.run(
            self.command(name, command),
            env=env,
            cwd=self.folder,
            text=True,
            capture_output=True,
            timeout=120,
            check=False,
        )

    def ask(self, name: str, *words: str) -> Ended:
        """``releve WORD …`` with a service's settings, in this process: Python takes a second to start."""
        told = {key: value for key, value in self.environment(name).items() if key.startswith(PREFIX)}
        return run_here(self.folder, told, *self.command(name, ["releve", *words])[1:])

    def start(self, name: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                self.command(name),
                env=self.environment(name),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._guard.watch(process.pid)
        self._running[name] = process

    def healthy(self, name: str) -> bool:
        """Whether the service's own health check passes; fails the test where the service has ended."""
        process = self._running[name]
        assert process.poll() is None, f"{name} ended with {process.returncode}: {self.log(name)[-2000:]}"
        kind, *test = SERVICES[name]["healthcheck"]["test"]
        answer = self.run(name, test if kind == "CMD" else ["sh", "-c", *test])
        self.complaints[name] = answer.stderr
        return answer.returncode == 0

    def wait_healthy(self, name: str) -> None:
        wait_until(lambda: self.healthy(name), lambda: f"{name}: {self.complaints[name]}\n{self.log(name)}")

    def stop_all(self) -> dict[str, int]:
        """As ``docker compose stop``: the exit codes after SIGTERM; Redis goes when the others are gone."""
        stopped, codes = self._running, {}
        self._running = {}
        for name in sorted(stopped, key=lambda name: name == "redis"):
            if name == "redis":
                codes = {name: self._wait(process) for name, process in stopped.items() if name != "redis"}
            stopped[name].send_signal(signal.SIGTERM)
        return codes | {name: self._wait(process) for name, process in stopped.items() if name not in codes}

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        try:
            return process.wait(PATIENCE_S)
        finally:
            process.kill()
            process.wait()
            self._guard.unwatch(process.pid)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def start_redis(self) -> None:
        """The service's own command, with this machine's server, on a port of its own."""
        folder = self.folder / "data" / "redis"
        folder.mkdir(parents=True)
        program, *rest = self.command("redis")
        assert program.endswith("redis-server")
        here = ["--port", str(self._ports["redis"]), "--bind", "127.0.0.1", "--dir", str(folder)]
        with (self.folder / "redis.log").open("wb") as log:
            self._running["redis"] = subprocess.Popen(
                [servers.redis_binary(), *rest, *here], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._guard.watch(self._running["redis"].pid)
        url = (self.folder / "secrets/beat/redis_url").read_text()

        def answers() -> bool:
            try:
                with redis.Redis.from_url(url) as client:
                    return bool(client.ping())
            except redis.ConnectionError:
                return False

        wait_until(answers, lambda: self.log("redis"))


@contextmanager
def by_hand(folder: Path) -> Iterator[ByHand]:
    with ExitStack() as opened:
        yield ByHand(folder, opened)


def wait_until(
    happened: Callable[[], Any], told: Callable[[], str] = lambda: "", patience_s: float = PATIENCE_S
) -> Any:
    """What it gives at last; not a measure of speed."""
    give_up = time.monotonic() + patience_s
    while not (outcome := happened()):
        assert time.monotonic() < give_up, told()[-3000:]
        time.sleep(0.1)
    return outcome


_PORTS: Mapping[str, int] = {
    "redis": 6379,
    "postgres": 5432,
    "couchdb": 5984,
    "web": 8000,
    "flower": 5555,
    "simulator": 8765,
    "metrics": 9808,
}
