"""Checks of the broker and of its queues."""

from __future__ import annotations

import pytest

from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.errors import StoreUnavailable
from worker.ops.health.redis import check_broker, check_queues, judge_queues
from worker.ops.health.results import Level
from worker.stores.redis.child_processes import free_port


def test_the_same_redis_is_not_looked_at_twice(build_connections: BuildConnections) -> None:
    assert_result(check_broker(build_connections()), Level.OK, "the same Redis")


@pytest.mark.sockets
@pytest.mark.parametrize("scheme", ["amqp", "redis"])
def test_a_broker_that_is_away_is_a_fault(build_connections: BuildConnections, scheme: str) -> None:
    away = build_connections(broker_url=f"{scheme}://user:s3cret@127.0.0.1:{free_port()}/0")
    with pytest.raises(StoreUnavailable) as caught:
        list(check_broker(away))
    assert "s3cret" not in str(caught.value)
    with pytest.raises(StoreUnavailable, match="the broker can't be reached: start it"):
        list(check_queues(away))


def test_what_waits_is_told_with_its_age() -> None:
    notes = judge_queues({"control": 0, "backfill": 12}, {"control": 0.0, "backfill": 4000.0}, 60)
    assert_result(notes, Level.OK, "control 0, backfill 12 (for 4000 s)")


def test_control_must_not_wait_for_long() -> None:
    notes = judge_queues({"control": 40}, {"control": 301.0}, 60)
    assert_result(notes, Level.WARN, "has waited 301 s", "too few")
    assert_result(judge_queues({"control": 40}, {}, 60), Level.OK, "control 40")
