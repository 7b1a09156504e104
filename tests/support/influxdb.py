"""A real InfluxDB for the tests, with a database, a user who may write it and read it, and authentication."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests

from tests.support.servers import START_TIMEOUT_S, NotInstalled
from tests.support.waiting import DEADLINE_S
from worker.stores.child_processes import Supervisor, free_port

USER, PASSWORD, DATABASE = "releve", "s3cret-of-influx", "home"
_ROOT: Final = ("root", "s3cret-of-root")
_CONFIG: Final = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc_port}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
[http]
bind-address = "127.0.0.1:{port}"
auth-enabled = true
log-enabled = false
[monitor]
store-enabled = false
"""


@dataclass(frozen=True)
class InfluxDB:
    """The running server."""

    url: str

    def query(self, text: str) -> list[dict[str, Any]]:
        """Return the series of an InfluxQL query. Raises AssertionError with the server's error."""
        return self._ask(text, (USER, PASSWORD), "GET")

    def allow(self, right: str) -> None:
        """Give the user only this right: ``READ``, ``WRITE`` or ``ALL``."""
        for text in (f"REVOKE ALL ON {DATABASE} FROM {USER}", f"GRANT {right} ON {DATABASE} TO {USER}"):
            self._ask(text, _ROOT, "POST")

    def forget(self, account_id: str) -> None:
        """Delete all points of an account."""
        self._ask(f"DROP SERIES WHERE account = '{account_id}'", _ROOT, "POST")

    def set_up(self) -> None:
        self._ask(f"CREATE USER {_ROOT[0]} WITH PASSWORD '{_ROOT[1]}' WITH ALL PRIVILEGES", None, "POST")
        for text in (
            f"CREATE DATABASE {DATABASE}",
            f"CREATE USER {USER} WITH PASSWORD '{PASSWORD}'",
            f"GRANT ALL ON {DATABASE} TO {USER}",
        ):
            self._ask(text, _ROOT, "POST")

    def _ask(self, text: str, login: tuple[str, str] | None, method: str) -> list[dict[str, Any]]:
        parameters = {"q": text, "db": DATABASE, "epoch": "s"}
        answer = requests.request(method, f"{self.url}/query", params=parameters, auth=login, timeout=DEADLINE_S).json()
        assert "error" not in answer, answer
        (result,) = answer["results"]
        assert "error" not in result, result
        return list(result.get("series", []))


@contextmanager
def influxdb() -> Iterator[InfluxDB]:
    """Yield a running server with an empty database. Raises NotInstalled."""
    program = shutil.which("influxd")
    if program is None:
        raise NotInstalled("no InfluxDB: apt-get install influxdb")
    with ExitStack() as opened:
        name = opened.enter_context(tempfile.TemporaryDirectory(prefix="releve-influx-", ignore_cleanup_errors=True))
        folder, port = Path(name), free_port()
        config = folder / "influxdb.conf"
        config.write_text(_CONFIG.format(folder=folder, port=port, rpc_port=free_port()))
        children = opened.enter_context(Supervisor(grace_s=5))
        children.start("influxdb", [program, "run", "-config", str(config)], log_path=folder / "log")
        server = InfluxDB(f"http://127.0.0.1:{port}")

        def answers() -> bool:
            return requests.get(f"{server.url}/ping", timeout=DEADLINE_S).status_code == 204

        children.wait_until_ready("influxdb", answers, START_TIMEOUT_S)
        server.set_up()
        yield server
