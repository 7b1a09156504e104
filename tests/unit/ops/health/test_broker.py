"""The broker and what waits in it."""

from __future__ import annotations

import pytest

from tests.unit.ops.health.conftest import Premises, assert_told
from worker.errors import StoreUnavailable
from worker.ops.health.redis import broker, judge_queues, queues
from worker.ops.health.results import Level
from worker.stores.redis.child_processes import free_port


def test_the_same_redis_is_not_looked_at_twice(premises: Premises) -> None:
    assert_told(broker(premises()), Level.OK, "the same Redis")


@pytest.mark.parametrize("scheme", ["amqp", "redis"])
def test_a_broker_that_is_away_is_a_fault(premises: Premises, scheme: str) -> None:
    away = premises(broker_url=f"{scheme}://user:s3cret@127.0.0.1:{free_port()}/0")
    with pytest.raises(StoreUnavailable) as told:
        list(broker(away))
    assert "s3cret" not in str(told.value)
    with pytest.raises(StoreUnavailable, match="the broker can't be reached: start it"):
        list(queues(away))


def test_what_waits_is_told_with_its_age() -> None:
    told = judge_queues({"control": 0, "backfill": 12}, {"control": 0.0, "backfill": 4000.0}, 60)
    assert_told(told, Level.OK, "control 0, backfill 12 (for 4000 s)")


def test_control_must_not_wait_for_long() -> None:
    told = judge_queues({"control": 40}, {"control": 301.0}, 60)
    assert_told(told, Level.WARN, "has waited 301 s", "too few")
    assert_told(judge_queues({"control": 40}, {}, 60), Level.OK, "control 40")
