"""Checks of Redis by its answer to INFO, of the broker, and of its queues."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis import Redis

from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.errors import StoreUnavailable
from worker.ops.check_results import Level, run_check
from worker.ops.store_checks import check_broker, check_queues, judge_queues, judge_redis
from worker.stores.child_processes import free_port


def test_the_same_redis_is_asked_for_a_sign_of_life(build_connections: BuildConnections, redis_url: str) -> None:
    assert_result(check_broker(build_connections(redis_url=redis_url)), Level.OK, "the same Redis")


@pytest.mark.sockets
@pytest.mark.parametrize("scheme", ["amqp", "redis"])
def test_a_broker_that_is_away_is_a_fault(build_connections: BuildConnections, scheme: str) -> None:
    away = build_connections(broker_url=f"{scheme}://user:s3cret@127.0.0.1:{free_port()}/0")
    result = run_check("broker", check_broker, away)
    assert result.failed and "s3cret" not in result.text
    assert "RELEVE_BROKER_URL" in result.text
    with pytest.raises(StoreUnavailable, match="the broker can't be reached: start it"):
        list(check_queues(away))


def test_what_waits_is_told_with_its_age() -> None:
    notes = judge_queues({"control": 0, "backfill": 12}, {"control": 0.0, "backfill": 4000.0}, 60)
    assert_result(notes, Level.OK, "control 0, backfill 12 (for 4000 s)")


def test_control_must_not_wait_for_long() -> None:
    notes = judge_queues({"control": 40}, {"control": 301.0}, 60)
    assert_result(notes, Level.WARN, "301 s behind", "more workers")
    assert_result(judge_queues({"control": 40}, {}, 60), Level.OK, "control 40")


WELL = {
    "redis_version": "8.0.2",
    "role": "master",
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "cluster_enabled": 0,
    "loading": 0,
}


def server(**facts: Any) -> Redis:
    return cast(Redis, SimpleNamespace(info=lambda: {**WELL, **facts}))


def test_a_redis_that_keeps_what_it_is_given_is_well() -> None:
    assert_result(judge_redis(server()), Level.OK, "Redis 8.0.2, noeviction, append-only file on")
    assert_result(judge_redis(server(valkey_version="9.1.2")), Level.OK, "Valkey 9.1.2")


@pytest.mark.parametrize(
    "facts, level, mend",
    [
        ({"maxmemory_policy": "allkeys-lru"}, Level.FAIL, "set maxmemory-policy noeviction"),
        ({"cluster_enabled": 1}, Level.FAIL, "give Relève one server, or several behind Sentinels"),
        ({"role": "slave"}, Level.FAIL, "set RELEVE_REDIS_URL to the primary, or its Sentinels"),
        ({"loading": 1}, Level.FAIL, "wait"),
        ({"aof_last_write_status": "err"}, Level.FAIL, "make room on its disk"),
        ({"aof_last_bgrewrite_status": "err"}, Level.FAIL, "make room on its disk"),
        ({"aof_enabled": 0}, Level.WARN, "set appendonly yes"),
        ({"rdb_last_bgsave_status": "err"}, Level.WARN, "snapshot failed"),
    ],
    ids=str,
)
def test_each_fault_is_told_with_its_mend(facts: dict[str, Any], level: Level, mend: str) -> None:
    assert_result(judge_redis(server(**facts)), level, mend)
