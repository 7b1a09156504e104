"""How Relève speaks to Redis: one way to connect, one way to fail.

Redis keeps nothing that can't be lost, so every fault here is a StoreUnavailable: try again later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis import Redis, RedisError, ResponseError
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.client import Pipeline
from redis.exceptions import NoScriptError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from worker.errors import StoreUnavailable
from worker.metrics import STORE_ERRORS

SOCKET_TIMEOUT_S: Final = 10
CONNECT_TIMEOUT_S: Final = 5
SCAN_COUNT: Final = 1000  # keys looked at in one step of a walk over all
HEALTH_CHECK_INTERVAL_S: Final = 10  # without it a half-open connection is waited on for ever (stack-trials, 4.5)


def connect(url: str) -> Redis:
    """A client that answers in text.  It connects at first use, and anew in a child made by fork.

    Behind Sentinels it asks them anew, with each new connection, which server leads.

    A command cut off by a time-out or a lost connection is sent up to three times more, so it may run twice:
    what is kept in Redis is made so that this costs a repeat at worst.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "health_check_interval": HEALTH_CHECK_INTERVAL_S,
        "retry": Retry(ExponentialWithJitterBackoff(cap=1, base=0.05), retries=3),
        "retry_on_timeout": True,
    }
    if not url.startswith("unix:"):
        options["socket_keepalive"] = True
    if url.startswith("sentinel:"):
        return _leader(parse_sentinels(url), options)
    return Redis.from_url(url, **options)


def _leader(told: Sentinels, options: Mapping[str, Any]) -> Redis:
    sentinels = Sentinel(  # type: ignore[no-untyped-call]  # so is the package
        told.nodes,
        sentinel_kwargs=told.asking(),
        db=told.database,
        username=told.username,
        password=told.password,
        **options,
    )
    leader: Redis = sentinels.master_for(told.master)  # type: ignore[no-untyped-call]
    return leader


def is_redis(url: str) -> bool:
    """Whether a broker's URL, ours or kombu's, names a Redis, however it is reached."""
    return url.partition(":")[0] in ("redis", "rediss", "unix", "redis+socket", "sentinel")


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn what redis-py raises into StoreUnavailable; also a decorator."""
    try:
        yield
    except RedisError as error:
        STORE_ERRORS.labels("redis").inc()
        raise StoreUnavailable(f"Redis can't be used: {_reason(error)}") from error


def _reason(error: RedisError) -> str:
    """Of a refusal its first word alone (OOM, NOAUTH, READONLY): the rest may repeat our arguments."""
    if isinstance(error, MasterNotFoundError):  # its text tells what each one said
        heard = " : " not in str(error)
        known = "know no such master, or none that is up: check master=NAME in RELEVE_REDIS_URL"
        return f"its Sentinels {known if heard else 'do not answer: check that they run, and their addresses'}"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "its certificate is not one of a known authority: set ssl_ca_certs in RELEVE_REDIS_URL to the CA's file"
    if isinstance(error, ResponseError):
        refusal = str(error).rpartition("caused error: ")[2]  # of a pipeline: redis-py quotes the command first
        return f"it refused with {refusal.partition(' ')[0] or type(error).__name__}"
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


def send(packet: Pipeline) -> list[Any]:
    """What was called, in one packet; what each call gave.

    redis-py asks before each packet whether Redis knows its scripts.  It nearly always does, so it is told them, and
    sent everything once more, only where it doesn't: calls that must not come twice are none for a packet.
    """
    calls, scripts = [*packet.command_stack], packet.scripts
    packet.scripts = set()
    answers = packet.execute(raise_on_error=False)
    if any(isinstance(answer, NoScriptError) for answer in answers):
        packet.command_stack, packet.scripts = calls, scripts
        return list(packet.execute())
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return list(answers)


class PrefixedKeys:
    """What all that speaks to Redis has in common: a client, and one prefix before every key."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix

    @contextmanager
    def together(self) -> Iterator[Self]:
        """Notes that are sent in one packet at the end of the block; of what is read there, nothing comes back.

        Each of one command: what takes a packet of its own is sent by itself.  Raises StoreUnavailable at the end.
        Where the block fails nothing is sent.
        """
        with self._redis.pipeline(transaction=False) as packet:
            inside = copy(self)
            inside._redis = packet
            yield inside
            with redis_errors():
                send(packet)

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


# Where Redis is: the URLs that settings may hold, checked, and taken to pieces where Sentinels stand before it.

SENTINEL_PORT: Final = 26379
SENTINEL_TIMEOUT_S: Final = 2
TLS_OPTIONS: Final = frozenset(
    {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"}
)  # redis-py's names
_FILES: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_CERT_REQS: Final = ("required", "optional", "none")
_OPTIONS: Final = {
    "redis": frozenset({"db"}),
    "rediss": TLS_OPTIONS | {"db"},
    "unix": frozenset({"db", "password"}),
    "sentinel": frozenset({"master", "sentinel_password"}),
}
_SHAPES: Final = (
    "needs a redis://, rediss://, unix:// or sentinel:// URL, "
    "like redis://:PASSWORD@HOST:6379/0 or sentinel://:PASSWORD@HOST1,HOST2,HOST3/0?master=NAME"
)


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Who knows which server leads; ``username``, ``password`` and ``database`` are the server's own."""

    nodes: tuple[tuple[str, int], ...]
    master: str
    database: int
    username: str | None
    password: str | None = field(repr=False)
    sentinel_password: str | None = field(repr=False)

    def asking(self) -> dict[str, Any]:
        """How redis-py is to ask them: each once and briefly, for there are others."""
        options: dict[str, Any] = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), SENTINEL_TIMEOUT_S)
        return options | {"password": self.sentinel_password, "retry": Retry(NoBackoff(), 0)}


def check_redis_url(url: str) -> None:
    """Raises ValueError, in words for whoever sets it."""
    scheme = url.partition("://")[0]
    if scheme not in _OPTIONS:
        raise ValueError(_SHAPES)
    if scheme == "sentinel":
        parse_sentinels(url)
        return
    parts = split_url(url)
    if parts is None or (scheme == "unix" and not parts.path):
        raise ValueError(_SHAPES)
    check_options(parts, _OPTIONS[scheme])


def parse_sentinels(url: str) -> Sentinels:
    """``sentinel://:PASSWORD@HOST1:26379,HOST2,HOST3/0?master=NAME``; ``sentinel_password`` where they ask for one.

    Raises ValueError.
    """
    hosts, _, rest = url.removeprefix("sentinel://").partition("/")
    hosts, question, query = hosts.partition("?")  # no database named
    credentials, _, addresses = hosts.rpartition("@")
    user, _, password = credentials.partition(":")
    nodes = [split_url(f"sentinel://{address}") for address in addresses.split(",")]
    tail = urlsplit(f"sentinel://host/{rest}{question}{query}")
    database = tail.path.strip("/") or "0"
    options = check_options(tail, _OPTIONS["sentinel"])
    if not all(node and node.hostname for node in nodes) or not database.isdecimal():
        raise ValueError(_SHAPES)
    if not options.get("master"):
        raise ValueError("needs ?master=NAME: the name that the Sentinels watch the server under")
    return Sentinels(
        nodes=tuple((node.hostname, node.port or SENTINEL_PORT) for node in nodes if node and node.hostname),
        master=options["master"],
        database=int(database),
        username=unquote(user) or None,
        password=unquote(password) or None,
        sentinel_password=options.get("sentinel_password"),
    )


def check_options(parts: SplitResult, known: frozenset[str]) -> dict[str, str]:
    """What stands behind the question mark.  Raises ValueError for a name that is not ``known``, or a wrong value."""
    options = dict(parse_qsl(parts.query))
    if options.keys() - known:
        allowed = f"only {', '.join(sorted(known))}" if known else "nothing"
        raise ValueError(f"takes {allowed} behind the question mark of a {parts.scheme}:// URL")
    if options.get("ssl_cert_reqs", "none") not in _CERT_REQS:
        raise ValueError(f"takes {', '.join(_CERT_REQS)} as ssl_cert_reqs")
    for name in _FILES & options.keys():
        if not Path(options[name]).is_file():
            raise ValueError(f"names a file as {name} that is not there")
    if not options.get("db", "0").isdecimal():
        raise ValueError("takes a number as db")
    return options


def split_url(url: str) -> SplitResult | None:
    """None where it is no URL: what the library says then may quote a password."""
    try:
        parts = urlsplit(url)
        return parts if parts.port is None or parts.port else None
    except ValueError:
        return None
