"""What Celery and kombu must be told of a broker, by the scheme of its URL: Redis, Redis behind Sentinels, RabbitMQ.

Redis and RabbitMQ deliver in different ways, so that options, queues and exchange differ; a reason stands beside each.
Facts of RabbitMQ 4.0, kombu 5.7 and Celery 5.7 (their documentation and sources) were tried on a real server.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, quote, urlencode

from worker.domain.fleet.lanes import BROKER_PREFIX
from worker.stores.redis.connection import (
    TLS_OPTIONS,
    check_options,
    check_redis_url,
    parse_sentinels,
    split_url,
)

AMQP_SCHEMES: Final = ("amqp", "amqps")
_CERT_REQS: Final = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}


@dataclass(frozen=True, slots=True)
class Broker:
    """``url`` is None for the embedded Redis, whose address is found later."""

    url: str | None
    kind: Literal["redis", "rabbitmq"]
    transport_options: dict[str, Any] = field(repr=False)
    use_ssl: dict[str, Any] | None = None

    @property
    def queue_arguments(self) -> dict[str, str] | None:
        """RabbitMQ keeps what is queued on most of its nodes, so that losing one loses nothing."""
        return {"x-queue-type": "quorum"} if self.kind == "rabbitmq" else None

    @property
    def exchange_type(self) -> Literal["direct", "topic"]:
        """Celery's delayed delivery on RabbitMQ knows no direct exchange; a topic exchange is one to our plain keys."""
        return "topic" if self.kind == "rabbitmq" else "direct"


def check_broker_url(url: str) -> None:
    """Raises ValueError, in words for whoever sets it; the URL is not repeated, for it may hold a password."""
    if _scheme(url) not in AMQP_SCHEMES:
        try:
            check_redis_url(url)
        except ValueError as error:
            told = str(error).replace("needs a redis://", "needs an amqp://, amqps://, redis://")
            raise ValueError(told) from None
        return
    hosts = [split_url(host) for host in url.split(";")]
    if not all(host and host.hostname for host in hosts) or len({host.scheme for host in hosts if host}) != 1:
        raise ValueError(
            "needs amqp://USER:PASSWORD@HOST:5672/VHOST or amqps://…; several hosts of a cluster are whole URLs "
            "of one kind with ; between them; write / : @ ? # % ; in a password as %2F %3A %40 %3F %23 %25 %3B"
        )
    for host in hosts:
        if host:
            known = TLS_OPTIONS - {"ssl_check_hostname"} if host.scheme == "amqps" else frozenset[str]()
            check_options(host, known)


def broker_from(url: str | None, visibility_timeout_s: int) -> Broker:
    """What to tell Celery of the broker at ``url``, which has been checked."""
    options = _redis_options(visibility_timeout_s)
    if url is None:
        return Broker(None, "redis", options)
    scheme = _scheme(url)
    if scheme in AMQP_SCHEMES:
        return Broker(to_kombu(url), "rabbitmq", _rabbitmq_options(), _tls_of(url))
    if scheme == "sentinel":
        options |= _sentinel_options(url)
    if scheme == "unix":
        del options["socket_keepalive"]
    return Broker(to_kombu(url), "redis", options)


def to_kombu(url: str) -> str:
    """The same address as kombu writes it."""
    scheme = _scheme(url)
    if scheme == "sentinel":
        return _kombu_sentinels(url)
    if scheme == "unix":
        return _kombu_socket(url)
    if scheme in AMQP_SCHEMES:
        return ";".join(host.partition("?")[0] for host in url.split(";"))  # TLS is told apart from the URL
    return _kombu_redis(url)


def _scheme(url: str) -> str:
    return url.partition("://")[0]


def _kombu_redis(url: str) -> str:
    plain, _, query = url.partition("?")
    options = dict(parse_qsl(query))
    if (database := options.pop("db", None)) is not None:  # redis-py lets it win over the path; kombu knows no db
        plain = "/".join((*plain.split("/")[:3], database))
    if plain.startswith("rediss:"):
        options.setdefault("ssl_cert_reqs", "required")  # kombu would trust anybody
    return f"{plain}?{urlencode(options)}" if options else plain


def _kombu_socket(url: str) -> str:
    """``unix://[USER:PASSWORD@]/path?db=0&password=…``."""
    plain, _, query = url.removeprefix("unix://").partition("?")
    options = dict(parse_qsl(query))
    credentials, at, path = plain.rpartition("@")
    if password := options.get("password"):
        credentials, at = f"{credentials.partition(':')[0]}:{quote(password, safe='')}", "@"
    return f"redis+socket://{credentials}{at}{path}?virtual_host={options.get('db', '0')}"


def _kombu_sentinels(url: str) -> str:
    told = parse_sentinels(url)
    credentials = f"{quote(told.username or '', safe='')}:{quote(told.password, safe='')}@" if told.password else ""
    hosts = ((f"[{host}]" if ":" in host else host, port) for host, port in told.nodes)
    return ";".join(f"sentinel://{credentials}{host}:{port}/{told.database}" for host, port in hosts)


def _redis_options(visibility_timeout_s: int) -> dict[str, Any]:
    return {
        "global_keyprefix": BROKER_PREFIX,
        "visibility_timeout": visibility_timeout_s,  # > longest window (3 calls of 25 s, then the store)
        "unacked_restore_interval": 10,  # a dead worker's messages are looked for every 10 s, not every 100 s
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 30,  # a crash inside that search must not stop it for 300 s
        "socket_timeout": 10,  # with the health check: a half-open connection comes back in 22 s, else never
        "socket_connect_timeout": 5,
        "health_check_interval": 10,
        "socket_keepalive": True,
        "retry_on_timeout": True,
        "queue_order_strategy": "priority",  # the first queue is emptied first
        "priority_steps": [0],  # messages have none: kombu would wait at four lists a queue
    }


def _sentinel_options(url: str) -> dict[str, Any]:
    told = parse_sentinels(url)
    return {"master_name": told.master, "sentinel_kwargs": told.asking()}


def _rabbitmq_options() -> dict[str, Any]:
    return {"confirm_publish": True}  # published is what most nodes have on disk; without it a cut loses messages


def _tls_of(url: str) -> dict[str, Any] | None:
    """What py-amqp calls the options of ``amqps``; the hosts of a cluster share them."""
    if _scheme(url) != "amqps":
        return None
    told: dict[str, str] = {}
    for host in url.split(";"):
        told |= dict(parse_qsl(host.partition("?")[2]))
    reqs = told.pop("ssl_cert_reqs", "required")  # py-amqp would look at the certificate, but not at its name
    name = {} if reqs == "none" else {"server_hostname": None}  # kombu fills in the host's
    return {option.removeprefix("ssl_"): value for option, value in told.items()} | {
        "cert_reqs": _CERT_REQS[reqs],
        **name,
    }
