"""Checks of Redis, of the broker, and of the messages that wait in its queues.

Redis is judged by the answer to INFO alone, because CONFIG is forbidden on many managed servers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from redis import Redis

from worker.app import open_broker, queue_ages, queue_lengths
from worker.errors import StoreUnavailable
from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import CheckNote, fail, ok, warn
from worker.stores.redis.connection import connect, redis_errors

LONG_S: Final = 300.0

# -- broker and queues


def check_broker(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check the broker where it is not the Redis of the state.  Raises StoreUnavailable."""
    url = connections.settings.broker_url
    if url is None:
        yield from _check_same(connections)
    elif connections.settings.broker_options().kind == "redis":
        redis = connect(url.get_secret_value())
        connections.stack.callback(redis.close)
        try:
            yield from judge_redis(redis)
        except StoreUnavailable as error:
            yield fail(str(error).replace("RELEVE_REDIS_URL", "RELEVE_BROKER_URL"))
    else:
        with open_broker(connections.broker_url) as connection:
            properties = connection.connection.server_properties
        yield ok(f"{properties.get('product', 'AMQP')} {properties.get('version', 'of unknown version')}")


def _check_same(connections: CheckConnections) -> Iterator[CheckNote]:
    try:
        with redis_errors():
            connections.redis.ping()
    except StoreUnavailable as error:
        yield fail(f"the same Redis: {error}")
        return
    yield ok("the same Redis")


def check_queues(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check how many messages wait and for how long.  Raises StoreUnavailable."""
    url = connections.broker_url
    yield from judge_queues(queue_lengths(url), queue_ages(url), connections.settings.reconcile_every_s)


def judge_queues(waiting: Mapping[str, int], ages: Mapping[str, float], every_s: float) -> Iterator[CheckNote]:
    """Judge the queues by their messages and by the age of the next one, in seconds.

    A message that beat sends expires after five rounds of ``every_s`` seconds, so ``control`` should never have an
    older one.
    """
    if (age_s := ages.get("control", 0.0)) > (limit_s := max(5 * every_s, LONG_S)):
        yield warn(
            f"the queue control is {age_s:.0f} s behind, and should be at most {limit_s:.0f} s: start more workers "
            "for it"
        )
    queues = [
        f"{name} {length}" + (f" (for {ages[name]:.0f} s)" if length and name in ages else "")
        for name, length in waiting.items()
    ]
    yield ok("waiting: " + ", ".join(queues))


# -- Redis


def check_redis(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check the Redis of the state.  Raises StoreUnavailable."""
    yield from judge_redis(connections.redis)


def judge_redis(redis: Redis) -> Iterator[CheckNote]:
    """Judge a Redis by its INFO: it must be one writable server that evicts nothing.  Raises StoreUnavailable."""
    with redis_errors():
        info: dict[str, Any] = redis.info()
    yield from _judge_role(info)
    yield from _judge_persistence(info)
    append_only = "append-only file on" if info.get("aof_enabled") else "no append-only file"
    yield ok(f"{_version(info)}, noeviction, {append_only}")


def _version(info: dict[str, Any]) -> str:
    if valkey := info.get("valkey_version"):
        return f"Valkey {valkey}"
    return f"Redis {info.get('redis_version', 'of unknown version')}"


def _judge_role(info: dict[str, Any]) -> Iterator[CheckNote]:
    if info.get("cluster_enabled"):
        yield fail(
            "this is a Redis Cluster, which Celery can't use: give Relève one server, or several behind Sentinels"
        )
    if info.get("role") not in (None, "master"):
        yield fail("this is a replica, which accepts no writes: set RELEVE_REDIS_URL to the primary, or its Sentinels")
    if info.get("loading"):
        yield fail("it is still loading its data: wait")


def _judge_persistence(info: dict[str, Any]) -> Iterator[CheckNote]:
    policy = info.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        yield fail(
            f"it evicts keys when memory is short (maxmemory-policy {policy}): set maxmemory-policy noeviction, or "
            "give Relève its own Redis"
        )
    if not info.get("aof_enabled"):
        yield warn("no append-only file: queued messages are lost when it restarts; set appendonly yes")
    elif "err" in (info.get("aof_last_write_status"), info.get("aof_last_bgrewrite_status")):
        yield fail("it can't write its append-only file, and refuses writes: make room on its disk, check its log")
    elif info.get("rdb_last_bgsave_status") == "err":
        yield warn("its last snapshot failed: make room on its disk, check its log")
