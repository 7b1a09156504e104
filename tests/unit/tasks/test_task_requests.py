"""The description of a received task that Flower and `celery inspect` show."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from celery import Celery
from kombu.utils.imports import symbol_by_name

from tasks.pipeline import aggregate, fetch, filter_known, store
from tests.support.factories import window_job
from worker.domain.measures.readings import DateWindow, Series

JOB = window_job(DateWindow(date(2024, 7, 18), date(2024, 7, 25)), Series.LOAD_CURVE)
LINE = "home1 load_curve 2024-07-18/2024-07-25 20240725T070000 None"
CANARY = "424242"


def request_of(shared: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the request that a worker makes of the message that the task publishes."""
    app = Celery("tests", broker="memory://", set_as_current=False)
    task = app.tasks[shared.name]
    with app.connection_for_write() as connection:
        task.apply_async(args, kwargs, connection=connection, queue="q")
        message = connection.SimpleQueue("q").get(timeout=5)
    return symbol_by_name(task.Request)(message, app=app, task=task)


@pytest.mark.parametrize("task", [filter_known, aggregate, store], ids=lambda task: task.name)
def test_a_held_task_shows_its_window_and_not_the_readings_it_carries(task: Any) -> None:
    request = request_of(task, ({**JOB, "readings": [[1, 30, int(CANARY)]]},), {})
    assert request.args[0]["readings"] == [[1, 30, int(CANARY)]]
    assert request.info()["args"] == LINE
    assert not [safe for safe in (True, False) if CANARY in str(request.info(safe=safe))]


def test_a_fetch_shows_the_window_and_the_run() -> None:
    request = request_of(fetch, ("home1", "load_curve", "2024-07-18", "2024-07-25"), {"run_id": "r1"})
    info = request.info()
    assert (info["args"], info["kwargs"]) == ("home1 load_curve 2024-07-18 2024-07-25", "{'run_id': 'r1'}")
