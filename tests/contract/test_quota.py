"""The permit ledger and the gate, on a real server and by its clock."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from worker.errors import RateLimited, StoreUnavailable
from worker.stores.quota import SECOND_MS, Decision, QuotaLedger, spacing_us
from worker.stores.redis_link import connect
from worker.supervisor import free_port


def most_in_any_window(instants: list[float], length_s: float) -> int:
    """Both ends included: the strictest reading of a limit."""
    instants = sorted(instants)
    return max(sum(start <= other <= start + length_s for other in instants) for start in instants)


def no_sleep(seconds: float) -> None:
    pytest.fail(f"slept for {seconds} s")


@given(st.integers(1, 20_000))
def test_one_call_more_than_a_second_holds_spans_more_than_it(calls: int) -> None:
    assert calls * spacing_us(calls) > SECOND_MS * 1000


def test_many_threads_never_get_more_than_both_limits(redis: Redis, prefix: str) -> None:
    def take_for_long(_: int) -> list[float]:
        ledger = QuotaLedger(redis, "enedis", per_second=5, per_hour=300, prefix=prefix, second_ms=50, hour_ms=1500)
        return [decision.at_s for decision in (ledger.take("all") for _ in range(900)) if not decision.wait_s]

    with ThreadPoolExecutor(8) as pool:
        granted = [at_s for grants in pool.map(take_for_long, range(8)) for at_s in grants]
    assert len(granted) > 5  # more than one short window
    assert most_in_any_window(granted, 0.05) <= 5
    assert most_in_any_window(granted, 1.5) <= 300


ENTER = """
import sys
from worker.stores.quota import Decision, QuotaLedger
from worker.stores.redis_link import connect

class Noting(QuotaLedger):
    def take(self, api: str) -> Decision:
        decision = super().take(api)
        if not decision.wait_s:
            redis.rpush(sys.argv[2] + "granted", repr(decision.at_s))
        return decision

with connect(sys.argv[1]) as redis:
    limits = {"per_second": None, "per_hour": 100, "hour_ms": 400}
    ledger = Noting(redis, "enedis", prefix=sys.argv[2], max_wait_s=60, **limits)
    for _ in range(60):
        ledger.enter("all")
"""


def test_processes_that_sleep_as_told_share_one_limit(redis: Redis, redis_url: str, prefix: str) -> None:
    workers = [subprocess.Popen([sys.executable, "-c", ENTER, redis_url, prefix]) for _ in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    granted = [float(instant) for instant in redis.lrange(f"{prefix}granted", 0, -1)]
    assert len(granted) == 180
    assert most_in_any_window(granted, 0.4) <= 100


def test_one_limit_used_up_takes_nothing_of_the_other(redis: Redis, prefix: str) -> None:
    ledger = QuotaLedger(redis, "enedis", per_second=1, per_hour=1000, prefix=prefix, second_ms=60_000)
    assert ledger.take("all").wait_s == 0
    hour = redis.hgetall(f"{prefix}permit:enedis:all:hour")
    refused = [ledger.take("all") for _ in range(20)]
    assert all(0 < decision.wait_s <= 75.001 for decision in refused)
    assert redis.hgetall(f"{prefix}permit:enedis:all:hour") == hour


def test_a_whole_hour_is_there_at_once_and_then_comes_back_bit_by_bit(redis: Redis, prefix: str) -> None:
    ledger = QuotaLedger(redis, "enedis", per_second=None, per_hour=100, prefix=prefix, sleep=no_sleep)
    for _ in range(100):
        ledger.enter("all")
    with pytest.raises(RateLimited) as caught:
        ledger.enter("all")
    assert 3500 < (caught.value.retry_after_s or 0) <= 3630


def test_at_least_97_percent_of_the_quota_is_used_hour_after_hour(redis: Redis, prefix: str) -> None:
    hours, hour_s = 3, 0.6
    ledger = QuotaLedger(redis, "enedis", per_second=None, per_hour=200, prefix=prefix, hour_ms=int(hour_s * 1000))
    granted: list[float] = []
    while not granted or granted[-1] - granted[0] < hours * hour_s:
        decision = ledger.take("all")
        if not decision.wait_s:
            granted.append(decision.at_s)
    assert most_in_any_window(granted, hour_s) <= 200
    assert len(granted) >= 0.97 * 200 * hours


def test_each_api_has_limits_of_its_own(redis: Redis, prefix: str) -> None:
    ledger = QuotaLedger(redis, "enedis", per_second=1, per_hour=None, prefix=prefix, second_ms=60_000)
    assert [ledger.take(api).wait_s > 0 for api in ("daily", "curve", "daily")] == [False, False, True]


def test_without_limits_everyone_enters_at_once(redis: Redis, prefix: str) -> None:
    ledger = QuotaLedger(redis, "grdf", per_second=None, per_hour=None, prefix=prefix, sleep=no_sleep)
    for _ in range(50):
        ledger.enter("all")
    assert list(redis.scan_iter(f"{prefix}*")) == []


def test_a_short_wait_is_slept_and_a_long_one_is_told(redis: Redis, prefix: str) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        redis.delete(f"{prefix}permit:enedis:all:second")  # as if the time had passed

    patient = QuotaLedger(redis, "enedis", per_second=1, per_hour=None, prefix=prefix, sleep=sleep)
    patient.enter("all")
    patient.enter("all")
    assert len(slept) == 1 and 0 < slept[0] <= 1.26
    hasty = QuotaLedger(redis, "enedis", per_second=1, per_hour=None, prefix=prefix, max_wait_s=0, sleep=no_sleep)
    with pytest.raises(RateLimited, match="no permit of enedis") as caught:
        hasty.enter("all")
    assert 0 < (caught.value.retry_after_s or 0) <= 1.26


def test_who_loses_every_race_is_told_to_come_back(redis: Redis, prefix: str) -> None:
    slept: list[float] = []
    ledger = QuotaLedger(redis, "enedis", per_second=2, per_hour=None, prefix=prefix, sleep=slept.append)
    ledger.enter("all")
    with pytest.raises(RateLimited) as caught:
        ledger.enter("all")  # its sleeps take no time here, as if others were always faster
    assert 0 < sum(slept) <= 2.0 < (caught.value.retry_after_s or 0)


def test_a_closed_gate_closes_for_everybody_and_every_api(redis: Redis, prefix: str) -> None:
    def ledger(supplier: str = "enedis", per_second: int | None = 5) -> QuotaLedger:
        return QuotaLedger(redis, supplier, per_second=per_second, per_hour=None, prefix=prefix, sleep=no_sleep)

    assert ledger().closed_for_s() == 0
    ledger().close(120)
    for each in (ledger(), ledger(per_second=None)):
        for api in ("daily", "curve"):
            with pytest.raises(RateLimited) as caught:
                each.enter(api)
            assert 110 < (caught.value.retry_after_s or 0) <= 120
    assert 110 < ledger().closed_for_s() <= 120
    ledger("grdf").enter("daily")
    assert not list(redis.scan_iter(f"{prefix}permit:enedis:*"))  # the closed gate took no permit


def test_a_gate_closed_for_longer_stays_so(redis: Redis, prefix: str) -> None:
    ledger = QuotaLedger(redis, "enedis", per_second=5, per_hour=None, prefix=prefix)
    for seconds in (60, 5, 0, -3):
        ledger.close(seconds)
        assert 50 < ledger.closed_for_s() <= 60
    ledger.close(300)
    assert 250 < ledger.closed_for_s() <= 300


def test_the_gate_opens_by_itself(redis: Redis, prefix: str) -> None:
    ledger = QuotaLedger(redis, "enedis", per_second=None, per_hour=None, prefix=prefix)
    ledger.close(0.05)
    ledger.enter("all")
    assert ledger.closed_for_s() == 0


def test_a_raised_limit_counts_at_once(redis: Redis, prefix: str) -> None:
    def ledger(per_hour: int) -> QuotaLedger:
        return QuotaLedger(redis, "enedis", per_second=None, per_hour=per_hour, prefix=prefix)

    assert ledger(1).take("all").wait_s == 0
    assert ledger(1).take("all").wait_s > 3500
    assert ledger(10_000).take("all").wait_s == 0
    redis.delete(*redis.scan_iter(f"{prefix}permit*"))
    assert ledger(10_000).take("all").wait_s == 0
    assert ledger(1).take("all").wait_s > 3500  # and so does a lowered one


def test_a_server_clock_set_back_closes_nothing(redis: Redis, prefix: str) -> None:
    ledger = QuotaLedger(redis, "enedis", per_second=5, per_hour=None, prefix=prefix)
    seconds, _ = redis.time()
    redis.set(f"{prefix}permit:enedis:all:second", (seconds + 3600) * 1_000_000, ex=7200)
    assert ledger.take("all").wait_s <= 0.26


def test_redis_emptied_in_between_costs_one_burst(redis: Redis, prefix: str) -> None:
    ledger = QuotaLedger(redis, "enedis", per_second=1, per_hour=None, prefix=prefix, second_ms=60_000)

    def granted(ask: Callable[[str], Decision]) -> int:
        return sum(ask("all").wait_s == 0 for _ in range(10))

    assert granted(ledger.take) == 1
    redis.delete(*redis.scan_iter(f"{prefix}*"))
    redis.script_flush()
    assert granted(ledger.take) == 1


def test_the_keys_end_by_themselves(redis: Redis, prefix: str) -> None:
    ledger = QuotaLedger(redis, "enedis", per_second=5, per_hour=1000, prefix=prefix)
    ledger.enter("all")
    ledger.close(60)
    lives = [redis.pttl(key) for key in redis.scan_iter(f"{prefix}*")]
    assert all(life != -1 for life in lives)


def test_an_unreachable_redis_means_try_again_later() -> None:
    with connect(f"redis://127.0.0.1:{free_port()}/0") as nobody:
        ledger = QuotaLedger(nobody, "enedis", per_second=5, per_hour=None)
        for call in (lambda: ledger.enter("all"), lambda: ledger.close(5), ledger.closed_for_s):
            with pytest.raises(StoreUnavailable):
                call()
