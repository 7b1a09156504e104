"""Rate limits: no window holds more calls than the rate, and a refusal says how long to wait."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from redis import Redis

from worker.errors import StoreUnavailable
from worker.stores.redis.connection import connect
from worker.stores.redis.locks import Rate, RateLimiter
from worker.web.client_addresses import client_address


@pytest.fixture
def limiter(redis: Redis) -> RateLimiter:
    return RateLimiter(redis, prefix=f"test-{uuid4().hex}:")


def test_subjects_and_rates_are_counted_apart(limiter: RateLimiter) -> None:
    one, other = Rate("one", calls=1), Rate("other", calls=1)
    assert limiter.count_call(one, "a") == 0
    assert limiter.count_call(one, "b") == 0
    assert limiter.count_call(other, "a") == 0
    assert limiter.count_call(one, "a") > 0


def test_looking_counts_nothing(limiter: RateLimiter) -> None:
    rate = Rate("r", calls=1)
    assert [limiter.closed_for_s(rate, "a") for _ in range(3)] == [0, 0, 0]
    assert limiter.count_call(rate, "a") == 0
    assert limiter.closed_for_s(rate, "a") > 0


def test_refused_calls_prolong_nothing_so_the_wait_of_the_refusal_is_enough(limiter: RateLimiter) -> None:
    rate = Rate("r", calls=2, window_s=1)
    while limiter.count_call(rate, "a") == 0:
        pass
    for _ in range(20):
        wait_s = limiter.count_call(rate, "a")
    time.sleep(wait_s)
    assert limiter.count_call(rate, "a") == 0


def test_many_at_once_get_no_more_than_the_rate(limiter: RateLimiter) -> None:
    rate = Rate("r", calls=20, window_s=600)
    with ThreadPoolExecutor(8) as threads:
        waits = list(threads.map(lambda _: limiter.count_call(rate, "a"), range(60)))
    assert waits.count(0) == 20


def test_one_number_is_kept_and_its_window_ends_however_often_it_is_counted(redis: Redis) -> None:
    prefix = f"test-{uuid4().hex}:"
    limiter, rate = RateLimiter(redis, prefix), Rate("r", calls=1000)
    for calls in range(1, 4):
        limiter.count_call(rate, "a")
        assert redis.get(f"{prefix}limit:r:a") == str(calls)
        assert 0 < redis.pttl(f"{prefix}limit:r:a") <= 60_000
        redis.pexpire(f"{prefix}limit:r:a", 30_000)  # As if half a minute had passed.
    assert redis.pttl(f"{prefix}limit:r:a") <= 30_000


@pytest.mark.sockets
def test_without_redis_nobody_is_let_in() -> None:
    with connect("redis://127.0.0.1:9") as nowhere, pytest.raises(StoreUnavailable):
        RateLimiter(nowhere).count_call(Rate("r", calls=1), "a")


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_one_home_counts_as_one_address(host: str, counted: str) -> None:
    request: Any = SimpleNamespace(client=SimpleNamespace(host=host))
    assert client_address(request) == counted


def test_a_unix_socket_is_one_address() -> None:
    request: Any = SimpleNamespace(client=None)
    assert client_address(request) == "local"
