"""Metrics of tasks by Celery's own signals."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery, signals
from celery.app.task import Context
from celery.exceptions import Reject
from kombu.exceptions import OperationalError

from tests.support.metric_counts import MetricGrowth
from worker.domain.lanes import Lane, current_lane
from worker.errors import RateLimited, WorkerError
from worker.ops import task_signals
from worker.ops.broker import PUBLISHED_AT


@pytest.fixture
def app() -> Iterator[Celery]:
    """Return an app of the test's own, whose tasks run where they are called."""
    task_signals.install()
    app = Celery("counted", set_as_current=False)
    yield app
    app.close()


def test_a_task_runs_in_its_lane_and_its_time_is_noted(app: Celery) -> None:
    observations: list[tuple[Lane, float]] = []
    counts = MetricGrowth()

    @app.task(name="tasks.pipeline.fetch", shared=False)
    def fetch() -> None:
        observations.append((current_lane(), counts.growth("releve_tasks_running", lane="nightly")))

    fetch.apply(routing_key="nightly")
    assert observations == [(Lane.NIGHTLY, 1.0)]
    assert current_lane() is Lane.BY_HAND
    assert counts.growth("releve_tasks_running", lane="nightly") == 0
    assert counts.growth("releve_task_seconds_count", task="tasks.pipeline.fetch") == 1


def test_a_message_that_came_twice_leaves_the_lane_of_each_thread(app: Celery) -> None:
    both_run = threading.Barrier(2, timeout=10)
    counts, lanes = MetricGrowth(), []

    @app.task(name="tasks.pipeline.store", shared=False)
    def store() -> None:
        both_run.wait()

    # Celery sets a task up at its first use, which is not safe in threads; a worker does so before its threads begin.
    assert store.name == "tasks.pipeline.store"

    def run() -> None:
        store.apply(task_id="twice", routing_key="steps")
        lanes.append(current_lane())

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lanes == [Lane.BY_HAND, Lane.BY_HAND]
    assert counts.growth("releve_tasks_running", lane="steps") == 0


def test_retries_and_failures_are_counted_by_kind_and_the_lane_is_left_all_the_same(app: Celery) -> None:
    counts = MetricGrowth()

    @app.task(name="tasks.pipeline.store", bind=True, throws=(WorkerError,), shared=False)
    def store(self: Any) -> None:
        if self.request.retries < 2:
            raise self.retry(exc=RateLimited("later"), countdown=0)
        raise RateLimited("too late")

    @app.task(name="tasks.nightly.catch_up", shared=False)
    def catch_up() -> None:
        raise KeyError("a bug")

    store.apply(routing_key="nightly")
    catch_up.apply(routing_key="control")
    assert counts.growth_by_labels("releve_task_retries_total") == {("tasks.pipeline.store",): 2}
    assert counts.growth("releve_task_seconds_count", task="tasks.pipeline.store") == 3
    assert counts.growth_by_labels("releve_task_failures_total") == {
        ("rate_limited", "tasks.pipeline.store"): 1,
        ("unforeseen", "tasks.nightly.catch_up"): 1,
    }
    assert current_lane() is Lane.BY_HAND


@pytest.mark.parametrize("error", [OperationalError("away"), Reject(OperationalError("away")), redis.ConnectionError()])
def test_a_broker_that_takes_no_further_message_is_no_bug_of_ours(app: Celery, error: Exception) -> None:
    """Celery rejects a message whose retry can't be published, and fails one whose chain can't go on."""
    counts = MetricGrowth()

    @app.task(name="tasks.pipeline.store", shared=False)
    def store() -> None: ...

    signals.task_failure.send(sender=store, exception=error)
    assert counts.growth_by_labels("releve_task_failures_total") == {("store_unavailable", "tasks.pipeline.store"): 1}


def test_a_foreign_task_has_no_label_of_its_own(app: Celery) -> None:
    counts = MetricGrowth()

    @app.task(name="12345678901234", shared=False)
    def foreign() -> None: ...

    foreign.apply()
    assert counts.growth_by_labels("releve_task_seconds_count") == {("other",): 1}


def test_a_published_message_carries_its_time_and_nothing_else_of_ours() -> None:
    task_signals.install()
    headers: dict[str, Any] = {"task": "tasks.pipeline.fetch"}
    before = time.time()
    signals.before_task_publish.send(sender="tasks.pipeline.fetch", headers=headers)
    assert before <= headers.pop(PUBLISHED_AT) <= time.time()
    assert headers == {"task": "tasks.pipeline.fetch"}


def started(**request: Any) -> MetricGrowth:
    task_signals.install()
    counts = MetricGrowth()
    context = Context(id="any", delivery_info={"routing_key": "backfill"}, **request)
    task = SimpleNamespace(name="tasks.pipeline.fetch", request=context)
    signals.task_prerun.send(sender=task.name, task_id="any", task=task)
    signals.task_postrun.send(sender=task.name, task_id="any", task=task)
    return counts


def waited_under(limit_s: str, counts: MetricGrowth) -> float:
    return counts.growth("releve_task_wait_seconds_bucket", lane="backfill", le=limit_s)


def test_the_wait_is_from_publishing_to_start() -> None:
    counts = started(**{PUBLISHED_AT: time.time() - 100})
    assert (waited_under("60.0", counts), waited_under("300.0", counts)) == (0, 1)


def test_a_countdown_is_no_wait() -> None:
    eta = (datetime.now(UTC) - timedelta(seconds=10)).isoformat()
    counts = started(eta=eta, **{PUBLISHED_AT: time.time() - 1000})
    assert (waited_under("5.0", counts), waited_under("60.0", counts)) == (0, 1)


def test_a_clock_that_is_ahead_makes_no_negative_wait() -> None:
    counts = started(**{PUBLISHED_AT: time.time() + 1000})
    assert counts.growth("releve_task_wait_seconds_sum", lane="backfill") == 0
    assert counts.growth("releve_task_wait_seconds_count", lane="backfill") == 1


def test_a_message_that_says_nothing_of_its_time_is_left_out() -> None:
    assert started().growth_by_labels("releve_task_wait_seconds_count") == {}
