"""Commands close the connections to their databases, also where they end with an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.settings import PREFIX
from tests.support.commands import CommandResult, run_releve
from tests.support.sqlite_connections import assert_all_closed, recorded_connections
from worker.stores.redis.child_processes import free_port

METER = "60000000000001"
COMMANDS = (
    "migrate",
    "doctor",
    "keys rotate",
    "plan --apply",
    "tokens list",
    "metrics --once",
    "status",
    "freshness",
    "verify --all",
    "backup saved.tar.gz",
    "restore saved.tar.gz",
)


def test_no_command_leaves_a_connection_open(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Hides workers of other tests on the same Redis.
    monkeypatch.setattr("worker.stores.redis.heartbeats.Heartbeats.living_workers", lambda _: [])
    env = {
        "DATA_DIR": str(tmp_path / "data"),
        "REDIS_URL": redis_url,
        "ENEDIS_URL": f"http://127.0.0.1:{free_port()}",  # Nothing listens there.
    }

    def releve(*words: str) -> CommandResult:
        return run_releve(tmp_path, {PREFIX + name: value for name, value in env.items()}, *words)

    assert releve("accounts", "add", "--usage-point", METER).code == 0
    for command in COMMANDS:
        with recorded_connections() as connections:
            result = releve(*command.split())
            assert result.code != 2, result.err
            assert_all_closed(connections)
