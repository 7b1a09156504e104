"""How often a step is tried again: a wait for a permit is no failed attempt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, current_app, signals
from celery.exceptions import Retry

from tasks import pipeline
from worker.domain.retry import MAX_RETRIES
from worker.errors import RateLimited, StoreUnavailable, TransientError

WAIT, FAILURE = RateLimited("no permit in time", retry_after_s=1.0), StoreUnavailable("down")

ARGS = ("home1", "daily", "2024-07-18", "2024-07-25")


@pytest.fixture
def retry_after() -> Iterator[Callable[[TransientError], None]]:
    """Return what lets a step fail again and again, each time with the headers of the message before."""
    former = current_app._get_current_object()
    app = Celery("tests", broker="memory://", set_as_current=False)
    app.conf.task_create_missing_queues = True
    app.set_current()
    messages: list[dict[str, Any]] = [{"id": "any", "retries": 0}]

    def keep(headers: dict[str, Any], **_: object) -> None:
        messages.append(dict(headers))

    def retry_after(error: TransientError) -> None:
        task: Any = pipeline.fetch
        task.push_request(**messages[-1], called_directly=False, args=ARGS, kwargs={"run_id": "r1"})
        try:
            with pytest.raises(Retry):
                task.retry_later(error)
        finally:
            task.pop_request()

    signals.before_task_publish.connect(keep)
    yield retry_after
    signals.before_task_publish.disconnect(keep)
    former.set_current()
    app.close()


def test_waits_for_a_permit_use_up_no_retry(retry_after: Callable[[TransientError], None]) -> None:
    for error in [WAIT] * (MAX_RETRIES + 3) + [FAILURE, WAIT] * MAX_RETRIES:
        retry_after(error)
    with pytest.raises(StoreUnavailable):
        retry_after(FAILURE)


def test_a_step_that_fails_is_tried_again_four_times(retry_after: Callable[[TransientError], None]) -> None:
    for _ in range(MAX_RETRIES):
        retry_after(FAILURE)
    with pytest.raises(StoreUnavailable):
        retry_after(FAILURE)
