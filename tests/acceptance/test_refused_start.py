"""Settings that can't work end a process at its start, with the reason in one line and an exit code."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.system import BIN, open_system, until

WORKER, BEAT = ("celery", "-A", "worker", "worker"), ("celery", "-A", "worker", "beat")
UP = ("releve", "up", "--flower-port", "0")
WEB = ("releve", "web", "--port", "0")
PUBLIC = {"PUBLIC_URL": "https://releve.example.org"}
NO_PROXY_NAMED = "releve: RELEVE_PUBLIC_URL is a public address, but FORWARDED_ALLOW_IPS is not set: set it to"  # M6 d
PLAIN = {"PUBLIC_URL": "http://192.168.1.20:8000"}
PLAIN_HTTP = "releve: RELEVE_PUBLIC_URL is http:// on another machine"  # L5
EVICTS = "this Redis evicts keys (maxmemory-policy allkeys-lru): set maxmemory-policy noeviction"
NO_CREDENTIALS = "releve: no home and no credentials here: for your home, `cd`"
OWN_HOSTS = {"ENEDIS_URL": ""}
PRETENDED = {**OWN_HOSTS, "PRETEND_NOW": "2024-07-25T09:00+02:00"}


@pytest.mark.parametrize(
    "words, settings, policy, message",
    [
        (WEB, PUBLIC, "noeviction", NO_PROXY_NAMED),
        ((*UP, "--port", "0"), PUBLIC, "noeviction", NO_PROXY_NAMED),
        (WEB, PLAIN, "noeviction", PLAIN_HTTP),
        ((*WEB, "--host", "192.0.2.1"), {}, "noeviction", PLAIN_HTTP),
        ((*UP, "--port", "0"), PLAIN, "noeviction", PLAIN_HTTP),
        (WORKER, {}, "allkeys-lru", EVICTS),
        (("releve", "status"), {}, "allkeys-lru", "evicts keys"),
        (WORKER, PRETENDED, "noeviction", "releve: RELEVE_PRETEND_NOW"),
        (BEAT, PRETENDED, "noeviction", "releve: RELEVE_PRETEND_NOW"),
        (WORKER, OWN_HOSTS, "noeviction", NO_CREDENTIALS),
        (UP, OWN_HOSTS, "noeviction", NO_CREDENTIALS),
        (("releve", "accounts", "list"), OWN_HOSTS, "noeviction", None),  # The registry can be looked at.
    ],
)
def test_what_can_not_work_is_refused_with_the_reason(
    tmp_path: Path, words: tuple[str, ...], settings: dict[str, str], policy: str, message: str | None
) -> None:
    with open_system(tmp_path) as system:
        system.redis.config_set("maxmemory-policy", policy)
        env = {**os.environ, **system.environment(**settings)}
        command = [BIN / words[0], *words[1:]]
        completed = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    output = completed.stdout + completed.stderr
    assert "Traceback" not in output
    assert (completed.returncode == 0) is (message is None), output
    assert (message or "") in output


@pytest.mark.change
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
