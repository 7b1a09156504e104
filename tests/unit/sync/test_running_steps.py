"""A step that ends its workers is given up; one whose workers live, or that has ended since, never is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.conftest import Household
from worker.errors import StoreUnavailable, WorkerLost
from worker.sync.claims import LOSSES_COUNTED_S, RunningSteps

STEP = "home1:daily:tasks.pipeline.store:nightly/1721890000123456"


class Workers:
    """Workers that begin a step; those of ``dead`` are known to have ended."""

    def __init__(self, household: Household) -> None:
        self.dead: set[str] = set()
        self.progress = household.progress
        self._begun = ExitStack()  # At the end of the test, before Redis is closed.

    def steps(self) -> RunningSteps:
        """Return the steps of another process."""
        return RunningSteps(self.progress, self.dead.intersection)

    def begin(self, worker: str, step: str = STEP, pid: int = 1) -> None:
        """Begin a step that has no end as long as this test runs."""
        self._begun.enter_context(self.steps().running(step, f"{worker}/{pid}"))

    def close(self) -> None:
        self._begun.close()

    def lose(self, *workers: str, step: str = STEP) -> None:
        for worker in workers:
            self.begin(worker, step)
            self.dead.add(worker)

    def finish(self, worker: str, step: str = STEP) -> None:
        with self.steps().running(step, f"{worker}/1"):
            pass


@pytest.fixture
def workers(household: Household) -> Iterator[Workers]:
    with closing(Workers(household)) as workers:
        yield workers


def test_a_step_that_has_lost_three_workers_is_given_up_once(workers: Workers) -> None:
    workers.lose("a", "b", "c")
    with pytest.raises(WorkerLost):
        workers.finish("d")
    workers.finish("d")  # Its next try, hours later, counts from zero.


def test_an_end_of_any_kind_counts_from_zero(workers: Workers) -> None:
    workers.lose("a", "b")
    with suppress(KeyError), workers.steps().running(STEP, "c/1"):
        raise KeyError
    workers.lose("d", "e")
    workers.finish("f")


def test_one_worker_that_gets_the_message_again_has_not_ended(workers: Workers) -> None:
    for _ in range(5):
        workers.begin("a")
    workers.finish("a")


def test_workers_that_may_still_do_it_are_waited_for(workers: Workers) -> None:
    """They may have lost their connection, so that the broker gave their message to another one."""
    for worker in "abc":
        workers.begin(worker)
    for _ in range(2):  # Nothing is noted meanwhile.
        with pytest.raises(StoreUnavailable) as wait:
            workers.finish("d")
        assert wait.value.retry_after_s
    workers.dead |= {"a", "b", "c"}
    with pytest.raises(WorkerLost):
        workers.finish("d")


def test_a_lost_process_of_a_worker_that_lives_counts(workers: Workers) -> None:
    for pid in range(3):
        workers.begin("a", pid=pid)
        workers.progress.mark_lost(STEP, "a")
    with pytest.raises(WorkerLost):
        workers.finish("b")


def test_one_worker_does_one_step_at_a_time_of_those_that_have_lost_another(workers: Workers) -> None:
    """So that a step that ends its worker takes no other one with it twice."""
    workers.lose("a")
    workers.lose("a", step="another")
    steps, inside = workers.steps(), threading.Event()
    with steps.running(STEP, "b/1"), steps.running("a third", "b/1"):

        def run_another() -> None:
            with steps.running("another", "b/1"):
                inside.set()

        thread = threading.Thread(target=run_another)
        thread.start()
        assert workers.progress.begin_step("another", "c/1", LOSSES_COUNTED_S, most=0) == ["a/1"]
        assert not inside.wait(0.2)
    thread.join(10)
    assert inside.is_set()


def test_losses_longer_than_an_hour_ago_do_not_count(workers: Workers, household: Household) -> None:
    workers.lose("a", "b", "c")
    key = f"{household.prefix}starts:{STEP}"
    household.redis.zadd(key, {"a/1": time.time() - LOSSES_COUNTED_S - 60})
    workers.finish("d")


def test_steps_are_counted_apart_and_an_erased_account_leaves_none(workers: Workers, household: Household) -> None:
    workers.lose("a", "b", "c")
    workers.finish("d", STEP.replace("home1", "home2"))
    assert household.progress.forget("home1") == 1
    workers.finish("d")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["dies", "lives", "ends"])), max_size=20))
def test_a_step_is_given_up_when_three_workers_ended_in_it_and_else_never(
    household: Household, events: list[tuple[str, str]]
) -> None:
    step = f"{uuid4().hex}:daily:fetch:1"
    begun: dict[str, bool] = {}  # Whether it has ended, by worker.
    with closing(Workers(household)) as workers:
        for number, (letter, event) in enumerate(events):
            # A worker that has ended does not come back under its name.
            name = f"{letter}{number}" if letter in workers.dead else letter
            others = {worker: ended for worker, ended in begun.items() if worker != name}
            try:
                {"dies": workers.lose, "lives": workers.begin, "ends": workers.finish}[event](name, step=step)
            except WorkerLost:
                assert sum(others.values()) >= 3
                begun = {}
            except StoreUnavailable:
                assert len(others) >= 3 > sum(others.values())
            else:
                assert len(others) < 3
                begun = {} if event == "ends" else {**begun, name: event == "dies"}
