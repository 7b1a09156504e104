"""Heartbeats in a real Redis, judged by its clock."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from redis import Redis

from tests.support.kept_installation import load_kept
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
    living = Heartbeat(heartbeats, "nightly@one", "1f0c9a3e", "one-1", every_s=4e9)  # The first heartbeat alone.
    living.start()
    (told,) = heartbeats.workers()
    assert (told.name, told.restarts, told.slots, told.queues) == ("nightly@one", 3, 0, ())
    assert told.progress_at == told.seen_at <= heartbeats.now()
    assert heartbeats.dead_workers(["one-1"]) == []
    assert heartbeats.first_keys() == {"nightly@one": "1f0c9a3e"}
    assert heartbeats._redis.ttl(heartbeats._key("heartbeat_keys")) > 0
    living.stop()
    assert heartbeats.first_keys() == {} == heartbeats._redis.hgetall(heartbeats._key("heartbeat_keys"))
    assert (heartbeats.workers(), heartbeats.dead_workers(["one-1"])) == ([], ["one-1"])


def test_the_rows_of_workers_are_read_by_version_0_2_0_and_may_have_further_fields(heartbeats: Heartbeats) -> None:
    now = heartbeats.now()
    heartbeats.record_worker("one-1", WorkerHeartbeat("nightly@one", now - 9, now - 9), "1f0c9a3e")
    heartbeats.record_worker("one-2", WorkerHeartbeat("nightly@one", now, now), "77aa00ff")  # Restarted with a new key.
    heartbeats.record_worker("two-1", WorkerHeartbeat("nightly@two", now, now))
    heartbeats.record_worker("six-1", WorkerHeartbeat("nightly@six", now - 4 * ALIVE_S - 1, now), "1f0c9a3e")
    key = heartbeats._key("heartbeat")
    row = json.loads(heartbeats._redis.hget(key, "one-2") or "")
    (kept,) = load_kept("redis")["releve:heartbeat"]["value"].values()
    assert row.keys() == json.loads(kept).keys(), "version 0.2.0 refuses other fields"
    assert heartbeats.first_keys() == {"nightly@one": "77aa00ff", "nightly@two": None}
    before = heartbeats.workers()
    heartbeats._redis.hset(key, "one-2", json.dumps({**row, "of a later version": 1}))
    assert heartbeats.workers() == before


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
