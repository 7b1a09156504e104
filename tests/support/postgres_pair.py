"""A PostgreSQL primary and its synchronous standby, on two loopback addresses with one port: one URL names both."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

from drill.servers import as_user, find_postgres, unprivileged_user
from tests.support.servers import START_TIMEOUT_S, NotInstalled, temporary_folder
from worker.stores.child_processes import Supervisor, free_port

PRIMARY: Final = "127.0.0.1"
STANDBY: Final = "127.0.0.2"
# A commit counts once the standby has it, so that a lost primary takes no consent with it.
_SYNCHRONOUS: Final = {"synchronous_commit": "on", "synchronous_standby_names": "ANY 1 (*)", "wal_level": "replica"}


class PostgresPair:
    """Two servers; ``url`` leads to the one that accepts writes."""

    def __init__(self, folder: Path, children: Supervisor, binaries: Path) -> None:
        self._folder, self._children, self._binaries, self._port = folder, children, binaries, free_port()
        self.url = self._url(f"{PRIMARY},{STANDBY}") + "?target_session_attrs=read-write"
        self._run("initdb", "-D", "first", "-U", "releve", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        self._start("first", PRIMARY, **_SYNCHRONOUS)
        source = f"host={PRIMARY} port={self._port} user=releve"
        self._run("pg_basebackup", "-D", "second", "-d", source, "--write-recovery-conf", "--checkpoint=fast")
        self._start("second", STANDBY)

    def kill_primary(self) -> None:
        self._children.kill_child("first")

    def promote_standby(self) -> None:
        with psycopg.connect(self._url(STANDBY), autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")

    def _url(self, hosts: str) -> str:
        return f"postgresql://releve@{hosts}:{self._port}/postgres"

    def _start(self, name: str, address: str, **settings: str) -> None:
        settings |= {"listen_addresses": address, "port": str(self._port), "unix_socket_directories": ""}
        options = [f"--{key}={value}" for key, value in settings.items()]
        command = self._command("postgres", "-D", str(self._folder / name), *options)
        self._children.start(name, command, log_path=self._folder / f"{name}.log")
        self._children.wait_until_ready(name, lambda: self._answers(address), START_TIMEOUT_S)

    def _answers(self, address: str) -> bool:
        try:
            with psycopg.connect(self._url(address), connect_timeout=5):
                return True
        except psycopg.OperationalError:
            return False

    def _run(self, program: str, *options: str) -> None:
        subprocess.run(self._command(program, *options), cwd=self._folder, check=True, capture_output=True)

    def _command(self, program: str, *options: str) -> list[str]:
        return [*as_user(unprivileged_user()), str(self._binaries / program), *options]


@contextmanager
def postgres_pair() -> Iterator[PostgresPair]:
    """Yield a running pair with an empty database.  Raises NotInstalled."""
    binaries = find_postgres()
    if binaries is None or not (binaries / "pg_basebackup").exists():
        raise NotInstalled("no PostgreSQL: apt-get install postgresql")
    with temporary_folder(unprivileged_user()) as folder, Supervisor(grace_s=5) as children:
        yield PostgresPair(folder, children, binaries)
