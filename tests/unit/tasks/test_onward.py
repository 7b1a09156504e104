"""The steps of a chain after the first one, run by the same thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import MagicMock

import pytest
from celery import Celery
from celery.app.trace import build_tracer
from celery.concurrency.prefork import TaskPool as ProcessPool
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.worker import state as worker_state
from kombu.exceptions import OperationalError

from tasks.onward import OnwardTask

QUEUE = "nightly"


class EventListener:
    """An event dispatcher that records its events."""

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self.events: list[tuple[str, dict[str, Any]]] = []

    def send(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))


@dataclass
class TaskRunner:
    """A runner of tasks as a worker runs them, without the worker.

    ``steps_done`` holds name, argument, id, parent and root of each step.
    """

    app: Celery
    listener: EventListener
    steps_done: list[tuple[str, Any, str, str | None, str | None]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    fault: Callable[[Any], None] = lambda task: None

    def run(self, *step_names: str, queue: str = QUEUE) -> Any:
        """Run the first task of a chain of these, as a worker does when its message comes."""
        first, *others = [self.app.tasks[name].s().set(queue=queue) for name in step_names]
        request = {"id": "first", "root_id": "first", "chain": others[::-1], "hostname": "here"}
        request |= {"delivery_info": {"exchange": "", "routing_key": queue, "redelivered": True}}
        return self.app.tasks[first.task].__trace__("first", (0,), {}, request)

    def take_published(self) -> list[tuple[str, Any, int, list[str]]]:
        """Take all messages off the queue and return task, arguments, retries and later steps of each."""
        published = []
        with self.app.connection_for_read() as connection:
            queue = connection.SimpleQueue(QUEUE)
            while queue.qsize():
                message = queue.get(block=False)
                args, _, embedded = message.decode()
                steps_after = [step["task"] for step in reversed(embedded["chain"] or [])]
                published.append((message.headers["task"], args, message.headers["retries"], steps_after))
                message.ack()
        return published


@pytest.fixture
def runner(request: pytest.FixtureRequest) -> Iterator[TaskRunner]:
    pool, enabled = getattr(request, "param", (ThreadPool, True))
    app = Celery("onward", broker="memory://", set_as_current=False)
    app.conf.update(task_acks_late=True, task_ignore_result=True, result_backend=None)
    runner = TaskRunner(app, EventListener(enabled))

    class Failing(OnwardTask):
        abstract = True

        def on_failure(self, exc: Exception, *_: Any) -> None:
            runner.failures.append(f"{self.name}: {exc}")

    def step(self: Any, number: int) -> int:
        runner.steps_done.append((self.name, number, self.request.id, self.request.parent_id, self.request.root_id))
        runner.fault(self)
        return number + 1

    consumer = MagicMock(pool=pool(1), event_dispatcher=runner.listener, app=app, hostname="here")
    for name in "abcd":
        task: Any = app.task(step, name=name, bind=True, base=Failing, max_retries=2, shared=False)
        task.start_strategy(app, consumer)  # Both calls are those of ``celery.worker.consumer``.
        task.__trace__ = build_tracer(name, task, app=app)
    runner.take_published()  # All apps share the broker in memory.
    yield runner
    app.close()


@contextmanager
def stopping_worker() -> Iterator[None]:
    """Set the state of a worker that stops and exits with 0."""
    worker_state.should_stop = 0
    try:
        yield
    finally:
        worker_state.should_stop = None


def step_names(runner: TaskRunner) -> list[str]:
    return [name for name, *_ in runner.steps_done]


def test_all_steps_are_done_in_order_and_none_is_published(runner: TaskRunner) -> None:
    outcome = runner.run("a", "b", "c", "d")
    assert [(name, number) for name, number, *_ in runner.steps_done] == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    assert runner.take_published() == []
    assert outcome.retval == 1  # It is the first step's result, for which its message is acknowledged.


def test_each_step_is_a_task_of_its_own_with_the_one_before_as_its_parent(runner: TaskRunner) -> None:
    runner.run("a", "b", "c", "d")
    ids = [task_id for _, _, task_id, _, _ in runner.steps_done]
    assert len({*ids}) == 4
    assert [parent for *_, parent, _ in runner.steps_done[1:]] == ids[:-1]
    assert {root for *_, root in runner.steps_done} == {"first"}


def test_a_step_to_be_tried_again_is_a_message_with_those_after_it_in_the_queue_of_the_first(
    runner: TaskRunner,
) -> None:
    def retry_second_step(task: Any) -> None:
        if task.name == "b":
            raise task.retry(countdown=30, exc=OSError("the store is away"))

    runner.fault = retry_second_step
    runner.run("a", "b", "c", "d")
    assert step_names(runner) == ["a", "b"]
    assert runner.take_published() == [("b", [1], 1, ["c", "d"])]
    assert runner.failures == []


def test_a_message_of_a_later_step_is_gone_on_with(runner: TaskRunner) -> None:
    runner.run("c", "d")
    assert step_names(runner) == ["c", "d"]
    assert runner.take_published() == []


def test_a_step_that_fails_ends_the_chain_and_leaves_its_note(runner: TaskRunner) -> None:
    def fail(task: Any) -> None:
        if task.name == "c":
            raise ValueError("malformed")

    runner.fault = fail
    runner.run("a", "b", "c", "d")
    assert (step_names(runner), runner.take_published()) == (["a", "b", "c"], [])
    assert runner.failures == ["c: malformed"]


def test_a_worker_that_ends_leaves_the_rest_to_others(runner: TaskRunner) -> None:
    with stopping_worker():
        runner.run("a", "b", "c", "d")
    assert step_names(runner) == ["a"]
    assert runner.take_published() == [("b", [1], 0, ["c", "d"])]


def test_a_worker_told_to_end_on_the_way_finishes_the_step_and_no_more(
    runner: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_worker(task: Any) -> None:
        if task.name == "b":
            monkeypatch.setattr(worker_state, "should_stop", 0)

    runner.fault = stop_worker
    runner.run("a", "b", "c", "d")
    assert step_names(runner) == ["a", "b"]
    assert runner.take_published() == [("c", [2], 0, ["d"])]


@pytest.mark.parametrize("runner", [(ProcessPool, True)], indirect=True)
def test_a_pool_of_processes_gets_a_message_for_each_step(runner: TaskRunner) -> None:
    runner.run("a", "b", "c", "d")
    assert step_names(runner) == ["a"]
    assert runner.take_published() == [("b", [1], 0, ["c", "d"])]


def test_what_a_step_publishes_besides_is_published(runner: TaskRunner) -> None:
    def publish(task: Any) -> None:
        if task.name == "b":
            runner.app.tasks["d"].apply_async((40,), queue=QUEUE)

    runner.fault = publish
    runner.run("a", "b")
    assert step_names(runner) == ["a", "b"]
    assert runner.take_published() == [("d", [40], 0, [])]


def test_two_threads_keep_their_steps_apart(runner: TaskRunner) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: runner.run("a", "b", "c", "d"), range(50)))
    assert sorted(step_names(runner)) == sorted("abcd" * 50)
    assert runner.take_published() == []


def test_flower_sees_each_step_begin_and_end(runner: TaskRunner) -> None:
    runner.run("a", "b", "c")
    events = [(event, fields["uuid"]) for event, fields in runner.listener.events]
    ids = {name: task_id for name, _, task_id, _, _ in runner.steps_done}
    assert events == [(f"task-{what}", ids[name]) for name in "bc" for what in ("received", "started", "succeeded")]
    received = runner.listener.events[0][1]
    assert (received["name"], received["parent_id"], received["root_id"]) == ("b", "first", "first")
    assert runner.listener.events[2][1]["runtime"] >= 0


def test_flower_sees_why_a_step_failed_or_comes_again(runner: TaskRunner) -> None:
    def fault(task: Any) -> None:
        if task.name == "b":
            raise ValueError("malformed")
        if task.name == "d":
            raise task.retry(countdown=30, exc=OSError("away"))

    runner.fault = fault
    runner.run("a", "b")
    runner.run("c", "d")
    ends = [(event, fields["exception"]) for event, fields in runner.listener.events if "exception" in fields]
    assert ends == [("task-failed", "ValueError('malformed')"), ("task-retried", "OSError('away')")]


@pytest.mark.parametrize("runner", [(ThreadPool, False)], indirect=True)
def test_without_a_listener_nothing_is_told(runner: TaskRunner) -> None:
    runner.run("a", "b")
    assert (step_names(runner), runner.listener.events) == (["a", "b"], [])


def test_a_publisher_that_is_no_worker_publishes_the_whole_chain(runner: TaskRunner) -> None:
    (runner.app.tasks["a"].s(0).set(queue=QUEUE) | runner.app.tasks["b"].s().set(queue=QUEUE)).apply_async()
    assert runner.steps_done == []
    assert runner.take_published() == [("a", [0], 0, ["b"])]


def test_a_broker_that_is_away_after_the_first_step_is_met_by_celery_as_ever(
    runner: TaskRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("away")

    monkeypatch.setattr("celery.app.task.Task.apply_async", away)
    with stopping_worker():
        outcome = runner.run("a", "b")
    assert outcome.info is not None
    assert runner.failures == ["a: away"]
