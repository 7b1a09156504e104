"""How long publishing retries: a finished step waits for a broker that restarts, a person does not."""

from __future__ import annotations

from collections.abc import Mapping

from config.celery_options import task_publish_retry_policy
from worker.domain.retry import SHORT_PUBLISH_POLICY


def total_wait_s(policy: Mapping[str, float]) -> float:
    """Return the sum of the waits between the tries, as kombu computes them."""
    steps = (
        policy["interval_start"] + number * policy["interval_step"] for number in range(int(policy["max_retries"]))
    )
    return sum(min(step, policy["interval_max"]) for step in steps)


def test_a_step_that_is_done_outlasts_the_restart_of_its_broker() -> None:
    assert 15 <= total_wait_s(task_publish_retry_policy) <= 30


def test_whoever_waits_for_an_answer_is_not_kept() -> None:
    assert total_wait_s(SHORT_PUBLISH_POLICY) < 2
