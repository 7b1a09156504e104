"""A home as its owner runs it: an empty folder, a token, `releve up`, and nothing else set."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from celery import Celery
from redis import RedisError

from config.settings import PREFIX
from tests.support.own_home import GATEWAY, gateway_token
from tests.support.system import BIN
from tests.support.waiting import DEADLINE_S, until
from worker.stores.child_processes import answers, free_port
from worker.stores.redis.connection import connect
from worker.stores.redis.embedded import ServerFolder, find_server
from worker.stores.sockets import listen

HEARD_OF = (
    "worker and web are running; logs in releve-data/logs; Ctrl-C ends them",
    "pages and API at http://127.0.0.1",
)


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return {**others, f"{PREFIX}GATEWAY_URL": GATEWAY}


def releve(folder: Path, environment: Mapping[str, str], *words: str, text: str = "") -> str:
    command = [BIN / "releve", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, input=text, capture_output=True, text=True, check=False, timeout=60
    ).stdout


@pytest.fixture(scope="module")
def added_home(tmp_path_factory: pytest.TempPathFactory, environment: Mapping[str, str]) -> Path:
    """Return a folder with a home, as the command leaves it; each test takes a copy."""
    folder = tmp_path_factory.mktemp("home")
    added = releve(folder, environment, "home", "add", "--token", "-", text=gateway_token())
    assert "…0077 added" in added or "…0077 ajouté" in added
    return folder


@pytest.fixture
def home(tmp_path: Path, added_home: Path) -> Path:
    """Copy the home into the test's folder, and return that."""
    return shutil.copytree(added_home, tmp_path, dirs_exist_ok=True)


@pytest.fixture
def up(home: Path, environment: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    port = free_port()
    command = [BIN / "releve", "up", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(address), "the home's pages", not_yet=(OSError,))
        yield process, address
    finally:
        with suppress(ProcessLookupError):
            process.kill()  # Its guard ends what it started.
        process.wait()
        if process.stdout:
            process.stdout.close()
        until(lambda: not ServerFolder(home / "releve-data").is_running(), "the end of Redis")


def refused_up(folder: Path, environment: Mapping[str, str], port: int) -> str:
    """Run one that must end at once and start nothing; return its line."""
    command = [BIN / "releve", "up", "--port", str(port)]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=30
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    return line


def children_of(pid: int) -> dict[str, int]:
    """Return the pids of a process's children by their last word but options."""
    found = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    rows = [line.split(maxsplit=1) for line in found.stdout.splitlines()]
    names = ("worker.ops.home_worker", "worker web", "guard.py", "valkey-server", "redis-server")
    return {next((name for name in names if name in args), args): int(number) for number, args in rows}


def test_a_home_runs_in_two_small_processes_and_ends_whole(
    tmp_path: Path, environment: Mapping[str, str], up: tuple[subprocess.Popen[str], str]
) -> None:
    process, address = up
    server = find_server().name
    assert children_of(process.pid).keys() == {"worker.ops.home_worker", "worker web", "guard.py", server}
    assert "…0077" in requests.get(address, timeout=DEADLINE_S).text  # No cookie and no password.

    def checks() -> dict[str, bool]:
        rows = [json.loads(line) for line in releve(tmp_path, environment, "doctor", "--json").splitlines()]
        return {row["check"]: row["level"] == "ok" for row in rows}

    # Asked of Redis first: each call of the command is a process.
    with connect(ServerFolder(tmp_path / "releve-data").url) as redis:
        until(lambda: redis.hexists("releve:heartbeat", "beat"), "a task of beat's that the worker has run")
    until(lambda: {"workers", "beat"} <= {name for name, is_ok in checks().items() if is_ok}, "a worker and beat")
    releve(tmp_path, environment, "migrate")  # As in the container: both stores are there from the start.
    quick = "from worker.ops.quick_health import is_well; print(is_well('ready --role worker'))"
    asked = [sys.executable, "-c", quick]
    assert subprocess.run(asked, cwd=tmp_path, env=environment, capture_output=True, check=True).stdout == b"True\n"
    os.kill(children_of(process.pid)[server], signal.SIGKILL)  # As the kernel does when memory ends.
    send_tick(tmp_path)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert all(line in output for line in HEARD_OF) and "Flower" not in output
    assert not ServerFolder(tmp_path / "releve-data").is_running()
    assert all(checks()[name] for name in ("redis", "broker", "workers", "beat")), "a stopped installation has no fault"
    assert not ServerFolder(tmp_path / "releve-data").is_running()


def send_tick(folder: Path) -> None:
    """Send a task, as soon as Redis takes it, and wait until the worker has run it."""
    url = ServerFolder(folder / "releve-data").url
    with connect(url) as redis, Celery("tests", set_as_current=False) as publisher:
        until(lambda: redis.hdel("releve:heartbeat", "tick"), "Redis' next start", not_yet=(RedisError,))
        publisher.config_from_object("config.celery_options")
        publisher.conf.update(broker_url=url)
        publisher.send_task("tasks.upkeep.tick")
        until(lambda: redis.hexists("releve:heartbeat", "tick"), "a task after Redis' next start")


def test_a_second_up_in_the_same_folder_is_refused_at_once(
    tmp_path: Path, environment: Mapping[str, str], up: tuple[subprocess.Popen[str], str]
) -> None:
    process, address = up
    for port in (int(address.rpartition(":")[2]), free_port()):
        assert refused_up(tmp_path, environment, port) == (
            f"releve: `releve up` already runs in releve-data (process {process.pid}): stop it first, or set "
            "RELEVE_DATA_DIR to another folder"
        )
    assert children_of(process.pid).keys() == {"worker.ops.home_worker", "worker web", "guard.py", find_server().name}


def test_up_starts_again_after_a_kill(
    tmp_path: Path, environment: Mapping[str, str], up: tuple[subprocess.Popen[str], str]
) -> None:
    process, address = up
    process.kill()
    process.wait()
    command = [BIN / "releve", "up", "--port", address.rpartition(":")[2]]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as again:
        until(lambda: children_of(again.pid).keys() >= {"worker web"}, "the parts of the second run")
        until(lambda: answers(address), "the home's pages", not_yet=(OSError,))
        again.send_signal(signal.SIGTERM)
        assert all(line in again.communicate(timeout=60)[0] for line in HEARD_OF)


def test_a_taken_port_is_refused_before_anything_is_started(home: Path, environment: Mapping[str, str]) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        line = refused_up(home, environment, port)
    assert line == (f"releve: can't listen on 127.0.0.1:{port} (Address already in use): choose another --port")
    assert not (home / "releve-data" / "logs").exists()


def test_the_end_of_a_part_ends_all_with_one_line(up: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = up
    os.kill(children_of(process.pid)["worker web"], signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output.splitlines()[-1].startswith("releve: web ended unexpectedly by SIGKILL")
