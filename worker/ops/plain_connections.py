"""Connections without TLS: plain http towards browsers, which needs a word said, and plain lines to the servers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from config.brokers import AMQP_SCHEMES
from config.settings import ConfigError, Settings
from worker.domain.networks import is_loopback_host, is_public_host
from worker.stores.redis import parse_sentinels

PLAIN_HTTP: Final = "RELEVE_PLAIN_HTTP"
_TLS_MODES: Final = ("require", "verify-ca", "verify-full")  # With "prefer", the default, a line may stay plain.


def check_plain_http(public_url: str, *, wanted: bool) -> str | None:
    """Return a warning where browsers reach the pages by plain http beyond this machine; None where they don't.

    Raises ConfigError, in one line, where that is not ``wanted``.
    """
    parts = urlsplit(public_url)
    if parts.scheme != "http" or is_loopback_host(parts.hostname or ""):
        return None
    if wanted:
        return (
            f"plain http is allowed ({PLAIN_HTTP}): anybody between a browser and {parts.hostname} can read sessions "
            "and measures, and act as the household"
        )
    raise ConfigError(
        "RELEVE_PUBLIC_URL is http:// on another machine, so that others can read sessions and measures: set up a "
        f"reverse proxy with TLS and use https://, or set {PLAIN_HTTP}=true to allow it"
    )


def find_plain_http(settings: Settings, public_url: str, host: str = "127.0.0.1") -> str | None:
    """Return ``check_plain_http``; a home's own network needs no leave of the settings.  Raises ConfigError.

    ``host``: the address that the web service listens on.
    """
    parts = urlsplit(public_url)
    name = parts.hostname or ""
    if not settings.is_home or parts.scheme != "http" or is_public_host(name):
        return check_plain_http(public_url, wanted=settings.plain_http)
    if is_loopback_host(name) and is_loopback_host(host):
        return None
    return (
        "other machines in your network reach the pages without TLS: anybody on that network can read the measures "
        "and the password; never forward this port to the internet"
    )


@dataclass(frozen=True, slots=True)
class PlainConnection:
    """A server that is spoken to without TLS on another host."""

    server: str
    host: str

    @property
    def is_public(self) -> bool:
        """Whether the host is on no private network."""
        return is_public_host(self.host)

    def __str__(self) -> str:
        return f"{self.server} at {self.host}"


def plain_connections(settings: Settings) -> list[PlainConnection]:
    """Return the connections without TLS that leave this machine, each once."""
    found = [
        *_name_hosts("Redis", _redis_hosts(settings.redis())),
        *_broker_connections(settings.broker_address()),
        *_store_connections(settings.registry()),
        *_store_connections(settings.measures()),
    ]
    return list(dict.fromkeys(found))


def _name_hosts(server: str, hosts: Iterable[str | None]) -> Iterator[PlainConnection]:
    for host in hosts:
        if host and not host.startswith("/") and not is_loopback_host(host):
            yield PlainConnection(server, host)


def _redis_hosts(url: str | None) -> list[str | None]:
    scheme = (url or "").partition("://")[0]
    if url and scheme == "sentinel":
        return [host for host, _ in parse_sentinels(url).nodes]
    return [urlsplit(url).hostname] if url and scheme == "redis" else []


def _broker_connections(url: str | None) -> Iterator[PlainConnection]:
    if url and url.partition("://")[0] in AMQP_SCHEMES:
        hosts = (urlsplit(part) for part in url.split(";"))
        yield from _name_hosts("RabbitMQ", [host.hostname for host in hosts if host.scheme == "amqp"])
    else:
        yield from _name_hosts("Redis", _redis_hosts(url))


def _store_connections(url: str) -> Iterator[PlainConnection]:
    scheme = url.partition("://")[0]
    if scheme.startswith("couchdb"):
        yield from _name_hosts("CouchDB", [urlsplit(url).hostname] if scheme == "couchdb+http" else [])
    elif scheme.startswith("postgresql"):
        yield from _name_hosts("PostgreSQL", _postgres_hosts(url))


def _postgres_hosts(url: str) -> list[str | None]:
    """Return the hosts that are asked without TLS; a URL that can't be read is told of by the registry's own check."""
    from sqlalchemy.engine import make_url  # Imported late, for it takes a moment and few commands come here.
    from sqlalchemy.exc import ArgumentError

    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        return []
    options = {name: value if isinstance(value, str) else ",".join(value) for name, value in parts.query.items()}
    if options.get("sslmode") in _TLS_MODES:
        return []
    hosts = ",".join(text for text in (parts.host, options.get("host")) if text)
    return [host.rpartition(":")[0] if host.count(":") == 1 else host for host in hosts.split(",")]
