"""The broker: reachable, and how much waits in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from worker.ops.health.connections import Visit
from worker.ops.health.results import Note, ok, warn

if TYPE_CHECKING:
    from kombu import Connection

LONG_S: Final = 300.0


def broker(visit: Visit) -> Iterator[Note]:
    """Raises StoreUnavailable."""
    told = visit.settings.broker_url
    if told is None:
        yield ok("the same Redis")
    elif visit.settings.broker_options().kind == "redis":
        from worker.ops.health.redis_server import judge
        from worker.stores.redis.connection import connect

        redis = connect(told.get_secret_value())
        visit.opened.callback(redis.close)
        yield from judge(redis)
    else:
        with connected(visit) as connection:
            facts = connection.connection.server_properties
        yield ok(f"{facts.get('product', 'AMQP')} {facts.get('version', 'of unknown version')}")


def queues(visit: Visit) -> Iterator[Note]:
    """Raises StoreUnavailable."""
    from worker.app import app
    from worker.queues import oldest_ages

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


def lengths(visit: Visit) -> dict[str, int]:
    """Messages that wait, by queue.  Raises StoreUnavailable."""
    from worker.app import app
    from worker.queues import queue_lengths

    with connected(visit) as connection:
        return queue_lengths(connection, app.conf.task_queues)


@contextmanager
def connected(visit: Visit) -> Iterator[Connection]:
    """A connection of its own.  Raises StoreUnavailable."""
    from worker.app import app
    from worker.ops.broker import broker_errors

    url = visit.settings.broker() or visit.redis_url
    with broker_errors(), app.connection_for_write(url, connect_timeout=5) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=5)
        yield connection
