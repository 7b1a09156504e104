"""Many threads on one ledger, with a clock that jumps when all of them sleep; the simulator counts the calls.

This is the small form of ``benchmarks/quota.py``.
"""

from __future__ import annotations

from benchmarks.quota import MIX, SHARES, simulated
from worker.domain.fleet.lanes import Lane


def test_sixteen_threads_use_an_hour_up_and_are_never_refused(redis_url: str) -> None:
    result = simulated(redis_url, per_hour=200, workers=16, hours=1, lanes=MIX)
    assert result["share_used"][0] >= 0.97
    assert result["refusals"] == 0
    assert result["max_in_any_second"] <= 5
    assert result["max_in_any_hour"] <= 200
    for lane in (Lane.NIGHTLY, Lane.BACKFILL):
        assert result["by_lane"][lane] >= SHARES.floor(lane) * 2 - 1
