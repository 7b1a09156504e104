"""What can't work ends the worker when it starts, with the reason in one line and a code that scripts see."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.system import BIN, open_house, until


def start(env: dict[str, str], *words: str) -> tuple[int, str]:
    command = [BIN / "celery", "-A", "worker", *words]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_redis_that_evicts_keys_is_refused(tmp_path: Path) -> None:
    with open_house(tmp_path) as house:
        house.redis.config_set("maxmemory-policy", "allkeys-lru")
        code, told = start(house.env(), "worker")
        assert code != 0
        assert "this Redis evicts keys (maxmemory-policy allkeys-lru): set maxmemory-policy noeviction" in told
        assert "Traceback" not in told
        assert "evicts keys" in house.releve("status", code=1).stderr


@pytest.mark.parametrize("command", ["worker", "beat"])
def test_a_pretended_time_is_refused_with_the_suppliers_own_hosts(tmp_path: Path, command: str) -> None:
    with open_house(tmp_path) as house:
        env = house.env(ENEDIS_URL="", PRETEND_NOW="2024-07-25T09:00+02:00")
        code, told = start(env, command)
        assert code != 0
        assert "releve: RELEVE_PRETEND_NOW" in told
        assert "Traceback" not in told


@pytest.mark.parametrize("words", [("celery", "-A", "worker", "worker"), ("releve", "up", "--flower-port", "0")])
def test_the_simulators_credentials_are_refused_with_the_suppliers_own_hosts(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    with open_house(tmp_path) as house:
        env = {**os.environ, **house.env(ENEDIS_URL="")}
        command = [BIN / words[0], *words[1:]]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode != 0
        told = (
            "releve: set RELEVE_ENEDIS_CLIENT_ID and RELEVE_ENEDIS_CLIENT_SECRET, or RELEVE_ENEDIS_URL to a simulator"
        )
        assert told in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert house.releve("accounts", "list", ENEDIS_URL="").returncode == 0, "the registry can be looked at"


def test_beat_needs_neither_keys_nor_registry_nor_the_suppliers_secret(tmp_path: Path) -> None:
    nothing = {"REGISTRY_URL": "postgresql://nobody@127.0.0.1:1/none", "MEASURES_URL": "couchdb+http://127.0.0.1:1/"}
    with open_house(tmp_path, **nothing, TOKEN_KEYS="no key at all", ENEDIS_URL="", RECONCILE_EVERY_S="1") as house:
        house.start_beat()
        until(lambda: house.redis.get("releve:pulse:beat"), "beat's first message")
        assert not list((house.folder / "data").glob("*.key*")), "it made none"
