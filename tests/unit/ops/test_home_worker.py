"""A home's worker: it ends with its beat, takes over what an earlier one held, and its watchdog writes nothing."""

from __future__ import annotations

import os
import threading
from signal import SIGTERM
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from tests.support.parts import use_parts
from worker.ops import home_worker
from worker.ops.broker import WORKER_ID, FormerDeliveries
from worker.ops.home_worker import BeatInWorker
from worker.ops.watchdog import BrokerProbe, WorkerActivity

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


@pytest.mark.parametrize(("is_home", "workers"), [(True, {"killed-1-abc", WORKER_ID}), (False, {WORKER_ID})])
def test_what_a_killed_worker_held_comes_back_at_the_start_of_the_next(
    is_home: bool, workers: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    requeued: set[str] = set()
    messages = SimpleNamespace(
        workers_with_messages=lambda: {"killed-1-abc", WORKER_ID}, requeue=lambda name: requeued.add(name) or 1
    )
    stores = SimpleNamespace(settings=SimpleNamespace(is_home=is_home), broker=messages)
    use_parts(monkeypatch, SimpleNamespace(stores=stores))
    FormerDeliveries(SimpleNamespace()).start(SimpleNamespace())
    assert requeued == workers


@pytest.mark.parametrize("takes_work", [True, False])
def test_a_homes_watchdog_asks_by_the_messages_of_beat_alone(takes_work: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    activity = WorkerActivity()
    activity.consumer = SimpleNamespace(
        app=Celery("home", broker="memory://", set_as_current=False), hostname="home@one"
    )
    probe = BrokerProbe(activity, pings=False)
    monkeypatch.setattr(probe, "_answers", lambda *_: pytest.fail("a question to the mailbox writes to the broker"))
    monkeypatch.setattr(probe, "_takes_work", lambda *_: takes_work)
    assert probe.is_silent(1.0) is not takes_work
