"""docker-compose.yml without an engine: the client reads it, and each of our services' commands is run by hand."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from worker.supervisor import Supervisor, free_port

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
OURS = [name for name, service in COMPOSE["services"].items() if service.get("image") == "releve:latest"]
READY = {
    "worker-nightly": " ready.",
    "worker-backfill": " ready.",
    "beat": "beat: Starting...",
    "flower": "Visit me at",
    "web": "serving at",
    "simulator": "simulating Enedis at",
}
SECRETS = (
    "REDIS_PASSWORD",
    "POSTGRES_PASSWORD",
    "COUCHDB_PASSWORD",
    "FLOWER_PASSWORD",
    "RELEVE_TOKEN_KEYS",
    "RELEVE_SESSION_KEY",
)


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor() as children:
        yield children


def test_each_of_our_services_is_looked_at() -> None:
    assert set(OURS) == set(READY)


@pytest.mark.parametrize("name", OURS)
def test_a_services_own_command_starts(name: str, supervisor: Supervisor, redis_url: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    env = {"RELEVE_REDIS_URL": redis_url, "RELEVE_DATA_DIR": str(tmp_path), "RELEVE_ENEDIS_URL": "http://127.0.0.1:9"}
    supervisor.start(name, command_of(COMPOSE["services"][name]), env=env, log_path=log)
    give_up = time.monotonic() + 30
    while READY[name] not in log.read_text():
        assert not (gone := supervisor.ended()), f"{gone[0]}: {log.read_text()[-2000:]}"
        assert time.monotonic() < give_up, log.read_text()[-2000:]
        time.sleep(0.05)


def command_of(service: dict[str, Any]) -> list[str]:
    """As compose would run it, on a port that is free here, with the programs of this environment."""
    text = service["command"].replace("${FLOWER_USER:-admin}", "admin")
    text = text.replace("${FLOWER_PASSWORD:?set FLOWER_PASSWORD in .env}", "test")
    words = shlex.split(text.replace("0.0.0.0", "127.0.0.1").replace("5555", str(free_port())))
    if "--port" in words:
        words[words.index("--port") + 1] = str(free_port())
    return [str(BIN / words[0]), *words[1:]]


def test_flower_is_bound_to_this_machine_and_asks_for_a_password(
    supervisor: Supervisor, redis_url: str, tmp_path: Path
) -> None:
    flower = COMPOSE["services"]["flower"]
    assert all(port.startswith("127.0.0.1:") for port in flower["ports"])
    command = command_of(flower)
    port = next(word for word in command if word.startswith("--port=")).removeprefix("--port=")
    env = {"RELEVE_REDIS_URL": redis_url, "RELEVE_DATA_DIR": str(tmp_path)}
    supervisor.start("flower", command, env=env, log_path=tmp_path / "log")
    url, give_up = f"http://127.0.0.1:{port}/workers", time.monotonic() + 30
    while True:
        try:
            assert requests.get(url, timeout=5).status_code == 401
            break
        except requests.ConnectionError:
            assert time.monotonic() < give_up
            time.sleep(0.1)
    assert requests.get(url, auth=("admin", "test"), timeout=5).status_code == 200


def test_docker_compose_takes_the_file(tmp_path: Path) -> None:
    if shutil.which("docker") is None:
        pytest.skip("no docker client here")
    env_file = tmp_path / "env"
    env_file.write_text("".join(f"{name}=x\n" for name in SECRETS))
    command = ["docker", "compose", "--env-file", str(env_file), "-f", str(ROOT / "docker-compose.yml"), "config", "-q"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if "is not a docker command" in answer.stderr:
        pytest.skip("the docker client has no compose")
    assert answer.returncode == 0, answer.stderr


def test_a_missing_secret_is_refused_with_its_name() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    for name in SECRETS:
        assert f"${{{name}:?" in text
