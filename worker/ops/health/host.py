"""This machine's clock beside those of the servers: tokens, claims and signs of life are judged by it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Final
from zoneinfo import ZoneInfoNotFoundError

import requests

from config.settings import ConfigError
from worker.domain.measures.readings import day_length
from worker.errors import WorkerError
from worker.ops.health.connections import CheckConnections, missing_sqlite_file
from worker.ops.health.results import Note, fail, ok, warn
from worker.ops.startup import SIMULATORS_OWN, check_credentials
from worker.runtime.process import calls_per_hour, endpoints_from
from worker.stores.redis.connection import redis_errors

DOUBTFUL_S: Final = 5.0
WRONG_S: Final = 60.0
_MEND: Final = "keep both right with NTP (chrony, systemd-timesyncd)"
_WHOLE_SECOND: Final = 0.5  # a Date header leaves out the fraction: in the middle it is half a second


def clock(visit: CheckConnections) -> Iterator[Note]:
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


def _ahead_s(ask: Callable[[CheckConnections], float | None], visit: CheckConnections) -> float | None:
    before = time.time()
    theirs = ask(visit)
    return None if theirs is None else theirs - (before + time.time()) / 2


@redis_errors()
def _redis(visit: CheckConnections) -> float:
    seconds, microseconds = visit.redis.time()
    return float(seconds) + float(microseconds) / 1e6


def _registry(visit: CheckConnections) -> float | None:
    """None for SQLite, which has ours."""
    if missing_sqlite_file(visit.settings.registry()) or visit.registry.dialect == "sqlite":
        return None
    with visit.registry.reading() as connection:
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())


def _couchdb(visit: CheckConnections) -> float | None:
    return None if visit.couchdb is None else _moment(visit.couchdb.ask("", as_nobody=True))


def _supplier(visit: CheckConnections) -> float | None:
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


_SERVERS: Final[dict[str, Callable[[CheckConnections], float | None]]] = {
    "Redis": _redis,
    "PostgreSQL": _registry,
    "CouchDB": _couchdb,
    "the supplier": _supplier,
}


# This machine and what it was told: settings, credentials, Python, time zones, room on the disk.

_LONGEST_DAY: Final = datetime(2024, 10, 27, tzinfo=UTC).date()
_LEAST_FREE_MIB: Final = 200


def settings(visit: CheckConnections) -> Iterator[Note]:
    told = visit.settings
    where = "the supplier's own hosts" if told.speaks_to_production else "a sandbox or simulator"
    per_hour = calls_per_hour(told, endpoints_from(told)) or "no limit of"
    yield ok(f"{told.preset} on {where}, {per_hour} calls an hour")
    if told.pretend_now:
        yield warn(
            f"PRETENDING that now is {told.pretend_now.isoformat()}: unset RELEVE_PRETEND_NOW to live in the present"
        )


def credentials(visit: CheckConnections) -> Iterator[Note]:
    """Raises ConfigError."""
    check_credentials(visit.settings)
    own = visit.settings.enedis_client_id != SIMULATORS_OWN["enedis_client_id"]
    yield ok("the application's own" if own else "the simulator's, which a simulator takes")


def python(visit: CheckConnections) -> Iterator[Note]:
    yield ok(f"Python {sys.version.split()[0]}, Relève {version('releve')}")


def time_zone(visit: CheckConnections) -> Iterator[Note]:
    try:
        length = day_length(_LONGEST_DAY)
    except ZoneInfoNotFoundError:
        yield fail("no time zone data: pip install tzdata")
        return
    if length != timedelta(hours=25):
        yield fail("the time zone data is wrong for Europe/Paris: update tzdata")
    yield ok("Europe/Paris knows its clock changes")


def disk(visit: CheckConnections) -> Iterator[Note]:
    folder = visit.settings.data_dir.absolute()
    place = next(path for path in (folder, *folder.parents) if path.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        yield fail(
            f"{place} can't be written to by this user: change its owner, or set RELEVE_DATA_DIR to another folder"
        )
        return
    free = shutil.disk_usage(place).free // 2**20
    if free < _LEAST_FREE_MIB:
        yield fail(f"only {free} MiB are free where {folder} is: make room")
    yield ok(f"{free} MiB free in {folder}" + ("" if folder == place else ", which is made at first use"))
