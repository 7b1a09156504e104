"""Heartbeats in a real Redis, judged by its clock."""

from __future__ import annotations

from dataclasses import replace

import pytest
from redis import Redis

from worker.ops.watchdog import RESTARTS_VARIABLE, Heartbeat
from worker.stores.redis.heartbeats import ALIVE_S, FORGET_S, Heartbeats, WorkerHeartbeat


@pytest.fixture
def heartbeats(redis: Redis, prefix: str) -> Heartbeats:
    return Heartbeats(redis, prefix)


def test_a_worker_lives_as_long_as_it_says_so_and_is_listed_for_a_while(heartbeats: Heartbeats) -> None:
    now = heartbeats.now()
    one = WorkerHeartbeat("nightly@one", now, now - 10, running=2, slots=16, queues=("control", "nightly"))
    silent = WorkerHeartbeat("backfill@two", now - 4 * ALIVE_S - 1, now - 99, slots=4, restarts=2)
    vanished = WorkerHeartbeat("backfill@three", now - FORGET_S - 1, now - 9999)
    for process, heartbeat in (("one-1", one), ("two-1", silent), ("three-1", vanished)):
        heartbeats.record_worker(process, heartbeat)
    heartbeats.record_worker("one-0", replace(one, seen_at=now - 60))  # One of the same name that was killed.
    assert heartbeats.workers() == [silent, one]
    assert [worker.host for worker in heartbeats.workers()] == ["two", "one"]
    assert heartbeats.living_workers() == ["nightly@one"]
    assert heartbeats.dead_workers({"one-1", "one-0", "two-1", "unknown-1"}) == ["one-0", "two-1", "unknown-1"]
    assert heartbeats.dead_workers([]) == []
    assert 0 < heartbeats._redis.ttl(heartbeats._key("heartbeat")) <= 24 * 3600
    heartbeats.forget_worker("one-1")
    assert heartbeats.dead_workers(["one-1"]) == ["one-1"]
    assert "three-1" in heartbeats._redis.hkeys(heartbeats._key("heartbeat")), "a look deletes nothing"
    heartbeats.forget_vanished()
    assert heartbeats._redis.hkeys(heartbeats._key("heartbeat")) == ["two-1", "one-0"]


def test_a_worker_tells_its_name_and_restarts_until_it_says_goodbye(
    heartbeats: Heartbeats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RESTARTS_VARIABLE, "3")
    living = Heartbeat(heartbeats, "nightly@one", "one-1")
    living.start()
    (told,) = heartbeats.workers()
    assert (told.name, told.restarts, told.slots, told.queues) == ("nightly@one", 3, 0, ())
    assert told.progress_at == told.seen_at <= heartbeats.now()
    assert heartbeats.dead_workers(["one-1"]) == []
    living.stop()
    assert (heartbeats.workers(), heartbeats.dead_workers(["one-1"])) == ([], ["one-1"])


def test_beat_and_its_echo_are_noted_apart(heartbeats: Heartbeats) -> None:
    assert heartbeats.beat_and_tick() == [None, None]
    began = heartbeats.now()
    heartbeats.record_beat()
    beat_at, tick_at = heartbeats.beat_and_tick()
    assert beat_at is not None and began <= beat_at <= heartbeats.now() and tick_at is None
    heartbeats.record_tick()
    assert heartbeats.beat_and_tick()[0] == beat_at
    assert (heartbeats.beat_and_tick()[1] or 0) >= beat_at
    assert heartbeats.workers() == []
