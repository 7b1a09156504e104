"""Commands of docker-compose.yml for the servers' own images, as far as a machine without the images can run them."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.compose.reading import SERVICES
from tests.support.canned_server import CUT, CannedAnswer, answer, canned_server

pytestmark = pytest.mark.rest


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
    ("said", "healthy"),
    [
        (answer(200, '{"status":"ok","seeds":{}}'), True),
        (answer(404, '{"status":"maintenance_mode"}'), False),
        (answer(500, ""), False),
        (CUT, False),
    ],
)
def test_couchdb_is_healthy_when_it_says_so(said: CannedAnswer, healthy: bool) -> None:
    with canned_server(replace(said, cut=True)) as server:
        assert (_couchdb_health(urlsplit(server.url).port) == 0) is healthy
        assert [path for _, path, _ in server.requests] == ["/_up"]


def _couchdb_health(port: int | None) -> int:
    kind, *command = SERVICES["couchdb"]["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    local_command = [word.replace("/5984;", f"/{port};") for word in command]
    assert local_command != command
    return subprocess.run(["sh", "-c", *local_command], capture_output=True, timeout=30, check=False).returncode
