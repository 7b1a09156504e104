"""Heartbeats in a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from worker.stores.redis.connection import connect
from worker.stores.redis.heartbeats import WORKER_TTL_S, Heartbeats, WorkerHeartbeat

ONE = WorkerHeartbeat("nightly@one", 1000.5, 990.25, running=2, slots=16, queues=("control", "nightly"))
OTHER = WorkerHeartbeat("backfill@two", 1001.0, 1001.0, running=0, slots=4, queues=())


@pytest.fixture
def heartbeats(redis_url: str) -> Iterator[Heartbeats]:
    prefix = f"test-{uuid4().hex}:"
    with connect(redis_url) as redis:
        yield Heartbeats(redis, prefix)
        for key in redis.scan_iter(f"{prefix}*"):
            redis.delete(key)


def test_workers_are_told_as_they_were_noted_last(heartbeats: Heartbeats) -> None:
    heartbeats.record_worker(WorkerHeartbeat("nightly@one", 1.0, 1.0, 0, 16, ()))
    heartbeats.record_worker(ONE)
    heartbeats.record_worker(OTHER)
    assert heartbeats.workers() == [OTHER, ONE]
    assert [worker.host for worker in heartbeats.workers()] == ["two", "one"]


def test_who_says_goodbye_is_forgotten(heartbeats: Heartbeats) -> None:
    heartbeats.record_worker(ONE)
    heartbeats.forget_worker("nightly@one")
    assert heartbeats.workers() == []


def test_who_vanishes_is_forgotten_by_itself(heartbeats: Heartbeats) -> None:
    heartbeats.record_worker(ONE)
    assert 0 < heartbeats._redis.ttl(heartbeats._key("worker", ONE.name)) <= WORKER_TTL_S


def test_restarts_are_counted_by_worker(heartbeats: Heartbeats) -> None:
    assert heartbeats.restarts() == {}
    for name in ("b@1", "a@1", "b@1"):
        heartbeats.count_restart(name)
    assert heartbeats.restarts() == {"a@1": 1, "b@1": 2}


def test_beat_and_its_echo_are_noted_apart(heartbeats: Heartbeats) -> None:
    assert list(heartbeats.beat_and_tick()) == [None, None]
    heartbeats.record_beat(1000.5)
    assert list(heartbeats.beat_and_tick()) == [1000.5, None]
    heartbeats.record_tick(1001.0)
    assert list(heartbeats.beat_and_tick()) == [1000.5, 1001.0]
