"""The watchdog of a worker whose broker connections are dead.

They run through a proxy that freezes them without closing them; Redis itself stays reachable.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.cutting_proxy import CuttingProxy, cutting_proxy
from tests.support.system import QUEUE_PREFIX, QUICK_START, System, open_system, until
from worker.stores.redis.connection import connect
from worker.stores.redis.heartbeats import Heartbeats, WorkerHeartbeat

SILENCE_S: Final = 6
GRACE_S: Final = 10.1  # The time-out of a call to the supplier, and ten seconds.


class WatchedWorker:
    """One worker behind a proxy of its own, on a Redis that other processes reach directly."""

    def __init__(self, system: System, proxy: CuttingProxy, folder: Path) -> None:
        self.system, self.proxy, self.folder = system, proxy, folder
        self.heartbeats = Heartbeats(connect(system.settings["REDIS_URL"]))
        self.marks = 0
        self.pid = 0
        self.log = Path()

    def start(self, silence_s: int) -> None:
        self.log = self.system.start_worker(
            *QUICK_START,
            "-c",
            "2",
            app="tests.acceptance.trusting",
            BROKER_URL=self.proxy.url,
            WATCHDOG_SILENCE_S=str(silence_s),
            SUPPLIER_TIMEOUT_S="0.1",
        )
        self.pid = self.system._pids["worker"]

    def wait_for_work(self) -> None:
        """Wait until it has done a task that is sent now; a message lost on a dead connection is another one."""
        self.marks += 1
        self.system.send_task("tests.mark", str(self.marks))
        until((self.folder / str(self.marks)).exists, f"task {self.marks}")

    def answers_ping(self) -> bool:
        return bool(self.system.publisher.control.ping(timeout=1.0))

    def heartbeat(self) -> WorkerHeartbeat:
        return until(self.heartbeats.workers, "a pulse")[0]

    def wait_for_looks(self, seconds: float) -> None:
        """Wait until its watchdog has looked for ``seconds`` from now."""
        after = self.heartbeat().seen_at + seconds
        until(lambda: self.heartbeat().seen_at > after, "its next looks")

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def count_restarts(self) -> int:
        return sum(worker.restarts for worker in self.heartbeats.workers())

    def count_starts(self) -> int:
        return self.log.read_text().count(" ready.")

    def is_running(self) -> bool:
        return b"tests.acceptance.trusting" in Path(f"/proc/{self.pid}/cmdline").read_bytes()


@contextmanager
def open_watched_worker(folder: Path) -> Iterator[WatchedWorker]:
    with pytest.MonkeyPatch.context() as patch, open_system(folder) as system:
        patch.setenv("TEST_FOLDER", str(folder))
        with cutting_proxy(system.settings["REDIS_URL"]) as proxy:
            yield WatchedWorker(system, proxy, folder)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedWorker]:
    with open_watched_worker(tmp_path) as watched:
        yield watched


@pytest.fixture(scope="module")
def unwatched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedWorker]:
    """Yield a worker with frozen connections, whose watchdog may not restart it."""
    with open_watched_worker(tmp_path_factory.mktemp("unwatched")) as watched:
        watched.start(silence_s=0)
        watched.wait_for_work()
        assert watched.proxy.freeze()
        yield watched


def test_on_dead_connections_a_worker_by_itself_takes_no_work(unwatched: WatchedWorker) -> None:
    for name in ("swallowed", "waiting"):
        unwatched.system.send_task("tests.mark", name)
    assert not any(unwatched.answers_ping() for _ in range(3))
    assert unwatched.system.redis.llen(f"{QUEUE_PREFIX}control") == 1, "Redis is well, the message waits"
    assert unwatched.is_running()
    assert unwatched.count_restarts() == 0
    unwatched.terminate()  # The last test of this file sees how long that takes.


def test_a_silent_worker_starts_anew_in_its_process_and_a_busy_or_cut_off_one_does_not(watched: WatchedWorker) -> None:
    watched.start(silence_s=SILENCE_S)
    for name in ("first", "second"):  # Its two threads are busy.
        watched.system.send_task("tests.nap", name)
        until((watched.folder / f"{name}.begun").exists, "a nap")
    watched.system.send_task("tests.mark", "after the naps")
    watched.wait_for_looks(SILENCE_S + 1)
    assert watched.heartbeat().running == 2
    assert (watched.count_restarts(), watched.count_starts()) == (0, 1), "a busy worker is not silent"
    (watched.folder / "wake").touch()
    until((watched.folder / "after the naps").exists, "the waiting task")

    watched.proxy.close()
    watched.wait_for_looks(SILENCE_S + 1)
    watched.proxy.open()
    watched.wait_for_work()
    assert (watched.count_restarts(), watched.count_starts()) == (0, 1), (
        "a broker that is down restarts nobody, nor when it comes back"
    )

    frozen = watched.proxy.freeze(b"BRPOP")
    assert frozen
    assert not any(b"PSUBSCRIBE" in sent_words for sent_words in frozen), "its mailbox works, its queues don't"
    watched.system.send_task("tests.mark", "swallowed")
    watched.system.send_task("tests.mark", "waiting")
    until((watched.folder / "waiting").exists, "work after the first restart")
    assert (watched.count_restarts(), watched.count_starts()) == (1, 2)

    watched.wait_for_looks(1.0)  # An unanswered ping counts once its mailbox has answered.
    assert watched.proxy.freeze()
    until(lambda: watched.count_restarts() == 2, "the second restart")
    until(lambda: watched.count_starts() == 3, "its start")
    watched.wait_for_work()
    assert watched.is_running(), "the same process all the time"
    watched.system.stop("worker")
    assert watched.heartbeats.workers() == [], "it said goodbye"


def test_asked_to_end_a_worker_on_dead_connections_leaves_when_its_grace_is_over(unwatched: WatchedWorker) -> None:
    unwatched.terminate()
    exits = until(unwatched.system._supervisor.collect_exits, "its end")
    assert exits[0].code == 1
    assert f"did not end within {GRACE_S:.0f} s of being asked to" in unwatched.log.read_text()
