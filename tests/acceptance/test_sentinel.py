"""Redis behind real Sentinels: its leader is killed in the middle of a history, and the history is complete."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.redis_servers import PASSWORD, SentinelRedis
from tests.support.system import NO_QUOTA, QUICK_HEALING, QUICK_START, System, open_system, until
from worker.stores.redis.heartbeats import Heartbeats


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, sentinel_redis: SentinelRedis) -> Iterator[System]:
    settings = {"PRETEND_NOW": "2024-07-25T09:00+02:00", "HISTORY_LOAD_DAYS": "28", "REDIS_URL": sentinel_redis.url}
    with open_system(tmp_path_factory.mktemp("sentinel"), **settings, **NO_QUOTA, **QUICK_HEALING) as system:
        system.start_simulator()
        yield system
        system.kill("worker")


def test_a_history_outlives_the_leader_of_redis(system: System, sentinel_redis: SentinelRedis) -> None:
    system.start_beat()
    system.start_worker(*QUICK_START)
    until(lambda: Heartbeats(system.parts.stores.redis).beat_and_tick()[0], "beat's first message")
    with system.slow_history("42000000000001"):
        sentinel_redis.kill_leader()
        until(lambda: sentinel_redis.is_replica_leader, "the promotion of the replica")
    assert PASSWORD not in system.logs()
