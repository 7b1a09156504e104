"""Redis behind real Sentinels: its leader is killed in the middle of a history, and the history is complete."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.redis_servers import PASSWORD, SentinelRedis
from tests.support.system import NO_QUOTA, QUICK_HEALING, QUICK_START, System, open_system, until
from worker.domain.series import Series
from worker.stores.redis.heartbeats import Heartbeats


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, sentinel_redis: SentinelRedis) -> Iterator[System]:
    settings = {"PRETEND_NOW": "2024-07-25T09:00+02:00", "HISTORY_LOAD_DAYS": "28", "REDIS_URL": sentinel_redis.url}
    with open_system(tmp_path_factory.mktemp("sentinel"), **settings, **NO_QUOTA, **QUICK_HEALING) as system:
        system.start_simulator()
        yield system
        system.kill("worker")


def test_a_history_outlives_the_leader_of_redis(system: System, sentinel_redis: SentinelRedis) -> None:
    meter = "42000000000001"
    system.simulator("POST", "faults", {"path": "mesure_synchrone_auto", "delay_s": 0.4, "count": None})
    system.start_beat()
    system.start_worker(*QUICK_START)
    until(lambda: Heartbeats(system.parts.stores.redis).beat_and_tick()[0], "beat's first message")
    account = system.add_account_by_process(meter)
    until(lambda: system.parts.sync.history.count_days(account, Series.DAILY)[0] >= 365, "the first window")
    assert not system.loaded(account, Series.LOAD_CURVE)
    sentinel_redis.kill_leader()
    until(lambda: sentinel_redis.is_replica_leader, "the promotion of the replica")
    system.simulator("DELETE", "faults")
    system.wait_loaded(account)
    assert system.content(account) == system.truth(meter).expected_loads()
    assert PASSWORD not in system.logs()
