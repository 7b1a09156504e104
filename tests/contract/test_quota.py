"""The permit ledger and the gate, on a real server with its own clock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from benchmarks.quota import MIX, SHARES, simulated
from tests.support.metric_counts import MetricGrowth
from worker.domain.lanes import Lane, enter_lane, leave_lane
from worker.errors import RateLimited, StoreUnavailable
from worker.quota.ledger import SECOND_MS, Limits, PermitDecision, QuotaLedger, spacing_us
from worker.stores.child_processes import free_port
from worker.stores.redis.connection import connect


def most_in_any_window(instants: list[float], length_s: float) -> int:
    """Return the most calls in a span, both ends included, which is the strictest reading of a limit."""
    instants = sorted(instants)
    return max(sum(start <= other <= start + length_s for other in instants) for start in instants)


def no_sleep(seconds: float) -> None:
    pytest.fail(f"slept for {seconds} s")


@given(st.integers(1, 20_000))
def test_one_call_more_than_a_second_holds_spans_more_than_it(calls: int) -> None:
    assert calls * spacing_us(calls) > SECOND_MS * 1000


def test_many_threads_never_get_more_than_both_limits(redis: Redis, prefix: str) -> None:
    def take_for_long(_: int) -> list[float]:
        ledger = QuotaLedger(
            redis, "enedis", Limits(per_second=5, per_hour=60, second_ms=50, hour_ms=1500), prefix=prefix
        )
        return [decision.at_s for decision in (ledger.try_permit("all") for _ in range(300)) if not decision.wait_s]

    with ThreadPoolExecutor(8) as pool:
        granted = [at_s for grants in pool.map(take_for_long, range(8)) for at_s in grants]
    assert len(granted) > 5  # That is more than one short window.
    assert most_in_any_window(granted, 0.05) <= 5
    assert most_in_any_window(granted, 1.5) <= 60


TAKE_PERMITS = """
import sys
from worker.quota.ledger import Limits, PermitDecision, QuotaLedger
from worker.stores.redis.connection import connect

class RecordingLedger(QuotaLedger):
    def try_permit(self, api: str, patience_s: float = 0.0) -> PermitDecision:
        decision = super().try_permit(api, patience_s)
        if decision.permit:
            redis.rpush(sys.argv[2] + "granted", repr(decision.at_s))
        return decision

with connect(sys.argv[1]) as redis:
    limits = {"per_second": None, "per_hour": 100, "hour_ms": 400}
    ledger = RecordingLedger(redis, "enedis", Limits(**limits), prefix=sys.argv[2], max_wait_s=60)
    for _ in range(60):
        ledger.take_permit("all")
"""


def test_processes_that_sleep_as_told_share_one_limit(redis: Redis, redis_url: str, prefix: str) -> None:
    workers = [subprocess.Popen([sys.executable, "-c", TAKE_PERMITS, redis_url, prefix]) for _ in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    granted = [float(instant) for instant in redis.lrange(f"{prefix}granted", 0, -1)]
    assert len(granted) == 180
    assert most_in_any_window(granted, 0.4) <= 100


def test_one_limit_used_up_takes_nothing_of_the_other(redis: Redis, prefix: str) -> None:
    ledger = QuotaLedger(redis, "enedis", Limits(per_second=1, per_hour=1000, second_ms=60_000), prefix=prefix)
    assert ledger.try_permit("all").wait_s == 0
    hour = redis.hgetall(f"{prefix}permit:enedis:all:hourly")
    refused = [ledger.try_permit("all") for _ in range(20)]
    assert all(0 < decision.wait_s <= 75.001 for decision in refused)
    assert redis.hgetall(f"{prefix}permit:enedis:all:hourly") == hour


def test_a_whole_hour_is_there_at_once_and_then_comes_back_bit_by_bit(redis: Redis, prefix: str) -> None:
    ledger = QuotaLedger(redis, "enedis", Limits(per_second=None, per_hour=100), prefix=prefix, sleep=no_sleep)
    for _ in range(100):
        ledger.take_permit("all")
    with pytest.raises(RateLimited) as caught:
        ledger.take_permit("all")
    assert 3500 < (caught.value.retry_after_s or 0) <= 3630


def test_each_api_has_limits_of_its_own(redis: Redis, prefix: str) -> None:
    ledger = QuotaLedger(redis, "enedis", Limits(per_second=1, per_hour=None, second_ms=60_000), prefix=prefix)
    assert [ledger.try_permit(api).wait_s > 0 for api in ("daily", "curve", "daily")] == [False, False, True]


def test_calls_that_follow_each_other_are_made_even_at_one_call_a_second(redis: Redis, prefix: str) -> None:
    slept: list[float] = []
    ledger = QuotaLedger(redis, "grdf", Limits(per_second=1, per_hour=None), prefix=prefix, sleep=slept.append)
    permits = [ledger.take_permit("all") for _ in range(3)]
    assert len(set(permits)) == 3
    assert max(slept) <= 2 * 1.25 + 0.01


def test_without_limits_everyone_enters_at_once(redis: Redis, prefix: str) -> None:
    ledger = QuotaLedger(redis, "grdf", Limits(per_second=None, per_hour=None), prefix=prefix, sleep=no_sleep)
    for _ in range(50):
        ledger.take_permit("all")
    assert list(redis.scan_iter(f"{prefix}*")) == []


def test_a_permit_is_booked_once_and_its_holder_sleeps_until_then(redis: Redis, prefix: str) -> None:
    """A caller that waits has its permit already and need not race for it."""
    slept: list[float] = []
    limits = {"per_second": 2, "per_hour": None, "second_ms": 60_000}  # The pace is one in 37.5 s.
    ledger = QuotaLedger(redis, "enedis", Limits(**limits), prefix=prefix, max_wait_s=120, sleep=slept.append)
    for _ in range(4):
        ledger.take_permit("all")
    assert [round(wait_s / 37.5) for wait_s in slept] == [1, 2, 3]
    with pytest.raises(RateLimited, match="rate limit of enedis") as caught:
        ledger.take_permit("all")
    assert 145 < (caught.value.retry_after_s or 0) <= 150.001


def test_a_closed_gate_closes_for_everybody_and_every_api(redis: Redis, prefix: str) -> None:
    def ledger(supplier: str = "enedis", per_second: int | None = 5) -> QuotaLedger:
        return QuotaLedger(redis, supplier, Limits(per_second=per_second, per_hour=None), prefix=prefix, sleep=no_sleep)

    assert ledger().closed_for_s() == 0
    ledger().close_gate(120)
    for closed in (ledger(), ledger(per_second=None)):
        for api in ("daily", "curve"):
            with pytest.raises(RateLimited) as caught:
                closed.take_permit(api)
            assert 110 < (caught.value.retry_after_s or 0) <= 121  # Each caller has its own turn.
    assert 110 < ledger().closed_for_s() <= 120
    ledger("grdf").take_permit("daily")
    assert not list(redis.scan_iter(f"{prefix}permit:enedis:*"))  # The closed gate took no permit.


def test_a_gate_closed_for_longer_stays_so(redis: Redis, prefix: str) -> None:
    ledger = QuotaLedger(redis, "enedis", Limits(per_second=5, per_hour=None), prefix=prefix)
    for seconds in (60, 5, 0, -3):
        ledger.close_gate(seconds)
        assert 50 < ledger.closed_for_s() <= 60
    ledger.close_gate(300)
    assert 250 < ledger.closed_for_s() <= 300


def test_a_raised_limit_counts_at_once(redis: Redis, prefix: str) -> None:
    def ledger(per_hour: int) -> QuotaLedger:
        return QuotaLedger(redis, "enedis", Limits(per_second=None, per_hour=per_hour), prefix=prefix)

    assert ledger(1).try_permit("all").wait_s == 0
    assert ledger(1).try_permit("all").wait_s > 3500
    assert ledger(10_000).try_permit("all").wait_s == 0
    redis.delete(*redis.scan_iter(f"{prefix}permit*"))
    assert ledger(10_000).try_permit("all").wait_s == 0
    assert ledger(1).try_permit("all").wait_s > 3500  # A lowered limit counts at once too.


def test_the_permits_of_a_day_are_told_beside_those_of_an_hour(redis: Redis, prefix: str) -> None:
    at_s = 1_900_000_000.0
    limits = {"per_second": None, "per_hour": 100, "per_day": 6}
    ledger = QuotaLedger(redis, "grdf", Limits(**limits), prefix=prefix, clock_us=lambda: int(at_s * 1e6))
    permits = [ledger.try_permit("data").permit for _ in range(2)]
    at_s += 7200
    permits += [ledger.try_permit("data").permit for _ in range(2)]
    assert all(permits) and ledger.per_day == 6
    assert (ledger.used_in_a_day("data"), sum(ledger.used_by_lane("data").values())) == (4, 2)
    ledger.release_permit(permits[-1] or "")
    assert ledger.used_in_a_day("data") == 3
    assert QuotaLedger(redis, "grdf", Limits(per_second=None, per_hour=100), prefix=prefix).used_in_a_day("data") == 0


def test_a_server_clock_set_back_closes_nothing_and_forgets_no_call(redis: Redis, prefix: str) -> None:
    now_s = 1_900_000_000.0
    limits = {"per_second": 5, "per_hour": 10}
    ledger = QuotaLedger(redis, "enedis", Limits(**limits), prefix=prefix, clock_us=lambda: int(now_s * 1e6))
    ledger.close_gate(100)
    assert ledger.closed_for_s() == 100
    now_s += 200
    for _ in range(6):
        assert ledger.try_permit("all").permit
        now_s += 0.3
    now_s -= 7200
    assert ledger.closed_for_s() == 0
    granted = 0
    for _ in range(12):
        granted += ledger.try_permit("all").permit is not None
        now_s += 1.1
    assert granted == 4
    now_s += 3700
    assert ledger.try_permit("all").permit


def test_redis_emptied_in_between_costs_one_burst(redis: Redis, prefix: str) -> None:
    ledger = QuotaLedger(redis, "enedis", Limits(per_second=1, per_hour=None, second_ms=60_000), prefix=prefix)

    def granted(ask: Callable[[str], PermitDecision]) -> int:
        return sum(ask("all").wait_s == 0 for _ in range(10))

    assert granted(ledger.try_permit) == 1
    redis.delete(*redis.scan_iter(f"{prefix}*"))
    redis.script_flush()
    assert granted(ledger.try_permit) == 1


def test_the_keys_end_by_themselves(redis: Redis, prefix: str) -> None:
    ledger = QuotaLedger(redis, "enedis", Limits(per_second=5, per_hour=1000), prefix=prefix)
    ledger.take_permit("all")
    ledger.close_gate(60)
    lives = [redis.pttl(key) for key in redis.scan_iter(f"{prefix}*")]
    assert all(life != -1 for life in lives)


def test_waits_refusals_and_closings_are_counted_in_their_lane(redis: Redis, prefix: str) -> None:
    slept: list[float] = []
    ledger = QuotaLedger(redis, "enedis", Limits(per_second=None, per_hour=1), prefix=prefix, sleep=slept.append)
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
def test_an_unreachable_redis_means_try_again_later() -> None:
    counts = MetricGrowth()
    with connect(f"redis://127.0.0.1:{free_port()}/0") as nobody:
        ledger = QuotaLedger(nobody, "enedis", Limits(per_second=5, per_hour=10))
        calls = (
            lambda: ledger.take_permit("all"),
            lambda: ledger.close_gate(5),
            ledger.closed_for_s,
        )
        for call in (*calls, lambda: ledger.release_permit("1/1/all"), lambda: ledger.used_by_lane("all")):
            with pytest.raises(StoreUnavailable):
                call()
    assert counts.growth_by_labels("releve_store_errors_total") == {("redis",): 5}


def test_sixteen_threads_use_an_hour_up_and_are_never_refused(redis_url: str) -> None:
    """The small form of ``benchmarks/quota.py``: a clock that jumps when all sleep; the simulator counts the calls."""
    result = simulated(redis_url, per_hour=200, workers=16, hours=1, lanes=MIX)
    assert result["share_used"][0] >= 0.97
    assert result["refusals"] == 0
    assert result["max_in_any_second"] <= 5
    assert result["max_in_any_hour"] <= 200
    for lane in (Lane.NIGHTLY, Lane.BACKFILL):
        assert result["by_lane"][lane] >= SHARES.floor(lane) * 2 - 1
