"""Checks of Redis by its answer to INFO."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis import Redis

from tests.unit.ops.health.conftest import assert_result
from worker.ops.health.redis import judge_redis
from worker.ops.health.results import Level

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
        ({"role": "slave"}, Level.FAIL, "let RELEVE_REDIS_URL name the primary, or its Sentinels"),
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
