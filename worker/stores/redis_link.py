"""How Relève speaks to Redis: one way to connect, one way to fail.

Redis keeps nothing that can't be lost, so every fault here is a StoreUnavailable: try again later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final

from redis import Redis, RedisError, ResponseError
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from worker.errors import StoreUnavailable

SOCKET_TIMEOUT_S: Final = 10
CONNECT_TIMEOUT_S: Final = 5
SCAN_COUNT: Final = 1000  # keys looked at in one step of a walk over all
HEALTH_CHECK_INTERVAL_S: Final = 10  # without it a half-open connection is waited on for ever (stack-trials, 4.5)


def connect(url: str) -> Redis:
    """A client that answers in text.  It connects at first use, and anew in a child made by fork.

    A command cut off by a time-out or a lost connection is sent up to three times more, so it may run twice:
    what is kept in Redis is made so that this costs a repeat at worst.
    """
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        health_check_interval=HEALTH_CHECK_INTERVAL_S,
        retry=Retry(ExponentialWithJitterBackoff(cap=1, base=0.05), retries=3),
        retry_on_timeout=True,
        **({} if url.startswith("unix:") else {"socket_keepalive": True}),
    )


def is_redis(url: str) -> bool:
    """Whether a broker's URL names a Redis, however it is reached."""
    return url.partition(":")[0] in ("redis", "rediss", "unix", "sentinel")


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn what redis-py raises into StoreUnavailable; also a decorator."""
    try:
        yield
    except RedisError as error:
        raise StoreUnavailable(f"Redis can't be used: {_reason(error)}") from error


def _reason(error: RedisError) -> str:
    """Of a refusal its first word alone (OOM, NOAUTH, READONLY): the rest may repeat our arguments."""
    if isinstance(error, ResponseError):
        return f"it refused with {str(error).partition(' ')[0] or type(error).__name__}"
    return str(error) or type(error).__name__


@redis_errors()
def check_eviction(redis: Redis) -> None:
    """Refuse a Redis that drops keys when memory is short: queued tasks and claims would vanish unseen.

    Read from INFO, for CONFIG is forbidden on many managed servers.  Raises StoreUnavailable.
    """
    policy = redis.info("memory").get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        raise StoreUnavailable(
            f"this Redis evicts keys (maxmemory-policy {policy}): set maxmemory-policy noeviction, "
            "or give Relève a Redis of its own"
        )


class PrefixedKeys:
    """What all that speaks to Redis has in common: a client, and one prefix before every key."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix

    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)

    def _scan(self, pattern: str) -> Iterator[list[str]]:
        """Pages of our keys that match the glob ``pattern``; a key may come twice."""
        keys = iter(self._redis.scan_iter(match=escape_glob(self._prefix) + pattern, count=SCAN_COUNT))
        while page := list(islice(keys, SCAN_COUNT)):
            yield page


def escape_glob(text: str) -> str:
    """``text`` with its glob signs taken at their word."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)
