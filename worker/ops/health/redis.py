"""The broker: reachable, and how much waits in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from redis import Redis

from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import Note, fail, ok, warn
from worker.stores.redis.connection import redis_errors

if TYPE_CHECKING:
    from kombu import Connection

LONG_S: Final = 300.0


def broker(visit: CheckConnections) -> Iterator[Note]:
    """Raises StoreUnavailable."""
    told = visit.settings.broker_url
    if told is None:
        yield ok("the same Redis")
    elif visit.settings.broker_options().kind == "redis":
        from worker.stores.redis.connection import connect

        redis = connect(told.get_secret_value())
        visit.opened.callback(redis.close)
        yield from judge(redis)
    else:
        with connected(visit) as connection:
            facts = connection.connection.server_properties
        yield ok(f"{facts.get('product', 'AMQP')} {facts.get('version', 'of unknown version')}")


def queues(visit: CheckConnections) -> Iterator[Note]:
    """Raises StoreUnavailable."""
    from worker.app import app
    from worker.ops.broker import oldest_ages

    waiting = lengths(visit)
    with connected(visit) as connection:
        ages = oldest_ages(connection, app.conf.task_queues)
    yield from judge_queues(waiting, ages, visit.settings.reconcile_every_s)


def judge_queues(waiting: Mapping[str, int], ages: Mapping[str, float], every_s: float) -> Iterator[Note]:
    """What beat sends is outdated after five rounds, so ``control`` should be empty again and again."""
    if (age_s := ages.get("control", 0.0)) > (limit_s := max(5 * every_s, LONG_S)):
        yield warn(
            f"the next message of control has waited {age_s:.0f} s, and should within {limit_s:.0f}: workers of that "
            "queue are missing or too few"
        )
    told = [
        f"{name} {length}" + (f" (for {ages[name]:.0f} s)" if length and name in ages else "")
        for name, length in waiting.items()
    ]
    yield ok("waiting: " + ", ".join(told))


def lengths(visit: CheckConnections) -> dict[str, int]:
    """Messages that wait, by queue.  Raises StoreUnavailable."""
    from worker.app import app
    from worker.ops.broker import queue_lengths

    with connected(visit) as connection:
        return queue_lengths(connection, app.conf.task_queues)


@contextmanager
def connected(visit: CheckConnections) -> Iterator[Connection]:
    """A connection of its own.  Raises StoreUnavailable."""
    from worker.app import app
    from worker.ops.broker import broker_errors

    url = visit.settings.broker() or visit.redis_url
    with broker_errors(), app.connection_for_write(url, connect_timeout=5) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
        yield connection


# Redis: a server that keeps what it is given, takes what it is sent, and is one.


def state(visit: CheckConnections) -> Iterator[Note]:
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
