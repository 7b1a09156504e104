"""A thread's work has a lane: its task's queue, or none."""

from __future__ import annotations

import threading

import pytest

from worker.lanes import Lane, current_lane, enter_lane, leave_lane


@pytest.mark.parametrize("queue", ["control", "first_screen", "nightly", "repair", "backfill"])
def test_a_task_has_the_lane_of_its_queue_until_it_ends(queue: str) -> None:
    token = enter_lane(queue)
    assert current_lane() == queue
    leave_lane(token)
    assert current_lane() is Lane.BY_HAND


@pytest.mark.parametrize("queue", ["by_hand", "celery", "", None])
def test_an_unknown_queue_is_another_lane_and_never_a_name_of_its_own(queue: str | None) -> None:
    token = enter_lane(queue)
    assert current_lane() is Lane.OTHER
    leave_lane(token)


def test_threads_do_not_see_each_others_lane() -> None:
    token, seen = enter_lane("nightly"), []
    thread = threading.Thread(target=lambda: seen.append(current_lane()))
    thread.start()
    thread.join()
    leave_lane(token)
    assert seen == [Lane.BY_HAND]
