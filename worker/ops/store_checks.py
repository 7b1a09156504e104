"""Checks of the stores: CouchDB, the measure store, the registry, Redis, the broker and the ledger of erasures.

CouchDB is asked once with our user, and once without credentials; it should refuse the second request. Source: CouchDB
3.5 manual, "Single node setup", "GET /_session", "Security"; tried on a real server.

Redis is judged only by its answer to INFO, because CONFIG is forbidden on many managed servers.

Without the ledger of erasures, no data can be erased, no consent stopped and no account closed.

Checks raise StoreUnavailable or ConfigError if a store can't be reached or opened.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis import Redis
from sqlalchemy import Connection

from config.settings import Settings
from worker.app import open_broker, queue_ages, queue_lengths
from worker.domain.series import Doctype
from worker.errors import StoreUnavailable, WorkerError
from worker.ops.check_results import CheckConnections, Found, fail, missing_sqlite_file, ok, phrase, warn
from worker.runtime.keys import ERASURE_KEYS, has_keys
from worker.runtime.stores import build_measures, known_ledger, open_database, open_redis
from worker.stores.measures.couchdb import CouchServer, UserRefused, check_server, read_or_none
from worker.stores.measures.measure_store import Layout, database_name, doctypes_of, readings_of, wrong_layout
from worker.stores.redis.connection import redis_errors
from worker.stores.registry import Registry, migrations
from worker.texts import Message

_UNSOUND_COUCHDB: Final = "3.5.1"
LONG_S: Final = 300.0
_FEW: Final = 3  # If more databases are missing, only the first is named.

# -- CouchDB


def check_couchdb(connections: CheckConnections) -> Found:
    """Check that CouchDB has a supported version, is set up, and refuses requests without credentials."""
    server = connections.couchdb
    if server is None:
        yield ok("couchdb.unused")
        return
    version = check_server(server)
    if version == _UNSOUND_COUCHDB:
        yield warn("couchdb.unsound", version=version)
    stranger = CouchServer(server.origin, None, connections.settings.store_timeout_s)
    yield from _check_strangers(stranger, Layout(connections.settings.layout))
    yield from _check_setup(server)
    yield from check_databases(connections)
    yield ok("couchdb", version=version)


def _check_strangers(stranger: CouchServer, layout: Layout) -> Found:
    if _is_admin(stranger):
        yield fail("couchdb.open.admin", origin=stranger.origin)
        return
    if _status_of(stranger, "_all_dbs") == 200:
        yield fail("couchdb.open.list", origin=stranger.origin)
    names = list(map(database_name, doctypes_of(layout)))
    if readable := [name for name in names if _status_of(stranger, name) == 200]:
        yield fail("couchdb.open.read", origin=stranger.origin, names=readable)


def _check_setup(server: CouchServer) -> Found:
    if _status_of(server, "_users") == 404:
        yield fail("couchdb.setup")
    elif _is_admin(server):
        yield warn("couchdb.admin")


def _status_of(server: CouchServer, path: str) -> int | None:
    """Return the status of the answer; None if CouchDB refuses the user of ``server``."""
    try:
        return server.request("GET", path).status
    except UserRefused:
        return None


def _is_admin(server: CouchServer) -> bool:
    """Return whether the requests of ``server``, sent with its user or without any, have an administrator's rights."""
    try:
        session = read_or_none(server, "_session") or {}
    except UserRefused:
        return False
    return "_admin" in session.get("userCtx", {}).get("roles", [])


# -- measure store


def check_measures(connections: CheckConnections) -> Found:
    """Check that the measures have the layout and shards of the settings, and count the databases that answer."""
    layout = Layout(connections.settings.layout)
    server = connections.couchdb
    if server is None:
        yield from _check_sql_measures(connections)
        return
    names = list(map(database_name, doctypes_of(layout)))
    infos = {name: info for name in names if (info := read_or_none(server, name)) is not None}
    if _is_in_use(server, layout.other):
        yield fail("told", text=wrong_layout(layout))
    for name, info in infos.items():
        yield from _check_shards(name, info.get("cluster", {}), connections.settings)
    yield ok("measures.couchdb", answering=len(infos), all=len(names))


def check_databases(connections: CheckConnections) -> Found:
    """Report the databases that CouchDB lacks: as a fault if they had measures, otherwise as a warning.

    A worker counts as ready even if a database is missing, because the worker can still store all other series.
    """
    if (server := connections.couchdb) is None:
        return
    layout = Layout(connections.settings.layout)
    doctypes = list(doctypes_of(layout))
    missing = [doctype for doctype in doctypes if read_or_none(server, database_name(doctype)) is None]
    # If the other layout is in use, the measures are there, and nothing is lost.
    may_be_lost = missing and connections.registry_is_current and not _is_in_use(server, layout.other)
    if may_be_lost and (lost := find_lost(connections.registry, missing, layout)):
        names = list(map(database_name, lost))
        listed = names if len(names) <= _FEW else phrase("databases.many", number=len(names), first=names[0])
        yield fail("databases.lost", names=listed)
    elif missing:
        yield warn("databases.missing", missing=len(missing), all=len(doctypes))


def _is_in_use(server: CouchServer, layout: Layout) -> bool:
    infos = (read_or_none(server, database_name(doctype)) for doctype in readings_of(layout))
    return any(info is not None and info.get("doc_count") for info in infos)


def find_lost(registry: Registry, missing: Sequence[str], layout: Layout) -> list[str]:
    """Return the missing doctypes that had measures: according to the registry, days of their series are stored."""
    series_of = doctypes_of(layout)
    stored = registry.completeness.find_stored({series_of[doctype] for doctype in missing})
    return [doctype for doctype in missing if series_of[doctype] in stored]


def _check_shards(name: str, cluster: dict[str, Any], settings: Settings) -> Found:
    """Compare a database's shards (``q``) and replicas (``n``), like ``{"q": 2, "n": 1}``, with the settings."""
    wanted = {"q": settings.couchdb_shards, "n": settings.couchdb_replicas}
    for letter, count in wanted.items():
        if count is not None and cluster.get(letter, count) != count:
            yield warn("measures.shards", database=name, letter=letter, found=cluster[letter], wanted=count)


def _check_sql_measures(connections: CheckConnections) -> Found:
    url = connections.settings.measures()
    if missing_sqlite_file(url):
        yield warn("measures.none")
        return
    measures = build_measures(connections.settings, connections.stack)
    database = open_database(url, "RELEVE_MEASURES_URL", connections.stack)
    tables = measures.read("doctor", dict.fromkeys(Doctype, ("0", "1")))
    with database.reading() as connection:
        yield ok("measures.sql", version=sql_version(connection), tables=len(tables))


# -- registry


def check_registry(connections: CheckConnections) -> Found:
    """Check that the registry answers and has the tables of this version."""
    if missing_sqlite_file(connections.settings.registry()):
        yield warn("registry.none")
        return
    newest = migrations.newest_step()
    with connections.registry.database.reading() as connection:
        version, step = sql_version(connection), migrations.current_step(connection)
    if step == newest:
        counts = connections.registry.overview.count_accounts_by_state()
        states = [phrase("registry.state", number=n, state=state) for state, n in counts.items() if n]
        yield ok("registry", version=version, step=step, states=states or phrase("registry.empty"))
    elif step is None:
        yield fail("registry.no_tables")
    elif fault := migrations.find_step_fault(step):
        yield fail("told", text=fault)
    else:
        yield fail("registry.older", step=step, newest=newest)


def sql_version(connection: Connection) -> str:
    if connection.dialect.name == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}"
    return f"PostgreSQL {connection.exec_driver_sql('SHOW server_version').scalar()}"


# -- broker and queues


def check_broker(connections: CheckConnections) -> Found:
    """Check the broker. If this is the Redis that also holds other data, check only that Redis answers."""
    url = connections.settings.broker_url
    if url is None:
        try:
            with redis_errors():
                connections.redis.ping()
        except StoreUnavailable as error:
            yield fail("broker.same.silent", error=error)
        else:
            yield ok("broker.same")
    elif connections.settings.broker_options().kind == "redis":
        try:
            yield from judge_redis(open_redis(url.get_secret_value(), connections.stack))
        except StoreUnavailable as error:
            yield fail("told", text=str(error).replace("RELEVE_REDIS_URL", "RELEVE_BROKER_URL"))
    else:
        with open_broker(connections.broker_url) as connection:
            properties = connection.connection.server_properties
        version = properties.get("version", phrase("no_version"))
        yield ok("broker", product=properties.get("product", "AMQP"), version=version)


def check_queues(connections: CheckConnections) -> Found:
    """Check how many messages wait, and for how long."""
    url = connections.broker_url
    yield from judge_queues(queue_lengths(url), queue_ages(url), connections.settings.reconcile_every_s)


def judge_queues(waiting: Mapping[str, int], ages: Mapping[str, float], every_s: float) -> Found:
    """Judge the queues by their number of messages, and by the age of the next message in seconds.

    The messages that beat sends to the queue ``control`` in each round of ``every_s`` seconds expire after five rounds.
    So a warning is given if the next message of this queue is older than five rounds and older than ``LONG_S``.
    """
    if (age_s := ages.get("control", 0.0)) > (limit_s := max(5 * every_s, LONG_S)):
        yield warn("queues.late", age_s=age_s, limit_s=limit_s)
    yield ok("queues", queues=[_describe_queue(name, length, ages.get(name)) for name, length in waiting.items()])


def _describe_queue(name: str, length: int, age_s: float | None) -> Message:
    aged = length and age_s is not None
    return phrase("queues.aged" if aged else "queues.one", name=name, length=length, age_s=age_s)


# -- Redis


def check_redis(connections: CheckConnections) -> Found:
    yield from judge_redis(connections.redis)


def judge_redis(redis: Redis) -> Found:
    """Judge a Redis by its INFO: it must be one writable server that evicts nothing."""
    with redis_errors():
        info: dict[str, Any] = redis.info()
    yield from _judge_role(info)
    yield from _judge_persistence(info)
    valkey, version = info.get("valkey_version"), info.get("redis_version", phrase("no_version"))
    key = "redis" if info.get("aof_enabled") else "redis.no_file.ok"
    yield ok(key, server="Valkey" if valkey else "Redis", version=valkey or version)


def _judge_role(info: dict[str, Any]) -> Found:
    if info.get("cluster_enabled"):
        yield fail("redis.cluster")
    if info.get("role") not in (None, "master"):
        yield fail("redis.replica")
    if info.get("loading"):
        yield fail("redis.loading")


def _judge_persistence(info: dict[str, Any]) -> Found:
    policy = info.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        yield fail("redis.evicts", policy=policy)
    if not info.get("aof_enabled"):
        yield warn("redis.no_file")
    elif "err" in (info.get("aof_last_write_status"), info.get("aof_last_bgrewrite_status")):
        yield fail("redis.file_fails")
    elif info.get("rdb_last_bgsave_status") == "err":
        yield warn("redis.snapshot_fails")


def check_ledger(connections: CheckConnections) -> Found:
    """Check that the ledger is writable, has all entries known to the registry, and is unchanged. Creates no file."""
    settings = connections.settings
    path = settings.ledger()
    ledger = known_ledger(settings, connections.registry)
    known = ledger if connections.registry_is_current else None
    if not path.exists() and (known is None or known.find() is None):
        folder = next(folder for folder in path.absolute().parents if folder.exists())
        if os.access(folder, os.W_OK | os.X_OK):
            yield ok("created_later", path=path)
        else:
            yield fail("ledger.denied", path=path, folder=folder)
        return
    if not has_keys(settings, "erasure_keys"):
        yield fail("ledger.no_keys", path=path, file=ERASURE_KEYS)
        return
    try:
        position = ledger.file.position() if known is None else known.check()
    except WorkerError as error:
        yield fail("told", text=error)
        return
    yield ok("ledger", path=path, entries=position.entries)
