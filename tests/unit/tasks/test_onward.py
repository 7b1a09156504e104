"""The steps of a chain after the first, done by the thread that did it."""

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


class Listener:
    """An event dispatcher that keeps what it is told."""

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self.told: list[tuple[str, dict[str, Any]]] = []

    def send(self, event: str, **fields: Any) -> None:
        self.told.append((event, fields))


@dataclass
class Bench:
    """A worker's way of doing a task, without the worker; ``done``: name, argument, id, parent and root of each."""

    app: Celery
    listener: Listener
    done: list[tuple[str, Any, str, str | None, str | None]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    fault: Callable[[Any], None] = lambda task: None

    def run(self, *names: str, queue: str = QUEUE) -> Any:
        """The first of a chain of these, as its message would make a worker do it."""
        first, *others = [self.app.tasks[name].s().set(queue=queue) for name in names]
        request = {"id": "first", "root_id": "first", "chain": others[::-1], "hostname": "here"}
        request |= {"delivery_info": {"exchange": "", "routing_key": queue, "redelivered": True}}
        return self.app.tasks[first.task].__trace__("first", (0,), {}, request)

    def published(self) -> list[tuple[str, Any, int, list[str]]]:
        """What lies in the queue: task, arguments, retries and the steps after it."""
        found = []
        with self.app.connection_for_read() as connection:
            queue = connection.SimpleQueue(QUEUE)
            while queue.qsize():
                message = queue.get(block=False)
                args, _, embedded = message.decode()
                after = [step["task"] for step in reversed(embedded["chain"] or [])]
                found.append((message.headers["task"], args, message.headers["retries"], after))
                message.ack()
        return found


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    kind, enabled = getattr(request, "param", (ThreadPool, True))
    app = Celery("onward", broker="memory://", set_as_current=False)
    app.conf.update(task_acks_late=True, task_ignore_result=True, result_backend=None)
    bench = Bench(app, Listener(enabled))

    class Failing(OnwardTask):
        abstract = True

        def on_failure(self, exc: Exception, *_: Any) -> None:
            bench.failed.append(f"{self.name}: {exc}")

    def step(self: Any, number: int) -> int:
        bench.done.append((self.name, number, self.request.id, self.request.parent_id, self.request.root_id))
        bench.fault(self)
        return number + 1

    consumer = MagicMock(pool=kind(1), event_dispatcher=bench.listener, app=app, hostname="here")
    for name in "abcd":
        task: Any = app.task(step, name=name, bind=True, base=Failing, max_retries=2, shared=False)
        task.start_strategy(app, consumer)  # these two as ``celery.worker.consumer`` does
        task.__trace__ = build_tracer(name, task, app=app)
    bench.published()  # all memory is one broker
    yield bench
    app.close()


@contextmanager
def ending() -> Iterator[None]:
    """A worker that was told to stop, and exits with 0."""
    worker_state.should_stop = 0
    try:
        yield
    finally:
        worker_state.should_stop = None


def names(bench: Bench) -> list[str]:
    return [name for name, *_ in bench.done]


def test_all_steps_are_done_in_order_and_none_is_published(bench: Bench) -> None:
    told = bench.run("a", "b", "c", "d")
    assert [(name, number) for name, number, *_ in bench.done] == [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    assert bench.published() == []
    assert told.retval == 1  # what the first gave: its message is acknowledged for that


def test_each_step_is_a_task_of_its_own_with_the_one_before_as_its_parent(bench: Bench) -> None:
    bench.run("a", "b", "c", "d")
    ids = [task_id for _, _, task_id, _, _ in bench.done]
    assert len({*ids}) == 4
    assert [parent for *_, parent, _ in bench.done[1:]] == ids[:-1]
    assert {root for *_, root in bench.done} == {"first"}


def test_a_step_to_be_tried_again_is_a_message_with_those_after_it_in_the_queue_of_the_first(bench: Bench) -> None:
    def later(task: Any) -> None:
        if task.name == "b":
            raise task.retry(countdown=30, exc=OSError("the store is away"))

    bench.fault = later
    bench.run("a", "b", "c", "d")
    assert names(bench) == ["a", "b"]
    assert bench.published() == [("b", [1], 1, ["c", "d"])]
    assert bench.failed == []


def test_a_message_of_a_later_step_is_gone_on_with(bench: Bench) -> None:
    bench.run("c", "d")
    assert names(bench) == ["c", "d"]
    assert bench.published() == []


def test_a_step_that_fails_ends_the_chain_and_leaves_its_note(bench: Bench) -> None:
    def fail(task: Any) -> None:
        if task.name == "c":
            raise ValueError("malformed")

    bench.fault = fail
    bench.run("a", "b", "c", "d")
    assert (names(bench), bench.published()) == (["a", "b", "c"], [])
    assert bench.failed == ["c: malformed"]


def test_a_worker_that_ends_leaves_the_rest_to_others(bench: Bench) -> None:
    with ending():
        bench.run("a", "b", "c", "d")
    assert names(bench) == ["a"]
    assert bench.published() == [("b", [1], 0, ["c", "d"])]


def test_a_worker_told_to_end_on_the_way_finishes_the_step_and_no_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(task: Any) -> None:
        if task.name == "b":
            monkeypatch.setattr(worker_state, "should_stop", 0)

    bench.fault = told
    bench.run("a", "b", "c", "d")
    assert names(bench) == ["a", "b"]
    assert bench.published() == [("c", [2], 0, ["d"])]


@pytest.mark.parametrize("bench", [(ProcessPool, True)], indirect=True)
def test_a_pool_of_processes_gets_a_message_for_each_step(bench: Bench) -> None:
    bench.run("a", "b", "c", "d")
    assert names(bench) == ["a"]
    assert bench.published() == [("b", [1], 0, ["c", "d"])]


def test_what_a_step_publishes_besides_is_published(bench: Bench) -> None:
    def publish(task: Any) -> None:
        if task.name == "b":
            bench.app.tasks["d"].apply_async((40,), queue=QUEUE)

    bench.fault = publish
    bench.run("a", "b")
    assert names(bench) == ["a", "b"]
    assert bench.published() == [("d", [40], 0, [])]


def test_two_threads_keep_their_steps_apart(bench: Bench) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: bench.run("a", "b", "c", "d"), range(50)))
    assert sorted(names(bench)) == sorted("abcd" * 50)
    assert bench.published() == []


def test_flower_sees_each_step_begin_and_end(bench: Bench) -> None:
    bench.run("a", "b", "c")
    told = [(event, fields["uuid"]) for event, fields in bench.listener.told]
    ids = {name: task_id for name, _, task_id, _, _ in bench.done}
    assert told == [(f"task-{what}", ids[name]) for name in "bc" for what in ("received", "started", "succeeded")]
    received = bench.listener.told[0][1]
    assert (received["name"], received["parent_id"], received["root_id"]) == ("b", "first", "first")
    assert bench.listener.told[2][1]["runtime"] >= 0


def test_flower_sees_why_a_step_failed_or_comes_again(bench: Bench) -> None:
    def fault(task: Any) -> None:
        if task.name == "b":
            raise ValueError("malformed")
        if task.name == "d":
            raise task.retry(countdown=30, exc=OSError("away"))

    bench.fault = fault
    bench.run("a", "b")
    bench.run("c", "d")
    ends = [(event, fields["exception"]) for event, fields in bench.listener.told if "exception" in fields]
    assert ends == [("task-failed", "ValueError('malformed')"), ("task-retried", "OSError('away')")]


@pytest.mark.parametrize("bench", [(ThreadPool, False)], indirect=True)
def test_without_a_listener_nothing_is_told(bench: Bench) -> None:
    bench.run("a", "b")
    assert (names(bench), bench.listener.told) == (["a", "b"], [])


def test_a_publisher_that_is_no_worker_publishes_the_whole_chain(bench: Bench) -> None:
    (bench.app.tasks["a"].s(0).set(queue=QUEUE) | bench.app.tasks["b"].s().set(queue=QUEUE)).apply_async()
    assert bench.done == []
    assert bench.published() == [("a", [0], 0, ["b"])]


def test_a_broker_that_is_away_after_the_first_step_is_met_by_celery_as_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("away")

    monkeypatch.setattr("celery.app.task.Task.apply_async", away)
    with ending():
        told = bench.run("a", "b")
    assert told.info is not None
    assert bench.failed == ["a: away"]
