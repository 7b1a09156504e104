"""A worker that lives and hears nothing: the fault made on the wire, and what the watchdog makes of it.

Its broker connections run through a proxy that drops what they carry without a word; Redis itself stays well.
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
from tests.support.system import QUEUE_PREFIX, QUICKLY, House, open_house, until
from worker.stores.redis.connection import connect
from worker.stores.redis.heartbeats import Heartbeats, WorkerHeartbeat

SILENCE_S: Final = 6
GRACE_S: Final = 10.1  # a call to the supplier, and ten seconds


class Ward:
    """One worker behind a proxy of its own, on a Redis that others reach directly."""

    def __init__(self, house: House, proxy: CuttingProxy, folder: Path) -> None:
        self.house, self.proxy, self.folder = house, proxy, folder
        self.pulse = Heartbeats(connect(house.settings["REDIS_URL"]))
        self.marks = 0
        self.pid = 0
        self.log = Path()

    def start(self, silence_s: int) -> None:
        self.log = self.house.start_worker(
            *QUICKLY,
            "-c",
            "2",
            app="tests.acceptance.trusting",
            BROKER_URL=self.proxy.url,
            WATCHDOG_SILENCE_S=str(silence_s),
            SUPPLIER_TIMEOUT_S="0.1",
        )
        self.pid = self.house._pids["worker"]

    def takes_work(self) -> None:
        """Until it has done a task sent now.  What a dead connection swallowed is not waited for."""
        self.marks += 1
        self.house.send("tests.mark", str(self.marks))
        until((self.folder / str(self.marks)).exists, f"task {self.marks}")

    def answers(self) -> bool:
        return bool(self.house.publisher.control.ping(timeout=1.0))

    def its_pulse(self) -> WorkerHeartbeat:
        return until(self.pulse.workers, "a pulse")[0]

    def lives_on(self, seconds: float) -> None:
        """Until its watchdog has looked at it for so long."""
        after = self.its_pulse().seen_at + seconds
        until(lambda: self.its_pulse().seen_at > after, "its next looks")

    def ask_to_end(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def restarts(self) -> int:
        return sum(self.pulse.restarts().values())

    def starts(self) -> int:
        return self.log.read_text().count(" ready.")

    def runs(self) -> bool:
        return b"tests.acceptance.trusting" in Path(f"/proc/{self.pid}/cmdline").read_bytes()


@contextmanager
def open_ward(folder: Path) -> Iterator[Ward]:
    with pytest.MonkeyPatch.context() as patch, open_house(folder) as house:
        patch.setenv("TEST_FOLDER", str(folder))
        with cutting_proxy(house.settings["REDIS_URL"]) as proxy:
            yield Ward(house, proxy, folder)


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    with open_ward(tmp_path) as ward:
        yield ward


@pytest.fixture(scope="module")
def unwatched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    """A worker without a watchdog's restarts, gone deaf."""
    with open_ward(tmp_path_factory.mktemp("unwatched")) as ward:
        ward.start(silence_s=0)
        ward.takes_work()
        assert ward.proxy.go_deaf()
        yield ward


def test_on_dead_connections_a_worker_by_itself_takes_no_work(unwatched: Ward) -> None:
    for name in ("swallowed", "waiting"):
        unwatched.house.send("tests.mark", name)
    assert not any(unwatched.answers() for _ in range(3))
    assert unwatched.house.redis.llen(f"{QUEUE_PREFIX}control") == 1, "Redis is well, the message waits"
    assert unwatched.runs()
    assert unwatched.restarts() == 0
    unwatched.ask_to_end()  # the last test here sees how long that takes


def test_a_silent_worker_starts_anew_in_its_process_and_a_busy_or_cut_off_one_does_not(ward: Ward) -> None:
    ward.start(silence_s=SILENCE_S)
    for name in ("first", "second"):  # all its threads
        ward.house.send("tests.nap", name)
        until((ward.folder / f"{name}.begun").exists, "a nap")
    ward.house.send("tests.mark", "after the naps")
    ward.lives_on(SILENCE_S + 1)
    assert ward.its_pulse().running == 2
    assert (ward.restarts(), ward.starts()) == (0, 1), "a busy worker is not silent"
    (ward.folder / "wake").touch()
    until((ward.folder / "after the naps").exists, "the waiting task")

    ward.proxy.close()
    ward.lives_on(SILENCE_S + 1)
    ward.proxy.open()
    ward.takes_work()
    assert (ward.restarts(), ward.starts()) == (0, 1), "a broker that is down restarts nobody, nor when it comes back"

    frozen = ward.proxy.go_deaf(b"BRPOP")
    assert frozen
    assert not any(b"PSUBSCRIBE" in carried for carried in frozen), "its mailbox works, its queues don't"
    ward.house.send("tests.mark", "swallowed")
    ward.house.send("tests.mark", "waiting")
    until((ward.folder / "waiting").exists, "work after the first restart")
    assert (ward.restarts(), ward.starts()) == (1, 2)

    ward.lives_on(1.0)  # its mailbox has answered: an unanswered ping counts from then on
    assert ward.proxy.go_deaf()
    until(lambda: ward.restarts() == 2, "the second restart")
    until(lambda: ward.starts() == 3, "its start")
    ward.takes_work()
    assert ward.runs(), "the same process all the time"
    ward.house.stop("worker")
    assert ward.pulse.workers() == [], "it said goodbye"


def test_asked_to_end_a_worker_on_dead_connections_leaves_when_its_grace_is_over(unwatched: Ward) -> None:
    unwatched.ask_to_end()
    ended = until(unwatched.house._supervisor.ended, "its end")
    assert ended[0].code == 1
    assert f"did not end within {GRACE_S:.0f} s of being asked to" in unwatched.log.read_text()
