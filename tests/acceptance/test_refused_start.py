"""Settings that can't work end a process at its start, with the reason in one line and an exit code."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.system import BIN, open_system, until


def start(env: dict[str, str], *words: str) -> tuple[int, str]:
    command = [BIN / "celery", "-A", "worker", *words]
    completed = subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False
    )
    return completed.returncode, completed.stdout + completed.stderr


def test_a_redis_that_evicts_keys_is_refused(tmp_path: Path) -> None:
    with open_system(tmp_path) as system:
        system.redis.config_set("maxmemory-policy", "allkeys-lru")
        code, output = start(system.environment(), "worker")
        assert code != 0
        assert "this Redis evicts keys (maxmemory-policy allkeys-lru): set maxmemory-policy noeviction" in output
        assert "Traceback" not in output
        assert "evicts keys" in system.releve("status", code=1).stderr


@pytest.mark.parametrize("command", ["worker", "beat"])
def test_a_pretended_time_is_refused_with_the_suppliers_own_hosts(tmp_path: Path, command: str) -> None:
    with open_system(tmp_path) as system:
        env = system.environment(ENEDIS_URL="", PRETEND_NOW="2024-07-25T09:00+02:00")
        code, output = start(env, command)
        assert code != 0
        assert "releve: RELEVE_PRETEND_NOW" in output
        assert "Traceback" not in output


@pytest.mark.parametrize("words", [("celery", "-A", "worker", "worker"), ("releve", "up", "--flower-port", "0")])
def test_the_simulators_credentials_are_refused_with_the_suppliers_own_hosts(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    with open_system(tmp_path) as system:
        env = {**os.environ, **system.environment(ENEDIS_URL="")}
        command = [BIN / words[0], *words[1:]]
        completed = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert completed.returncode != 0
        error = (
            "releve: set RELEVE_ENEDIS_CLIENT_ID and RELEVE_ENEDIS_CLIENT_SECRET, or RELEVE_ENEDIS_URL to a simulator"
        )
        assert error in completed.stdout + completed.stderr
        assert "Traceback" not in completed.stdout + completed.stderr
        assert system.releve("accounts", "list", ENEDIS_URL="").returncode == 0, "the registry can be looked at"


def test_beat_needs_neither_keys_nor_registry_nor_the_suppliers_secret(tmp_path: Path) -> None:
    unreachable = {
        "REGISTRY_URL": "postgresql://nobody@127.0.0.1:1/none",
        "MEASURES_URL": "couchdb+http://127.0.0.1:1/",
    }
    with open_system(
        tmp_path, **unreachable, TOKEN_KEYS="no key at all", ENEDIS_URL="", RECONCILE_EVERY_S="1"
    ) as system:
        system.start_beat()
        until(lambda: system.redis.hget("releve:heartbeat", "beat"), "beat's first message")
        assert not list((system.folder / "data").glob("*.key*")), "it made none"
