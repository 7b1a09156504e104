"""Redis: a server that keeps what it is given, takes what it is sent, and is one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from redis import Redis

from worker.ops.health.connections import Visit
from worker.ops.health.results import Note, fail, ok, warn
from worker.stores.redis.connection import redis_errors


def state(visit: Visit) -> Iterator[Note]:
    """Raises StoreUnavailable."""
    yield from judge(visit.redis)


def judge(redis: Redis) -> Iterator[Note]:
    """From INFO alone, for CONFIG is forbidden on many managed servers.  Raises StoreUnavailable."""
    with redis_errors():
        told: dict[str, Any] = redis.info()
    yield from _serves(told)
    yield from _keeps(told)
    append_only = "append-only file on" if told.get("aof_enabled") else "no append-only file"
    yield ok(f"{_version(told)}, noeviction, {append_only}")


def _version(told: dict[str, Any]) -> str:
    if valkey := told.get("valkey_version"):
        return f"Valkey {valkey}"
    return f"Redis {told.get('redis_version', 'of unknown version')}"


def _serves(told: dict[str, Any]) -> Iterator[Note]:
    if told.get("cluster_enabled"):
        yield fail(
            "this is a Redis Cluster, which Celery and our scripts over several keys can't use: give Relève one "
            "server, or several behind Sentinels"
        )
    if told.get("role") not in (None, "master"):
        yield fail("this is a replica, which takes no writes: let RELEVE_REDIS_URL name the primary, or its Sentinels")
    if told.get("loading"):
        yield fail("it is still reading its files: wait")


def _keeps(told: dict[str, Any]) -> Iterator[Note]:
    policy = told.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        yield fail(
            f"it drops keys when memory is short (maxmemory-policy {policy}): set maxmemory-policy noeviction, or give "
            "Relève a Redis of its own"
        )
    if not told.get("aof_enabled"):
        yield warn("no append-only file: what is queued is lost when it restarts; set appendonly yes")
    elif "err" in (told.get("aof_last_write_status"), told.get("aof_last_bgrewrite_status")):
        yield fail("it can't write its append-only file, and will take no more: make room on its disk, look at its log")
    elif told.get("rdb_last_bgsave_status") == "err":
        yield warn("its last snapshot failed: make room on its disk, look at its log")
