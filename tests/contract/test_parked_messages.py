"""Messages with a countdown are counted as parked until it is over."""

from __future__ import annotations

import time

import pytest
from redis import Redis

from worker.stores.redis.progress import ProgressStore


@pytest.fixture
def state(redis: Redis, prefix: str) -> ProgressStore:
    return ProgressStore(redis, prefix)


def test_each_queue_counts_its_own_and_each_message_once(state: ProgressStore) -> None:
    for message in ("a", "b", "a"):
        state.park("nightly", message, 60)
    state.park("repair", "c", 60)
    assert [state.count_parked(queue) for queue in ("nightly", "repair", "backfill")] == [2, 1, 0]


def test_who_came_back_is_no_longer_counted_and_nothing_stays(state: ProgressStore, redis: Redis, prefix: str) -> None:
    state.park("nightly", "a", 60)
    state.park("nightly", "b", 0.05)
    deadline = time.monotonic() + 10
    while state.count_parked("nightly") > 1:
        assert time.monotonic() < deadline
    state.park("nightly", "c", 0.05)
    assert 60_000 < redis.pttl(f"{prefix}parked:nightly") <= 120_000, "not shorter for who waits a moment"
    state.park("nightly", "a", 0.0)
    state.park("nightly", "c", 0.0)
    while state.count_parked("nightly"):
        assert time.monotonic() < deadline
    assert not redis.exists(f"{prefix}parked:nightly")
