"""What the ledger counts: waits, refusals and closings, by lane."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.support.metric_counts import Counts
from worker.domain.fleet.lanes import enter_lane, leave_lane
from worker.errors import RateLimited, StoreUnavailable
from worker.quota.ledger import QuotaLedger
from worker.stores.redis.child_processes import free_port
from worker.stores.redis.connection import connect


def test_waits_refusals_and_closings_are_counted_in_their_lane(redis: Redis, prefix: str) -> None:
    slept: list[float] = []
    ledger = QuotaLedger(redis, "enedis", per_second=None, per_hour=1, prefix=prefix, sleep=slept.append)
    counts, token = Counts(), enter_lane("backfill")
    ledger.enter("data")
    with pytest.raises(RateLimited):
        ledger.enter("data")
    ledger.close(1.0)
    ledger.close(0.0)
    leave_lane(token)
    assert counts.all_grown("releve_permit_wait_seconds_count") == {("backfill",): 1}
    assert counts.grown("releve_permit_wait_seconds_sum", lane="backfill") == 0
    assert counts.all_grown("releve_permits_refused_total") == {("backfill",): 1}
    assert counts.grown("releve_gate_closings_total") == 1
    assert slept == []


def test_a_redis_that_is_away_is_a_store_error() -> None:
    counts = Counts()
    with connect(f"redis://127.0.0.1:{free_port()}/0") as away, pytest.raises(StoreUnavailable):
        QuotaLedger(away, "enedis", per_second=None, per_hour=1).used("data")
    assert counts.all_grown("releve_store_errors_total") == {("redis",): 1}
