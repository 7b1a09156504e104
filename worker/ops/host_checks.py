"""Checks of this machine: settings, credentials, keys, Python, time zone data, disk, and its clock.

Token keys must open what is stored. The key files that exist must be private, and their age is shown.

The clock is compared with the servers' clocks, because the age of tokens, claims and heartbeats is measured by these
clocks.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfoNotFoundError

import requests
from sqlalchemy import select

from config.settings import ConfigError, Settings
from config.unknown_settings import removed_settings, unknown_settings
from config.validation import is_production, is_suppliers
from worker.clients.endpoints import host_of
from worker.clients.enedis import ENEDIS
from worker.clients.grdf import GRDF
from worker.domain.windows import day_length
from worker.errors import WorkerError
from worker.ops.check_results import (
    CheckConnections,
    Found,
    describe_limit,
    fail,
    missing_sqlite_file,
    ok,
    phrase,
    warn,
)
from worker.ops.startup import SIMULATOR_CREDENTIALS, check_enedis_credentials, find_plain_http, plain_connections
from worker.runtime.keys import SESSION_KEY, TOKEN_KEYS, build_sealer, has_keys, session_keys
from worker.runtime.supplier_settings import build_endpoints, configured_suppliers, quota_from
from worker.stores.encryption import Purpose, check_keys, read_sealing_time
from worker.stores.redis.heartbeats import Heartbeats
from worker.stores.registry.key_rotation import TEXT_SEALS
from worker.texts import Message

# Only this many encrypted texts of each kind are checked, the oldest first, because a million would take minutes.
MAX_SEALS_CHECKED: Final = 2_000
OTHERS: Final = 0o077  # The permission bits of all users but the owner.
WARN_S: Final = 5.0
FAIL_S: Final = 60.0
_MEAN_FRACTION_S: Final = 0.5  # A Date header has no fraction of a second; on average half a second is missing.
# Summer time ends on this day, so with correct time zone data it has 25 hours.
_LONGEST_DAY: Final = datetime(2024, 10, 27, tzinfo=UTC).date()
_LEAST_FREE_MIB: Final = 200


def check_token_keys(connections: CheckConnections) -> Found:
    """Check that the keys open the stored tokens and evidence, and that no old key is in use."""
    settings = connections.settings
    file = settings.data_dir / TOKEN_KEYS
    if not has_keys(settings, "token_keys"):
        yield ok("created_later", path=file)
        return
    sealer = build_sealer(settings, Purpose.REGISTRY)
    where = phrase("token_keys.set", keys=sealer.key_count)
    if not settings.token_keys:
        where = phrase("token_keys.file", file=file, keys=sealer.key_count, days=_age_days(file))
        yield from _check_private(file)
    seals = _read_seals(connections)
    readable = [(seal, place) for seal, place in seals if sealer.can_unseal(seal, place)]
    if lost := len(seals) - len(readable):
        yield fail("token_keys.lost", lost=lost, seals=len(seals))
    if old := sum(not sealer.is_newest(seal, place) for seal, place in readable):
        yield warn("token_keys.old", old=old, seals=len(seals))
    yield ok("several", found=[where, _describe_oldest([seal for seal, _ in seals])])


def check_session_key(connections: CheckConnections) -> Found:
    """Check the web application's key if it is available here. Only the web application's own service has it."""
    settings = connections.settings
    file = settings.data_dir / SESSION_KEY
    if not has_keys(settings, "session_key"):
        yield ok("session_key.none", file=file)
        return
    keys = session_keys(settings)
    try:
        check_keys(keys)
    except ValueError as error:
        yield fail("told", text=f"RELEVE_SESSION_KEY: {error}")
    where = phrase("session_key.set")
    if not settings.session_key:
        where = phrase("session_key.file", file=file, days=_age_days(file))
        yield from _check_private(file)
    yield ok("told", text=where) if len(keys) == 1 else ok("session_key.rotating", where=where, keys=len(keys))


def _check_private(file: Path) -> Found:
    if file.stat().st_mode & OTHERS:
        yield warn("readable", path=file, mode=600)


def _age_days(file: Path) -> int:
    return (datetime.now(UTC) - datetime.fromtimestamp(file.stat().st_mtime, UTC)).days


def _describe_oldest(seals: list[str]) -> Message:
    if not seals:
        return phrase("token_keys.unused")
    oldest = min(map(read_sealing_time, seals))
    return phrase("token_keys.oldest", seals=len(seals), days=(datetime.now(UTC) - oldest).days)


def _read_seals(connections: CheckConnections) -> list[tuple[str, str]]:
    """Return the oldest sealed tokens and proofs of the registry.

    Each comes with the place (table, column and row) for which it was sealed.
    """
    seals: list[tuple[str, str]] = []
    if not connections.registry_is_current:
        return seals
    with connections.registry.database.reading() as connection:
        for column in TEXT_SEALS:
            query = select(column.seals, *column.key).where(column.seals.is_not(None)).order_by(column.sealed_at)
            rows = connection.execute(query.limit(MAX_SEALS_CHECKED)).all()
            seals += [(seal, column.place_of(*row_key)) for seal, *row_key in rows]
    return seals


# -- clock


def check_clock(connections: CheckConnections) -> Found:
    """Compare this machine's clock with the clock of each server that answers."""
    compared, silent = list[str | Message](), list[str | Message]()
    for name, read_clock in _SERVER_CLOCKS:
        try:
            ahead_s = _ahead_s(read_clock, connections)
        except ConfigError:  # No such server is set up.
            continue
        except (WorkerError, requests.RequestException):  # The server's own check reports the error.
            silent.append(name)
            continue
        if ahead_s is not None:
            compared.append(name)
            yield from judge_clock(name, ahead_s)
    if silent:
        yield warn("clock.silent", servers=silent)
    yield ok("clock.agrees", servers=compared) if compared else ok("clock.alone")


def judge_clock(name: str | Message, ahead_s: float) -> Found:
    """Judge the difference between two clocks; ``ahead_s`` says how far the server's clock is ahead of ours."""
    if abs(ahead_s) <= WARN_S:
        return
    judge = fail if abs(ahead_s) > FAIL_S else warn
    yield judge("clock.behind" if ahead_s > 0 else "clock.ahead", by_s=abs(ahead_s), server=name)


def _ahead_s(read_clock: Callable[[CheckConnections], float | None], connections: CheckConnections) -> float | None:
    before = time.time()
    server_time = read_clock(connections)
    # The server read its clock somewhere between our two readings, so it is compared with their mean.
    return None if server_time is None else server_time - (before + time.time()) / 2


def _registry(connections: CheckConnections) -> float | None:
    """Return PostgreSQL's time; None for SQLite, which uses our clock."""
    if missing_sqlite_file(connections.settings.registry()) or connections.registry.database.dialect == "sqlite":
        return None
    with connections.registry.database.reading() as connection:
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())


def _supplier(connections: CheckConnections, name: str) -> float | None:
    """Return a supplier's time; None if the supplier is not set up.

    ``_SERVER_CLOCKS`` lists no gateway, because gateways count each call.
    """
    if (chosen := configured_suppliers(connections.settings).get(name)) is None:
        return None
    endpoints = chosen.endpoints()
    return _date_at(endpoints.base_url, use_proxies=endpoints.production)


def _date_at(url: str, *, use_proxies: bool = False) -> float | None:
    """Return the time in the answer's Date header; None if there is no such header, or no time in it.

    The request has no credentials: even a refusal has a date.
    """
    with requests.Session() as session:
        session.trust_env = use_proxies
        date = session.head(url, timeout=5.0).headers.get("Date")
    try:
        return parsedate_to_datetime(date).timestamp() + _MEAN_FRACTION_S if date else None
    except ValueError:
        return None


_SERVER_CLOCKS: Final[Sequence[tuple[str | Message, Callable[[CheckConnections], float | None]]]] = (
    ("Redis", lambda connections: Heartbeats(connections.redis).now()),
    ("PostgreSQL", _registry),
    ("CouchDB", lambda connections: _date_at(connections.couchdb.origin) if connections.couchdb else None),
    (phrase("clock.supplier"), partial(_supplier, name=ENEDIS.name)),
    ("GRDF", partial(_supplier, name=GRDF.name)),
)

# -- settings, Python and disk


def check_settings(connections: CheckConnections) -> Found:
    settings = connections.settings
    described = _describe_home(settings) if settings.is_home else _describe_fleet(settings)
    yield ok("settings", described=described, url=settings.public_url)
    if settings.pretend_now:
        yield warn("settings.pretending", now=settings.pretend_now.isoformat())
    if settings.preset == "enedis-v5" and _calls_enedis(settings):
        yield warn("settings.v5_ends")
    yield from (warn("told", text=line) for line in removed_settings())
    yield from (fail("told", text=line) for line in unknown_settings())
    try:
        if warning := find_plain_http(settings, settings.public_url):
            yield warn("told", text=warning)
    except ConfigError as error:
        yield fail("told", text=error)


def _calls_enedis(settings: Settings) -> bool:
    return not settings.is_home and (settings.enedis_url is None or is_suppliers(settings.enedis_url))


def _describe_fleet(settings: Settings) -> Message:
    where = phrase("on.simulator" if settings.speaks_to_simulator else "on.sandbox")
    if is_production(settings.enedis_url, settings.enedis_sandbox):
        where = phrase("on.supplier")
    limit = describe_limit(quota_from(settings).per_hour, "hour")
    return phrase("settings.fleet", preset=settings.preset, where=where, limit=limit)


def _describe_home(settings: Settings) -> Message:
    host = host_of(build_endpoints(settings).base_url)
    return phrase("settings.home", host=host, calls=settings.gateway_calls_per_half_day)


def check_plain_connections(connections: CheckConnections) -> Found:
    """Name the servers that are reached without TLS; warn about each server outside private networks."""
    listed = []
    for connection in plain_connections(connections.settings):
        listed.append(phrase("plain.one", server=connection.server, host=connection.host))
        if connection.is_public:
            yield warn("plain.public", connection=listed[-1])
    yield ok("plain.private", connections=listed) if listed else ok("plain.none")


def check_supplier_credentials(connections: CheckConnections) -> Found:
    """Check that the simulator's credentials are not sent to Enedis.  Raises ConfigError."""
    check_enedis_credentials(connections.settings)
    if connections.settings.is_home:
        yield ok("credentials.home")
        return
    has_own = connections.settings.enedis_client_id != SIMULATOR_CREDENTIALS["enedis_client_id"]
    yield ok("credentials.own" if has_own else "credentials.simulator")


def check_python(connections: CheckConnections) -> Found:
    yield ok("told", text=[f"Python {sys.version.split()[0]}", f"Relève {version('releve')}"])


def check_time_zone(connections: CheckConnections) -> Found:
    try:
        length = day_length(_LONGEST_DAY)
    except ZoneInfoNotFoundError:
        yield fail("time_zone.none")
        return
    if length != timedelta(hours=25):
        yield fail("time_zone.wrong")
    yield ok("time_zone.right")


def check_disk(connections: CheckConnections) -> Found:
    """Check the permissions of data_dir, and the free space; this check creates no folder.

    If data_dir does not exist yet, the nearest folder above it that exists is checked instead.
    """
    folder = connections.settings.data_dir.absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield fail("disk.denied", folder=existing)
        return
    free = shutil.disk_usage(existing).free // 2**20
    if free < _LEAST_FREE_MIB:
        yield fail("disk.full", free=free, folder=folder)
    if folder == existing and folder.stat().st_mode & OTHERS:
        yield warn("readable", path=folder, mode=700)
    yield ok("disk.free" if folder == existing else "disk.created_later", free=free, folder=folder)
