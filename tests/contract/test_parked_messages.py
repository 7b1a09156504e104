"""Messages that wait for their time count as waiting, until it comes."""

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
    assert [state.parked(queue) for queue in ("nightly", "repair", "backfill")] == [2, 1, 0]


def test_who_came_back_is_no_longer_counted_and_nothing_stays(state: ProgressStore, redis: Redis, prefix: str) -> None:
    state.park("nightly", "a", 60)
    state.park("nightly", "b", 0.05)
    give_up = time.monotonic() + 10
    while state.parked("nightly") > 1:
        assert time.monotonic() < give_up
    state.park("nightly", "c", 0.05)
    assert 60_000 < redis.pttl(f"{prefix}parked:nightly") <= 120_000, "not shorter for who waits a moment"
    state.park("nightly", "a", 0.0)
    state.park("nightly", "c", 0.0)
    while state.parked("nightly"):
        assert time.monotonic() < give_up
    assert not redis.exists(f"{prefix}parked:nightly")
