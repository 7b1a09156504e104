"""What can't work ends the worker when it starts, with the reason in one line and a code that scripts see."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.house import BIN, open_house


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
