"""A home's worker runs beat in a thread: they end together, and what beat does at each minute is little."""

from __future__ import annotations

import os
import threading
from signal import SIGTERM
from types import SimpleNamespace
from typing import Any

import pytest

from worker.ops import home_worker
from worker.ops.home_worker import BeatInWorker

WORKER = SimpleNamespace(app=SimpleNamespace(conf=SimpleNamespace(beat_scheduler="any:Scheduler")))


class Service:
    """A beat that runs until it is stopped, or that fails."""

    fails = False

    def __init__(self, app: Any, max_interval: int, scheduler_cls: str) -> None:
        self.stopped = threading.Event()

    def start(self) -> None:
        if self.fails:
            raise OSError("the disk is full")
        self.stopped.wait()

    def stop(self, wait: bool) -> None:
        self.stopped.set()


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(home_worker, "Service", Service)
    monkeypatch.setattr(home_worker.os, "kill", lambda pid, number: sent.append((pid, number)))
    return sent


def beat_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "beat"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_ends_with_its_beat(signals: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Service, "fails", True)
    step = BeatInWorker(SimpleNamespace())
    step.start(WORKER)
    for thread in beat_threads():
        thread.join()
    assert signals == [(os.getpid(), SIGTERM)]


def test_a_beat_that_was_stopped_ends_nothing(signals: list[tuple[int, int]]) -> None:
    step = BeatInWorker(SimpleNamespace())
    step.start(WORKER)
    (thread,) = beat_threads()
    step.stop(SimpleNamespace())
    thread.join()
    assert signals == []
