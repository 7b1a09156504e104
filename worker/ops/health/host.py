"""This machine's clock beside those of the servers: tokens, claims and signs of life are judged by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Final

import requests

from config.settings import ConfigError
from worker.errors import WorkerError
from worker.ops.health.connections import Visit, missing_sqlite_file
from worker.ops.health.results import Note, fail, ok, warn
from worker.runtime import endpoints_from
from worker.stores.redis.connection import redis_errors

DOUBTFUL_S: Final = 5.0
WRONG_S: Final = 60.0
_MEND: Final = "keep both right with NTP (chrony, systemd-timesyncd)"
_WHOLE_SECOND: Final = 0.5  # a Date header leaves out the fraction: in the middle it is half a second


def clock(visit: Visit) -> Iterator[Note]:
    compared = []
    for name, ask in _SERVERS.items():
        try:
            ahead_s = _ahead_s(ask, visit)
        except (ConfigError, WorkerError, requests.RequestException):  # its own check tells
            continue
        if ahead_s is not None:
            compared.append(name)
            yield from judge(name, ahead_s)
    yield ok("agrees with " + (", ".join(compared) or "nobody: no server to compare it with answers"))


def judge(name: str, ahead_s: float) -> Iterator[Note]:
    """``ahead_s``: how much later the server's clock is than ours."""
    if abs(ahead_s) <= DOUBTFUL_S:
        return
    way = "behind" if ahead_s > 0 else "ahead of"
    told = f"this machine's clock is {abs(ahead_s):.0f} s {way} {name}: {_MEND}"
    yield fail(told) if abs(ahead_s) > WRONG_S else warn(told)


def _ahead_s(ask: Callable[[Visit], float | None], visit: Visit) -> float | None:
    before = time.time()
    theirs = ask(visit)
    return None if theirs is None else theirs - (before + time.time()) / 2


@redis_errors()
def _redis(visit: Visit) -> float:
    seconds, microseconds = visit.redis.time()
    return float(seconds) + float(microseconds) / 1e6


def _registry(visit: Visit) -> float | None:
    """None for SQLite, which has ours."""
    if missing_sqlite_file(visit.settings.registry()) or visit.registry.dialect == "sqlite":
        return None
    with visit.registry.reading() as connection:
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())


def _couchdb(visit: Visit) -> float | None:
    return None if visit.couchdb is None else _moment(visit.couchdb.ask("", as_nobody=True))


def _supplier(visit: Visit) -> float | None:
    """Without a token: whatever the answer, it is dated."""
    with requests.Session() as session:
        session.trust_env = endpoints_from(visit.settings).production
        return _moment(session.head(endpoints_from(visit.settings).base_url, timeout=5.0))


def _moment(answer: requests.Response) -> float | None:
    date = answer.headers.get("Date")
    if date is None:
        return None
    try:
        return parsedate_to_datetime(date).timestamp() + _WHOLE_SECOND
    except ValueError:
        return None


_SERVERS: Final[dict[str, Callable[[Visit], float | None]]] = {
    "Redis": _redis,
    "PostgreSQL": _registry,
    "CouchDB": _couchdb,
    "the supplier": _supplier,
}
