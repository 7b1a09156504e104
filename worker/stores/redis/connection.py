"""Connections to Redis: the client, its errors, and the prefix of all keys.

All data in Redis may be lost, so no error is final: each becomes a StoreUnavailable, and the caller tries again later.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from types import FunctionType
from typing import Any, Final, cast

from redis import Redis, RedisError, ResponseError
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from worker.domain.retry import REDIS_FIRST_DELAY_S, REDIS_LONGEST_DELAY_S, REDIS_RETRIES
from worker.errors import StoreUnavailable
from worker.metrics import STORE_ERRORS
from worker.stores.redis import Sentinels, parse_sentinels

SCAN_COUNT: Final = 1000  # Keys that Redis reads in one step of a scan.


def connect(url: str) -> Redis:
    """Return a client that decodes answers as text; it connects at first use, and again in a forked child.

    If the URL names Sentinels, each new connection asks them which server is the master.

    After a timeout or a lost connection a command is sent up to three times more, so it may run twice. All data in
    Redis is designed so that this at worst repeats work.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "health_check_interval": 10,  # Without this check, a blocking read on a half-open connection never returns.
        "retry": Retry(
            ExponentialWithJitterBackoff(cap=REDIS_LONGEST_DELAY_S, base=REDIS_FIRST_DELAY_S), retries=REDIS_RETRIES
        ),
        "retry_on_timeout": True,
    }
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    if url.startswith("sentinel:"):
        return _connect_to_master(parse_sentinels(url), options)
    return Redis.from_url(url, **options)


def _connect_to_master(sentinels: Sentinels, options: Mapping[str, Any]) -> Redis:
    client = Sentinel(  # type: ignore[no-untyped-call]  # The package has no types here.
        sentinels.nodes,
        sentinel_kwargs=sentinels.client_options(),
        db=sentinels.database,
        username=sentinels.username,
        password=sentinels.password,
        **options,
    )
    master: Redis = client.master_for(sentinels.master, _MasterClient)  # type: ignore[no-untyped-call]
    return master


class _MasterClient(Redis):
    """A client whose ``close`` also closes the connections to the Sentinels; redis-py leaves those open."""

    def close(self) -> None:
        super().close()
        for sentinel in cast(SentinelConnectionPool, self.connection_pool).sentinel_manager.sentinels:
            sentinel.close()


def is_redis(url: str) -> bool:
    """Return whether the URL of a broker, in our form or kombu's, names a Redis server."""
    return url.partition(":")[0] in ("redis", "rediss", "unix", "redis+socket", "sentinel")


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn errors of redis-py into StoreUnavailable. This function is a context manager and a decorator."""
    try:
        yield
    except RedisError as error:
        STORE_ERRORS.labels("redis").inc()
        raise StoreUnavailable(f"Redis can't be used: {_describe_error(error)}") from error


def _describe_error(error: RedisError) -> str:
    """Return the reason for an error in plain words.

    If Redis refused a command, return only the code of the refusal (OOM, NOAUTH, READONLY), because the rest of its
    text may quote the command's arguments.
    """
    if isinstance(error, MasterNotFoundError):
        answered = " : " not in str(error)  # If Sentinels fail, the text quotes their errors after a colon.
        known = "know no such master, or it is down: check master=NAME in RELEVE_REDIS_URL"
        return f"its Sentinels {known if answered else 'do not answer: check that they run, and their addresses'}"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "its certificate is not trusted: set ssl_ca_certs in RELEVE_REDIS_URL to the CA's file"
    if isinstance(error, ResponseError):
        refusal = str(error).rpartition("caused error: ")[2]  # In a pipeline, redis-py quotes the command first.
        return f"it refused with {refusal.partition(' ')[0] or type(error).__name__}"
    text = (str(error) or type(error).__name__).rstrip(".")
    advice = ": check that it runs, and RELEVE_REDIS_URL"
    return text + (advice if isinstance(error, RedisConnectionError | RedisTimeoutError) else "")


@redis_errors()
def check_eviction(redis: Redis) -> None:
    """Raise StoreUnavailable if Redis evicts keys when memory is short, because tasks and claims would silently vanish.

    The check reads INFO, because many managed servers forbid CONFIG.
    """
    policy = redis.info("memory").get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        raise StoreUnavailable(
            f"this Redis evicts keys (maxmemory-policy {policy}): set maxmemory-policy noeviction, or give Relève "
            "its own Redis"
        )


class PrefixedKeys:
    """Base class of the Redis stores: a client, and a prefix at the beginning of every key.

    Every public method of a subclass raises StoreUnavailable if Redis fails (``redis_errors``).
    """

    def __init_subclass__(cls) -> None:
        for name, method in list(vars(cls).items()):
            if isinstance(method, FunctionType) and not name.startswith("_"):
                setattr(cls, name, redis_errors()(method))

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        self._redis = redis
        self._prefix = prefix

    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)

    def _run(self, script: str, key: str, *args: str | int) -> Any:
        """Run a Lua script on one key. The server caches the script, so only its hash is sent."""
        return self._redis.register_script(script)(keys=[key], args=args)

    def _scan(self, pattern: str) -> Iterator[list[str]]:
        """Yield pages of our keys that match the glob ``pattern``; the same key may occur twice."""
        keys = iter(self._redis.scan_iter(match=escape_glob(self._prefix) + pattern, count=SCAN_COUNT))
        while page := list(islice(keys, SCAN_COUNT)):
            yield page

    def _unlink_kinds(self, kinds: Collection[str]) -> int:
        """Delete our keys whose first part is one of ``kinds``, and return their number. The call scans all keys."""
        return sum(
            int(self._redis.unlink(*keys))
            for page in self._scan("*")
            if (keys := [key for key in page if key.removeprefix(self._prefix).partition(":")[0] in kinds])
        )


def escape_glob(text: str) -> str:
    """Escape the wildcards in ``text``, so that a glob matches the text literally."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", text)
