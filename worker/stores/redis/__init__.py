"""The stores in Redis; this module checks the URLs in the settings, and parses ``sentinel://`` URLs.

The URLs are checked while the settings are read. They are not handled in ``connection``, because that module imports
the metrics, which can't be set up before the settings are known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.backoff import NoBackoff
from redis.retry import Retry

SENTINEL_PORT: Final = 26379
# These options have redis-py's names.
TLS_OPTIONS: Final = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})
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
    """The addresses of Sentinels, and the credentials and database number for the Redis server that they watch."""

    nodes: tuple[tuple[str, int], ...]
    master: str
    database: int
    username: str | None
    password: str | None = field(repr=False)
    sentinel_password: str | None = field(repr=False)

    def client_options(self) -> dict[str, Any]:
        """Return redis-py's options for a connection to a Sentinel.

        Each Sentinel gets only one short try, because the others can answer, too.
        """
        options: dict[str, Any] = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), 2)
        return options | {"password": self.sentinel_password, "retry": Retry(NoBackoff(), 0)}


def check_redis_url(url: str) -> None:
    """Check a Redis URL from the settings. Raises ValueError for a wrong URL, with a text for the operator."""
    scheme = url.partition("://")[0]
    if scheme not in _OPTIONS:
        raise ValueError(_SHAPES)
    if scheme == "sentinel":
        parse_sentinels(url)
        return
    parts = split_url(url)
    if parts is None or (scheme == "unix" and not parts.path):
        raise ValueError(_SHAPES)
    parse_url_options(parts, _OPTIONS[scheme])


def parse_sentinels(url: str) -> Sentinels:
    """Parse ``sentinel://:PASSWORD@HOST1:26379,HOST2,HOST3/0?master=NAME&sentinel_password=PASSWORD``.

    Port, database and ``sentinel_password`` are optional. Raises ValueError for a wrong URL.
    """
    hosts, _, rest = url.removeprefix("sentinel://").partition("/")
    hosts, question, query = hosts.partition("?")  # In a URL without a database, the query follows the hosts.
    credentials, _, addresses = hosts.rpartition("@")
    user, _, password = credentials.partition(":")
    nodes = [split_url(f"sentinel://{address}") for address in addresses.split(",")]
    tail = urlsplit(f"sentinel://host/{rest}{question}{query}")
    database = tail.path.strip("/") or "0"
    options = parse_url_options(tail, _OPTIONS["sentinel"])
    if not all(node and node.hostname for node in nodes) or not database.isdecimal():
        raise ValueError(_SHAPES)
    if not options.get("master"):
        raise ValueError("needs ?master=NAME, the server's name at the Sentinels")
    return Sentinels(
        nodes=tuple((node.hostname, node.port or SENTINEL_PORT) for node in nodes if node and node.hostname),
        master=options["master"],
        database=int(database),
        username=unquote(user) or None,
        password=unquote(password) or None,
        sentinel_password=options.get("sentinel_password"),
    )


def parse_url_options(parts: SplitResult, known: frozenset[str]) -> dict[str, str]:
    """Return the options in a URL's query. Raises ValueError for a name that is not in ``known``, or a wrong value."""
    options = dict(parse_qsl(parts.query))
    if options.keys() - known:
        allowed = f"only {', '.join(sorted(known))}" if known else "nothing"
        raise ValueError(f"allows {allowed} after the question mark of a {parts.scheme}:// URL")
    if options.get("ssl_cert_reqs", "none") not in _CERT_REQS:
        raise ValueError(f"needs ssl_cert_reqs to be one of {', '.join(_CERT_REQS)}")
    for name in _FILES & options.keys():
        if not Path(options[name]).is_file():
            raise ValueError(f"{name} is a file that does not exist")
    if not options.get("db", "0").isdecimal():
        raise ValueError("needs a number as db")
    return options


def split_url(url: str) -> SplitResult | None:
    """Return the parts of a URL; None if it is invalid, because the library's error may quote a password."""
    try:
        parts = urlsplit(url)
        return parts if parts.port is None or parts.port else None
    except ValueError:
        return None
