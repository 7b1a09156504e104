"""Options of Celery and kombu for a broker, by the scheme of its URL: Redis, Redis Sentinel or RabbitMQ.

Redis and RabbitMQ deliver messages in different ways, so that options, queues and exchange differ.  The comments hold
for RabbitMQ 4.0, kombu 5.7 and Celery 5.7: read in their documentation and sources, then tried on a real server.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, quote, urlencode

from worker.domain.lanes import BROKER_PREFIX
from worker.stores.redis import TLS_OPTIONS, Sentinels, check_redis_url, parse_sentinels, parse_url_options, split_url

AMQP_SCHEMES: Final = ("amqp", "amqps")
_CERT_REQS: Final = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """What Celery needs to know of a broker.  ``url`` is None for the embedded Redis, whose address comes later."""

    url: str | None
    kind: Literal["redis", "rabbitmq"]
    transport_options: dict[str, Any] = field(repr=False)
    use_ssl: dict[str, Any] | None = None

    @property
    def queue_arguments(self) -> dict[str, str] | None:
        """Arguments for declaring a queue: with a quorum queue RabbitMQ loses nothing when one of its nodes is lost."""
        return {"x-queue-type": "quorum"} if self.kind == "rabbitmq" else None

    @property
    def exchange_type(self) -> Literal["direct", "topic"]:
        """The exchange's type.

        Celery's delayed delivery on RabbitMQ needs a topic exchange.  Our routing keys have no wildcards, so that it
        routes like a direct one.
        """
        return "topic" if self.kind == "rabbitmq" else "direct"


def check_broker_url(url: str) -> None:
    """Raise ValueError for a URL that can't work; the text is for the operator and doesn't repeat the URL."""
    if _scheme(url) not in AMQP_SCHEMES:
        try:
            check_redis_url(url)
        except ValueError as error:
            message = str(error).replace("needs a redis://", "needs an amqp://, amqps://, redis://")
            raise ValueError(message) from None
        return
    hosts = [split_url(host) for host in url.split(";")]
    if not all(host and host.hostname for host in hosts) or len({host.scheme for host in hosts if host}) != 1:
        raise ValueError(
            "needs amqp://USER:PASSWORD@HOST:5672/VHOST or amqps://…; for a cluster give whole URLs of one kind "
            "with ; between them; write / : @ ? # % ; in a password as %2F %3A %40 %3F %23 %25 %3B"
        )
    for host in hosts:
        if host:
            known = TLS_OPTIONS - {"ssl_check_hostname"} if host.scheme == "amqps" else frozenset[str]()
            parse_url_options(host, known)


def build_broker_options(url: str | None, visibility_timeout_s: int) -> BrokerOptions:
    """Return the options for the broker at ``url``, which ``check_broker_url`` has accepted.

    Their own URL is in kombu's form.
    """
    options = _redis_options(visibility_timeout_s)
    if url is None:
        return BrokerOptions(None, "redis", options)
    scheme = _scheme(url)
    if scheme in AMQP_SCHEMES:
        plain = ";".join(host.partition("?")[0] for host in url.split(";"))  # TLS options go into use_ssl.
        # Publishing waits until most nodes have the message on disk; without it a cut connection loses messages.
        return BrokerOptions(plain, "rabbitmq", {"confirm_publish": True}, _tls_of(url))
    if scheme == "sentinel":
        sentinels = parse_sentinels(url)
        options |= {"master_name": sentinels.master, "sentinel_kwargs": sentinels.client_options()}
        return BrokerOptions(_kombu_sentinels(sentinels), "redis", options)
    if scheme == "unix":
        del options["socket_keepalive"]
        return BrokerOptions(_kombu_socket(url), "redis", options)
    return BrokerOptions(_kombu_redis(url), "redis", options)


def _scheme(url: str) -> str:
    return url.partition("://")[0]


def _kombu_redis(url: str) -> str:
    plain, _, query = url.partition("?")
    options = dict(parse_qsl(query))
    # In redis-py `db` wins over the path; kombu knows the path alone.
    if (database := options.pop("db", None)) is not None:
        plain = "/".join((*plain.split("/")[:3], database))
    if plain.startswith("rediss:"):
        options.setdefault("ssl_cert_reqs", "required")  # By default kombu checks no certificate.
    return f"{plain}?{urlencode(options)}" if options else plain


def _kombu_socket(url: str) -> str:
    # unix://[USER:PASSWORD@]/run/redis.sock?db=0&password=… becomes
    # redis+socket://USER:PASSWORD@/run/redis.sock?virtual_host=0
    plain, _, query = url.removeprefix("unix://").partition("?")
    options = dict(parse_qsl(query))
    credentials, at, path = plain.rpartition("@")
    if password := options.get("password"):
        credentials, at = f"{credentials.partition(':')[0]}:{quote(password, safe='')}", "@"
    return f"redis+socket://{credentials}{at}{path}?virtual_host={options.get('db', '0')}"


def _kombu_sentinels(sentinels: Sentinels) -> str:
    credentials = (
        f"{quote(sentinels.username or '', safe='')}:{quote(sentinels.password, safe='')}@"
        if sentinels.password
        else ""
    )
    hosts = ((f"[{host}]" if ":" in host else host, port) for host, port in sentinels.nodes)
    return ";".join(f"sentinel://{credentials}{host}:{port}/{sentinels.database}" for host, port in hosts)


def _redis_options(visibility_timeout_s: int) -> dict[str, Any]:
    return {
        "global_keyprefix": BROKER_PREFIX,
        # Longer than the longest window (3 calls of 25 s, then the store), or its message would be delivered twice.
        "visibility_timeout": visibility_timeout_s,
        "unacked_restore_interval": 10,  # Messages of a dead worker are looked for every 10 s, not every 100 s.
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 30,  # A crash during that search must not stop it for 300 s.
        "socket_timeout": 10,  # With the health check a half-open connection recovers within 22 s, without it never.
        "socket_connect_timeout": 5,
        "health_check_interval": 10,
        "socket_keepalive": True,
        "retry_on_timeout": True,
        "queue_order_strategy": "priority",  # The first queue is emptied first.
        "priority_steps": [0],  # Our messages have no priority; kombu would poll four lists a queue.
    }


def _tls_of(url: str) -> dict[str, Any] | None:
    """Return the TLS options of ``amqps`` URLs under py-amqp's names; the hosts of a cluster share them."""
    if _scheme(url) != "amqps":
        return None
    options: dict[str, str] = {}
    for host in url.split(";"):
        options |= dict(parse_qsl(host.partition("?")[2]))
    reqs = options.pop("ssl_cert_reqs", "required")
    # Without server_hostname py-amqp checks the certificate, but not its name.  For None kombu takes the host's name.
    hostname = {} if reqs == "none" else {"server_hostname": None}
    return {option.removeprefix("ssl_"): value for option, value in options.items()} | {
        "cert_reqs": _CERT_REQS[reqs],
        **hostname,
    }
