"""The faults that a drill's servers show by themselves."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from redis import Redis, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from drill.servers import POSTGRES, REDIS, DrillPostgres, DrillRedis, FaultySupervisor, find_postgres
from tests.support.waiting import until
from worker.errors import PageNotReady

pytestmark = pytest.mark.sockets


@pytest.fixture
def supervisor() -> Iterator[FaultySupervisor]:
    with FaultySupervisor() as supervisor:
        yield supervisor


def test_redis_stalls_cuts_and_loses_the_messages_of_the_broker_alone(
    tmp_path: Path, supervisor: FaultySupervisor
) -> None:
    server = DrillRedis(supervisor, tmp_path)
    with Redis.from_url(server.url, decode_responses=True) as client:
        client.rpush("releve:celery:nightly", "waiting")
        client.hset("releve:celery:unacked:host-1-a", "tag", "taken")
        client.zadd("releve:celery:unacked_index:host-1-a", {"tag": 1})
        client.sadd("releve:celery:_kombu.binding.releve", "nightly")
        client.hset("releve:task:k9x4w:daily", "state", "ok")
        server.lose_messages()
        assert client.keys() and set(client.keys()) == {
            "releve:celery:_kombu.binding.releve",
            "releve:task:k9x4w:daily",
        }
        begun = time.monotonic()
        server.stall(0.3)
        assert client.ping()
        assert time.monotonic() - begun > 0.2
        connection = client.client_id()
        server.cut()
        assert client.client_id() != connection
        server.kill()
        server.start()
        assert client.hget("releve:task:k9x4w:daily", "state") in ("ok", None)  # A second may be lost.


def test_a_redis_that_is_left_dead_is_started_again_by_its_supervisor_alone(
    tmp_path: Path, supervisor: FaultySupervisor
) -> None:
    server = DrillRedis(supervisor, tmp_path)
    dead = supervisor.pid(REDIS)
    server.leave()
    until(lambda: supervisor.collect_exits() == [] and supervisor.pid(REDIS) not in (None, dead), "another process")
    with Redis.from_url(server.url) as client:
        until(lambda: _answers(client), "its answer")


def test_a_redis_on_a_full_disk_refuses_writes_until_there_is_room(
    tmp_path: Path, supervisor: FaultySupervisor
) -> None:
    server = DrillRedis(supervisor, tmp_path)
    alive = supervisor.pid(REDIS)
    with Redis.from_url(server.url) as client:
        client.set("before", "x" * 10_000)
        end = supervisor.fill_disk([REDIS])
        until(lambda: not _writes(client), "the refusal")
        end()
        until(lambda: _writes(client), "the room")
    assert supervisor.pid(REDIS) == alive


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisConnectionError:
        return False


def _writes(client: Redis) -> bool:
    try:
        return bool(client.set("key", "x" * 10_000))
    except ResponseError:
        return False


def test_a_paused_process_stands_still_with_its_children_until_the_pause_is_over(
    tmp_path: Path, supervisor: FaultySupervisor
) -> None:
    child = "import time, pathlib\nwhile True:\n    pathlib.Path('{}').write_text(str(time.monotonic()))"
    program = f"import os\nos.fork()\n{child.format(tmp_path / 'beats')}".replace("'", '"')
    supervisor.start("parent", [sys.executable, "-c", program])
    until(lambda: len(supervisor.tree("parent")) == 2 and (tmp_path / "beats").exists(), "the child")
    wait_for_end = supervisor.pause("parent", 2)
    until(lambda: _states(supervisor) == ["T", "T"], "the stop of both")
    wait_for_end()
    until(lambda: "T" not in _states(supervisor), "the end of the pause")


def _states(supervisor: FaultySupervisor) -> list[str]:
    """Return the state of each process of the tree, as the kernel names it; T is stopped."""
    return [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in supervisor.tree("parent")]


def test_a_killed_postgresql_comes_back_with_its_databases(supervisor: FaultySupervisor) -> None:
    if find_postgres() is None:
        pytest.skip("PostgreSQL is not installed here")
    # Not below pytest's folder, into which PostgreSQL's user may not go.
    with tempfile.TemporaryDirectory(prefix="releve-test-", ignore_cleanup_errors=True) as folder:
        server = DrillPostgres(supervisor, Path(folder))
        with psycopg.connect(f"{server.url}measures") as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(f"{server.url}measures", connect_timeout=5)
        server.start()
        with psycopg.connect(f"{server.url}measures") as connection:
            assert connection.execute("SELECT one FROM kept").fetchall() == [(1,)]
        supervisor.kill_child(POSTGRES)


def test_without_postgresql_a_drill_says_so_in_one_line(
    tmp_path: Path, supervisor: FaultySupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drill.servers.find_postgres", lambda: None)
    with pytest.raises(PageNotReady, match="no PostgreSQL is installed here"):
        DrillPostgres(supervisor, tmp_path)
