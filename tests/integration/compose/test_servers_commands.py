"""Commands of docker-compose.yml for the servers' own images, as far as a machine without the images can run them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.integration.compose.reading import SERVICES


def test_couchdb_starts_as_its_image_does_with_the_password_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "admin_password").write_text("from-the-file")
    tini = tmp_path / "tini"
    tini.write_text('#!/bin/sh\necho "$COUCHDB_PASSWORD" "$@"\n')
    tini.chmod(0o755)
    script = [word.replace("/secrets", str(tmp_path)) for word in SERVICES["couchdb"]["entrypoint"]]
    command = [*script, *SERVICES["couchdb"]["command"]]
    answer = subprocess.run(
        command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    assert answer.stdout == "from-the-file -- /docker-entrypoint.sh /opt/couchdb/bin/couchdb\n"


@pytest.mark.parametrize(
    ("status", "answer", "healthy"),
    [
        (200, b'{"status":"ok","seeds":{}}', True),
        (404, b'{"status":"maintenance_mode"}', False),
        (500, b"", False),
    ],
)
def test_couchdb_is_healthy_when_it_says_so(status: int, answer: bytes, healthy: bool) -> None:
    with _answering(status, answer) as port:
        assert (_couchdb_health(port) == 0) is healthy


def test_couchdb_that_does_not_listen_is_not_healthy() -> None:
    with _answering(200, b"") as port:
        pass
    assert _couchdb_health(port) != 0


def _couchdb_health(port: int) -> int:
    kind, *command = SERVICES["couchdb"]["healthcheck"]["test"]
    assert kind == "CMD"
    local_command = [word.replace("/5984;", f"/{port};") for word in command]
    assert local_command != command
    return subprocess.run(local_command, capture_output=True, timeout=30, check=False).returncode


@contextmanager
def _answering(status: int, body: bytes) -> Iterator[int]:
    class Up(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/_up" else 418)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Up) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()
