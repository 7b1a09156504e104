"""The metrics of the ledger: waits, refusals and closings, by lane."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.support.metric_counts import MetricGrowth
from worker.domain.fleet.lanes import enter_lane, leave_lane
from worker.errors import RateLimited, StoreUnavailable
from worker.quota.ledger import QuotaLedger
from worker.stores.redis.child_processes import free_port
from worker.stores.redis.connection import connect


def test_waits_refusals_and_closings_are_counted_in_their_lane(redis: Redis, prefix: str) -> None:
    slept: list[float] = []
    ledger = QuotaLedger(redis, "enedis", per_second=None, per_hour=1, prefix=prefix, sleep=slept.append)
    counts, token = MetricGrowth(), enter_lane("backfill")
    ledger.take_permit("data")
    with pytest.raises(RateLimited):
        ledger.take_permit("data")
    ledger.close_gate(1.0)
    ledger.close_gate(0.0)
    leave_lane(token)
    assert counts.growth_by_labels("releve_permit_wait_seconds_count") == {("backfill",): 1}
    assert counts.growth("releve_permit_wait_seconds_sum", lane="backfill") == 0
    assert counts.growth_by_labels("releve_permits_refused_total") == {("backfill",): 1}
    assert counts.growth("releve_gate_closings_total") == 1
    assert slept == []


@pytest.mark.sockets
def test_a_redis_that_is_away_is_a_store_error() -> None:
    counts = MetricGrowth()
    with connect(f"redis://127.0.0.1:{free_port()}/0") as away, pytest.raises(StoreUnavailable):
        QuotaLedger(away, "enedis", per_second=None, per_hour=1).used("data")
    assert counts.growth_by_labels("releve_store_errors_total") == {("redis",): 1}
