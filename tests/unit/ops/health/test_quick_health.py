"""The health check that loads nothing: it says that all is well only where the whole check finds no fault."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from redis import Redis

from tests.support.canned_server import answer, canned_server
from worker.ops.check_results import summarize
from worker.ops.quick_health import BEAT_S, MAX_AGE_S, is_well
from worker.ops.store_checks import judge_redis
from worker.stores.registry.migrations import newest_step

NOW = 1_721_890_800.0
HOST = socket.gethostname()
GOOD = {
    "server_time_usec": int(NOW * 1e6),
    "role": "master",
    "loading": 0,
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "aof_last_bgrewrite_status": "ok",
    "cluster_enabled": 0,
}
HEAVY = ("celery", "click", "pydantic", "redis", "requests", "sqlalchemy", "worker.cli.main")


class FakeRedis:
    """One connection to a Redis with this INFO and these heartbeats."""

    def __init__(self, heartbeats: dict[str, str], **info: Any) -> None:
        self.sent = b""
        lines = "".join(f"{name}:{value}\r\n" for name, value in {**GOOD, **info}.items())
        texts = [text for pair in heartbeats.items() for text in pair]
        hash_answer = f"*{len(texts)}\r\n" + "".join(f"${len(text)}\r\n{text}\r\n" for text in texts)
        self.answer = f"+OK\r\n${len(lines)}\r\n{lines}\r\n{hash_answer}+OK\r\n".encode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def recv(self, size: int) -> bytes:
        received, self.answer = self.answer[:size], self.answer[size:]
        return received


def worker(age_s: float, name: str = f"celery@{HOST}") -> str:
    return json.dumps({"name": name, "seen_at": NOW - age_s, "queues": ["control"], "restarts": 0})


ALIVE = {"host-1-abc": worker(5), "beat": str(NOW - 20), "tick": str(NOW - 20)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with the stores of one machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELEVE_REDIS_URL", "redis://:p%40ss@redis.example:6380/0")
    for name in ("registry", "measures"):
        (tmp_path / "releve-data").mkdir(exist_ok=True)
        with closing(sqlite3.connect(tmp_path / "releve-data" / f"{name}.db")) as connection, connection:
            connection.execute("CREATE TABLE measure_day (id)")
            connection.execute("CREATE TABLE alembic_version AS SELECT ? AS version_num", (newest_step(),))
    return tmp_path


def put_redis(monkeypatch: pytest.MonkeyPatch, fake: FakeRedis) -> None:
    monkeypatch.setattr("socket.create_connection", lambda place, timeout: fake)


@pytest.mark.parametrize(
    "words", ["live --role worker", "ready --role worker", "live --role beat", "ready --role beat"]
)
@pytest.mark.usefixtures("folder")
def test_what_works_is_well(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRedis({**ALIVE, "host-0-abc": worker(300), "other-1-abc": worker(300, "celery@other")})
    put_redis(monkeypatch, fake)
    assert is_well(words)
    assert fake.sent.startswith(b'AUTH "p@ss"\r\nINFO\r\n')


@pytest.mark.parametrize(
    ("words", "heartbeats"),
    [
        ("live --role worker", {}),
        ("live --role worker", {"host-1-abc": worker(MAX_AGE_S + 1)}),
        ("live --role worker", {**ALIVE, "host-2-abc": worker(MAX_AGE_S + 1, f"nightly@{HOST}")}),
        ("ready --role worker", {"other-1-abc": worker(5, "celery@other")}),
        ("live --role worker --url http://127.0.0.1:9/", {}),
        ("ready --role beat", {"beat": str(NOW - BEAT_S - 1)}),
        ("ready --role beat", {}),
    ],
)
@pytest.mark.usefixtures("folder")
def test_a_silent_process_is_left_to_the_whole_check(
    words: str, heartbeats: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_redis(monkeypatch, FakeRedis(heartbeats))
    assert not is_well(words)


@pytest.mark.parametrize(
    "fault",
    [
        {"role": "slave"},
        {"loading": 1},
        {"cluster_enabled": 1},
        {"maxmemory_policy": "allkeys-lru"},
        {"aof_last_write_status": "err"},
        {"aof_last_bgrewrite_status": "err"},
    ],
    ids=str,
)
@pytest.mark.usefixtures("folder")
def test_where_the_whole_check_faults_redis_this_one_does_not_pass_it(
    fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert summarize("redis", judge_redis(cast(Redis, SimpleNamespace(info=lambda: {**GOOD, **fault})))).failed
    put_redis(monkeypatch, FakeRedis(ALIVE, **fault))
    assert not is_well("ready --role beat")


@pytest.mark.usefixtures("folder")
def test_a_redis_that_refuses_is_left_to_the_whole_check(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRedis(ALIVE)
    fake.answer = b"-WRONGPASS invalid username-password pair\r\n" + fake.answer
    put_redis(monkeypatch, fake)
    assert not is_well("ready --role beat")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RELEVE_BROKER_URL", "amqp://host"),
        ("RELEVE_REDIS_URL", "rediss://host"),
        ("RELEVE_REDIS_URL", "redis://host/1"),
        ("RELEVE_REGISTRY_URL", "mysql://host/registry"),
        ("RELEVE_MEASURES_URL", "sqlite:////elsewhere.db"),
        ("RELEVE_DATA_DIR", "elsewhere"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_this_check_does_not_know_is_left_to_the_whole_one(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_redis(monkeypatch, FakeRedis(ALIVE))
    monkeypatch.setenv(name, value)
    assert not is_well("ready --role worker")


@pytest.mark.parametrize(
    "words",
    ["", "live", "live --role", "live --role postman", "ready --role=worker", "--help", "ready --role worker x"],
)
@pytest.mark.usefixtures("folder")
def test_other_words_are_left_to_the_command(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_redis(monkeypatch, FakeRedis(ALIVE))
    assert not is_well(words)


def test_settings_in_a_file_are_left_to_the_whole_check(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_redis(monkeypatch, FakeRedis(ALIVE))
    (folder / ".env").touch()
    assert not is_well("ready --role beat")


@pytest.mark.parametrize("statement", ["UPDATE alembic_version SET version_num = '0001'", "DROP TABLE alembic_version"])
def test_tables_of_another_version_are_left_to_the_whole_check(
    folder: Path, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_redis(monkeypatch, FakeRedis(ALIVE))
    with closing(sqlite3.connect(folder / "releve-data" / "registry.db")) as connection, connection:
        connection.execute(statement)
    assert not is_well("ready --role worker")


def test_the_embedded_redis_is_found_by_its_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_redis(monkeypatch, FakeRedis(ALIVE))
    monkeypatch.delenv("RELEVE_REDIS_URL")
    assert not is_well("ready --role worker")
    (folder / "releve-data" / "redis").mkdir()
    (folder / "releve-data" / "redis" / "server.url").write_text("redis://:secret@127.0.0.1:7000/0\n")
    assert is_well("ready --role worker")


@pytest.mark.sockets
@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_r5_a_containers_question_loads_nothing_where_all_is_well(status: int, code: int, tmp_path: Path) -> None:
    """A container platform asks every few seconds, beside a worker at work."""
    with canned_server(answer(status, ""), answer(status, "")) as server:
        program = (
            f"import sys; sys.argv = ['releve', 'health', 'live', '--role', 'web', '--url', {server.url!r}]\n"
            "from worker.cli import main\n"
            "try: main()\nexcept SystemExit as end: print(end.code)\nelse: print(0)\n"
            f"print(*[name for name in {HEAVY!r} if name in sys.modules])"
        )
        env = {"PYTHONPATH": str(Path(__file__).parents[4])}
        process = subprocess.run(
            [sys.executable, "-c", program],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    first, loaded = process.stdout.splitlines()
    assert (first, bool(loaded)) == (str(code), code == 1)
    assert ("answers 503" in process.stderr) is (code == 1)
