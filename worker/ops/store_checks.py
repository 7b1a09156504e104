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
from worker.ops.check_results import CheckConnections, Found, fail, missing_sqlite_file, ok, warn
from worker.runtime.keys import ERASURE_KEYS, has_keys
from worker.runtime.stores import build_measures, known_ledger, open_database, open_redis
from worker.stores.measures.couchdb import CouchServer, UserRefused, check_server, read_or_none
from worker.stores.measures.measure_store import Layout, database_name, doctypes_of, readings_of, wrong_layout
from worker.stores.redis.connection import redis_errors
from worker.stores.registry import Registry, migrations

_HOW_TO_CLOSE: Final = (
    "create an administrator ([admins] in local.ini, or COUCHDB_USER and COUCHDB_PASSWORD of its image) and set "
    "[chttpd] require_valid_user = true"
)
_UNSOUND_COUCHDB: Final = "3.5.1"
LONG_S: Final = 300.0
REPAIR: Final = "`releve verify --all --repair`"
_FEW: Final = 3  # If more databases are missing, only the first is named.

# -- CouchDB


def check_couchdb(connections: CheckConnections) -> Found:
    """Check that CouchDB has a supported version, is set up, and refuses requests without credentials."""
    server = connections.couchdb
    if server is None:
        yield ok("not used: the measures are in SQL")
        return
    version = check_server(server)
    if version == _UNSOUND_COUCHDB:
        yield warn(f"CouchDB {version} has a known fault (apache/couchdb#5879): update it to 3.5.2 or newer")
    stranger = CouchServer(server.origin, None, connections.settings.store_timeout_s)
    yield from _check_strangers(stranger, Layout(connections.settings.layout))
    yield from _check_setup(server)
    yield from check_databases(connections)
    yield ok(f"CouchDB {version}, setup finished, no anonymous access")


def _check_strangers(stranger: CouchServer, layout: Layout) -> Found:
    if _is_admin(stranger):
        yield fail(f"admin party: anybody who reaches {stranger.origin} is its administrator; {_HOW_TO_CLOSE}")
        return
    if _status_of(stranger, "_all_dbs") == 200:
        yield fail(f"anybody who reaches {stranger.origin} can list its databases; {_HOW_TO_CLOSE}")
    names = list(map(database_name, doctypes_of(layout)))
    if readable := [name for name in names if _status_of(stranger, name) == 200]:
        yield fail(
            f"anybody who reaches {stranger.origin} can read {', '.join(readable)}: run `releve migrate` with "
            "RELEVE_MEASURES_ADMIN_URL, or set members in each _security"
        )


def _check_setup(server: CouchServer) -> Found:
    if _status_of(server, "_users") == 404:
        yield fail(
            "its setup is not finished, the _users database is missing: run `releve migrate` with "
            "RELEVE_MEASURES_ADMIN_URL, or create _users and _replicator"
        )
    elif _is_admin(server):
        yield warn(
            "RELEVE_MEASURES_URL uses its administrator: `releve migrate` with RELEVE_MEASURES_ADMIN_URL creates a "
            "user that can only read and write measures"
        )


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
        yield fail(wrong_layout(layout))
    for name, info in infos.items():
        yield from _check_shards(name, info.get("cluster", {}), connections.settings)
    yield ok(f"{len(infos)} of {len(names)} databases answer")


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
        told = ", ".join(names) if len(names) <= _FEW else f"{len(names)} databases, the first is {names[0]}"
        yield fail(f"missing, with all that was stored in it: {told}: run `releve migrate`, then {REPAIR}")
    elif missing:
        yield warn(f"{len(missing)} of {len(doctypes)} databases do not exist yet: run `releve migrate`")


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
            yield warn(
                f"{name} was created with {letter}={cluster[letter]}, not {count}, which can't be changed: replicate "
                "it into a new database, or set RELEVE_COUCHDB_SHARDS and RELEVE_COUCHDB_REPLICAS to what it has"
            )


def _check_sql_measures(connections: CheckConnections) -> Found:
    url = connections.settings.measures()
    if missing_sqlite_file(url):
        yield warn("does not exist yet: `releve migrate` or the first write creates it")
        return
    measures = build_measures(connections.settings, connections.stack)
    database = open_database(url, "RELEVE_MEASURES_URL", connections.stack)
    tables = measures.read("doctor", dict.fromkeys(Doctype, ("0", "1")))
    with database.reading() as connection:
        yield ok(f"{sql_version(connection)}, all {len(tables)} tables answer")


# -- registry


def check_registry(connections: CheckConnections) -> Found:
    """Check that the registry answers and has the tables of this version."""
    if missing_sqlite_file(connections.settings.registry()):
        yield warn("does not exist yet: `releve migrate` or the first command that needs it creates it")
        return
    newest = migrations.newest_step()
    with connections.registry.database.reading() as connection:
        version, step = sql_version(connection), migrations.current_step(connection)
    if step == newest:
        counts = connections.registry.overview.count_accounts_by_state()
        accounts = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
        yield ok(f"{version}, tables at step {step}, {accounts or 'no accounts'}")
    elif step is None:
        yield fail("it has no tables yet: run `releve migrate`")
    else:
        older = f"its tables are at step {step}, this version needs {newest}: run `releve migrate`"
        yield fail(migrations.find_step_fault(step) or older)


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
            yield fail(f"the same Redis: {error}")
        else:
            yield ok("the same Redis")
    elif connections.settings.broker_options().kind == "redis":
        try:
            yield from judge_redis(open_redis(url.get_secret_value(), connections.stack))
        except StoreUnavailable as error:
            yield fail(str(error).replace("RELEVE_REDIS_URL", "RELEVE_BROKER_URL"))
    else:
        with open_broker(connections.broker_url) as connection:
            properties = connection.connection.server_properties
        yield ok(f"{properties.get('product', 'AMQP')} {properties.get('version', 'of unknown version')}")


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
        yield warn(
            f"the queue control is {age_s:.0f} s behind, and should be at most {limit_s:.0f} s: start more workers "
            "for it"
        )
    queues = [
        f"{name} {length}" + (f" (for {ages[name]:.0f} s)" if length and name in ages else "")
        for name, length in waiting.items()
    ]
    yield ok("waiting: " + ", ".join(queues))


# -- Redis


def check_redis(connections: CheckConnections) -> Found:
    yield from judge_redis(connections.redis)


def judge_redis(redis: Redis) -> Found:
    """Judge a Redis by its INFO: it must be one writable server that evicts nothing."""
    with redis_errors():
        info: dict[str, Any] = redis.info()
    yield from _judge_role(info)
    yield from _judge_persistence(info)
    append_only = "append-only file on" if info.get("aof_enabled") else "no append-only file"
    valkey, version = info.get("valkey_version"), info.get("redis_version", "of unknown version")
    yield ok(f"{f'Valkey {valkey}' if valkey else f'Redis {version}'}, noeviction, {append_only}")


def _judge_role(info: dict[str, Any]) -> Found:
    if info.get("cluster_enabled"):
        yield fail(
            "this is a Redis Cluster, which Celery can't use: give Relève one server, or several behind Sentinels"
        )
    if info.get("role") not in (None, "master"):
        yield fail("this is a replica, which accepts no writes: set RELEVE_REDIS_URL to the primary, or its Sentinels")
    if info.get("loading"):
        yield fail("it is still loading its data: wait")


def _judge_persistence(info: dict[str, Any]) -> Found:
    policy = info.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        yield fail(
            f"it evicts keys when memory is short (maxmemory-policy {policy}): set maxmemory-policy noeviction, or "
            "give Relève its own Redis"
        )
    if not info.get("aof_enabled"):
        yield warn("no append-only file: queued messages are lost when it restarts; set appendonly yes")
    elif "err" in (info.get("aof_last_write_status"), info.get("aof_last_bgrewrite_status")):
        yield fail("it can't write its append-only file, and refuses writes: make room on its disk, check its log")
    elif info.get("rdb_last_bgsave_status") == "err":
        yield warn("its last snapshot failed: make room on its disk, check its log")


def check_ledger(connections: CheckConnections) -> Found:
    """Check that the ledger is writable, has all entries known to the registry, and is unchanged. Creates no file."""
    settings = connections.settings
    path = settings.ledger()
    ledger = known_ledger(settings, connections.registry)
    known = ledger if connections.registry_is_current else None
    if not path.exists() and (known is None or known.find() is None):
        folder = next(folder for folder in path.absolute().parents if folder.exists())
        if os.access(folder, os.W_OK | os.X_OK):
            yield ok(f"none yet: {path} is created at first use")
        else:
            yield fail(f"nothing can be erased, because {path} can't be created: let Relève write to {folder}")
        return
    if not has_keys(settings, "erasure_keys"):
        yield fail(f"the keys of {path} are missing: set RELEVE_ERASURE_KEYS, or restore {ERASURE_KEYS}")
        return
    try:
        position = ledger.file.position() if known is None else known.check()
    except WorkerError as error:
        yield fail(str(error))
        return
    yield ok(f"{path}: {position.entries} entries")
