"""Real servers for the tests, each on a free loopback port.

They end with the test, and even when pytest is killed with SIGKILL.
"""

from __future__ import annotations

import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

import psycopg
import redis

from drill.servers import find_couchdb_program, find_postgres, unprivileged_user
from tests.support.real_couchdb import own_databases, real_couchdb_url, whole_server
from tests.support.waiting import DEADLINE_S
from worker.errors import StoreUnavailable
from worker.stores.child_processes import Guard, free_port
from worker.stores.redis.embedded import find_server

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 60.0
# What PostgreSQL does beside its clients' statements, and plans that only large tables repay.
_BARE: Final = {
    "autovacuum": "off",
    "bgwriter_lru_maxpages": 0,
    "checkpoint_timeout": "1h",
    "jit": "off",
    "max_logical_replication_workers": 0,
    "max_parallel_workers_per_gather": 0,
    "max_wal_senders": 0,
    "wal_level": "minimal",
}


class NotInstalled(Exception):
    """The server is not installed on this machine; the text says how to install it."""


@contextmanager
def redis_server() -> Iterator[str]:
    """Yield the URL of an empty Redis-protocol server that keeps nothing on disk."""
    try:
        binary = find_server()
    except StoreUnavailable as missing:
        raise NotInstalled(str(missing)) from None
    port = free_port()
    options = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--maxmemory-policy", "noeviction"]
    url = f"redis://127.0.0.1:{port}/0"

    def answers() -> bool:
        with redis.Redis.from_url(url) as client:
            return bool(client.ping())

    with temporary_folder() as folder, _running([str(binary), *options], folder, answers, redis.ConnectionError):
        yield url


@contextmanager
def couchdb_server(*, direct: bool = False) -> Iterator[str]:
    """Yield the URL of an empty CouchDB-protocol server, in the form of RELEVE_MEASURES_URL.

    It is the real one that RELEVE_TEST_COUCHDB_URL names, else the stand-in in memory; everything that needs a CouchDB
    gets it here.  Of the real one each caller gets databases of its own; with ``direct`` it gets the server, without a
    relay in between that would cost time: that one must be empty.
    """
    real = real_couchdb_url()
    with _stand_in() if real is None else whole_server(real) if direct else own_databases(real) as url:
        yield url


@contextmanager
def _stand_in() -> Iterator[str]:
    program = find_couchdb_program()
    if program is None:
        raise NotInstalled("no CouchDB-protocol server: install node, then run tests/install_servers.sh")
    port = free_port()
    options = ["--in-memory", "--host", "127.0.0.1", "--port", str(port), "--no-stdout-logs"]

    def answers() -> bool:
        with urlopen(f"http://127.0.0.1:{port}/", timeout=DEADLINE_S) as answer:
            return bool(answer.status == 200)

    with temporary_folder() as folder, _running([*program, *options], folder, answers, URLError):
        yield f"couchdb+http://127.0.0.1:{port}/"


@contextmanager
def postgres_server(*, durable: bool = False, password: str | None = None) -> Iterator[str]:
    """Yield the URL of the first database of a PostgreSQL server with an empty cluster; it doesn't run as root.

    ``durable`` makes each commit wait for the disk, as in production; benchmarks need that.  With ``password``, that
    of its superuser, the server asks every user for one.
    """
    binaries, user = find_postgres(), unprivileged_user()
    if binaries is None:
        raise NotInstalled("PostgreSQL is not installed here")
    port = free_port()
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": ""}
    settings |= dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "on" if durable else "off")
    if not durable:
        settings |= _BARE
    url = f"postgresql://releve:{password or 'secret'}@127.0.0.1:{port}/postgres"

    def answers() -> bool:
        with psycopg.connect(url, connect_timeout=5):
            return True

    with temporary_folder(user) as folder:
        (folder / "password").write_text(f"{password or 'secret'}\n")
        authentication = ["-A", "scram-sha-256" if password else "trust", "--pwfile=password"]
        cluster = ["-D", "data", "-U", "releve", *authentication, "-E", "UTF8", "--no-locale", "--no-sync"]
        subprocess.run([binaries / "initdb", *cluster], cwd=folder, check=True, capture_output=True, **_as_user(user))
        options = [f"--{name}={value}" for name, value in settings.items()]
        command = [str(binaries / "postgres"), "-D", "data", *options]
        # SIGINT is PostgreSQL's quick end; SIGTERM would wait for its clients.
        with _running(command, folder, answers, psycopg.OperationalError, user=user, end=signal.SIGINT):
            yield url


@contextmanager
def fresh_database(postgres_url: str, options: str = "") -> Iterator[str]:
    """Yield the URL of a new database on the server; it is dropped afterwards, with all its connections.

    ``options``: those of CREATE DATABASE.
    """
    name = f"t{time.monotonic_ns():x}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} {options}")
        try:
            yield f"{postgres_url.rpartition('/')[0]}/{name}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _as_user(user: str | None) -> dict[str, Any]:
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


@contextmanager
def temporary_folder(owner: str | None = None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="releve-test-", ignore_cleanup_errors=True) as folder:
        if owner is not None:
            shutil.chown(folder, owner)
        yield Path(folder)


@contextmanager
def _running(
    command: Sequence[str],
    folder: Path,
    answers: Callable[[], bool],
    not_yet: type[Exception],
    *,
    user: str | None = None,
    end: signal.Signals = signal.SIGTERM,
) -> Iterator[None]:
    """Run ``command`` in ``folder``; the block begins once it ``answers``."""
    guard = Guard()
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            **_as_user(user),
        )
    try:
        guard.watch(process.pid)
        _wait_until(answers, not_yet, process, folder / "output.log")
        yield
    finally:
        process.send_signal(end)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        guard.unwatch(process.pid)
        guard.close()


def _wait_until(
    answers: Callable[[], bool], not_yet: type[Exception], process: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if answers():
                return
        except not_yet:
            time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} did not start: {log.read_text(errors='replace')[-2000:]}")
