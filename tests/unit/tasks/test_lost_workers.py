"""Which starts of a task are counted, and under which name: what makes a task that ends its workers end itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from tasks import base
from tests.support.parts import use_parts
from worker.errors import WorkerLost


class Steps:
    """Names of the steps that were begun; all of ``given_up`` raise."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.given_up: set[str] = set()

    @contextmanager
    def running(self, step: str, process: str) -> Iterator[None]:
        self.begun.append(step)
        if step in self.given_up:
            raise WorkerLost("three workers")
        yield


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    steps = Steps()
    use_parts(monkeypatch, SimpleNamespace(sync=SimpleNamespace(steps=steps)))
    return steps


@pytest.fixture
def app() -> Iterator[Celery]:
    with Celery("lost", broker="memory://", set_as_current=False) as app:
        yield app


def run(task: Any, *args: Any, **request: Any) -> None:
    task.push_request(**request)
    try:
        task(*args)
    finally:
        task.pop_request()


def test_a_task_that_decides_what_is_due_is_counted_once_its_message_came_again(app: Celery, steps: Steps) -> None:
    runs = []

    @app.task(name="tasks.upkeep.tick", base=base.ControlTask, shared=False)
    def tick() -> None:
        runs.append(True)

    for redelivered in (None, False, True):
        run(tick, id="m1", delivery_info={"redelivered": redelivered})
    assert steps.begun == ["tasks.upkeep.tick:m1"] and len(runs) == 3
    steps.given_up = {"tasks.upkeep.tick:m1"}
    with pytest.raises(WorkerLost):
        run(tick, id="m1", delivery_info={"redelivered": True})
    assert len(runs) == 3


@pytest.mark.parametrize("claim, place", [("nightly/1721890000123456", "nightly/1721890000123456"), (None, "r1")])
def test_a_step_of_a_window_is_counted_by_its_claim_or_its_run(
    app: Celery, steps: Steps, claim: str | None, place: str
) -> None:
    @app.task(name="tasks.pipeline.store", base=base.WindowTask, shared=False)
    def store(message: Any) -> None: ...

    window = {"account_id": "home1", "series": "daily", "start": "2024-07-18", "end": "2024-07-25"}
    for message_id in ("m1", "m2"):
        run(store, {**window, "run_id": "r1", "claim": claim, "sealed": "…"}, id=message_id)
    assert steps.begun == [f"home1:daily:tasks.pipeline.store:{place}"] * 2
