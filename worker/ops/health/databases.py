"""Checks of the databases: CouchDB, the measure store and the registry.

CouchDB is asked once with our user and once as a stranger, whose refusal is the good answer.
Source: CouchDB 3.5 manual, "Single node setup", "GET /_session", "Security"; tried on a real server.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Connection

from config.settings import Settings
from worker.domain.series import Doctype
from worker.ops.health.connections import CheckConnections, missing_sqlite_file
from worker.ops.health.results import CheckNote, fail, ok, warn
from worker.runtime.stores import build_measures
from worker.stores.database import Database
from worker.stores.measures.couchdb import CouchServer, UserRefused, check_server, read_or_none
from worker.stores.measures.measure_store import Layout, database_name, doctypes_of, readings_of, wrong_layout
from worker.stores.registry import migrations
from worker.stores.registry.fleet_counts import Overview

_HOW_TO_CLOSE: Final = (
    "create an administrator ([admins] in local.ini, or COUCHDB_USER and COUCHDB_PASSWORD of its image) and set "
    "[chttpd] require_valid_user = true"
)

# -- CouchDB


def check_couchdb(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that CouchDB is one that does, is set up, and refuses strangers.  Raises StoreUnavailable."""
    server = connections.couchdb
    if server is None:
        yield ok("not used: the measures are in SQL")
        return
    version = check_server(server)
    stranger = CouchServer(server.origin, None, connections.settings.store_timeout_s)
    yield from _check_strangers(stranger, Layout(connections.settings.layout))
    yield from _check_setup(server)
    yield ok(f"CouchDB {version}, setup finished, no anonymous access")


def _check_strangers(stranger: CouchServer, layout: Layout) -> Iterator[CheckNote]:
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


def _check_setup(server: CouchServer) -> Iterator[CheckNote]:
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
    """Return the status of the answer; None where the server refuses this user."""
    try:
        return server.request("GET", path).status
    except UserRefused:
        return None


def _is_admin(server: CouchServer) -> bool:
    """Return whether this user, or a stranger, has an administrator's session."""
    try:
        session = read_or_none(server, "_session") or {}
    except UserRefused:
        return False
    return "_admin" in session.get("userCtx", {}).get("roles", [])


# -- measure store


def check_measures(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that the database of each doctype answers, and has the layout of the settings.

    Raises StoreUnavailable and ConfigError.
    """
    layout = Layout(connections.settings.layout)
    server = connections.couchdb
    if server is None:
        yield from _check_sql_measures(connections)
        return
    names = list(map(database_name, doctypes_of(layout)))
    infos = {name: info for name in names if (info := read_or_none(server, name)) is not None}
    other_infos = (read_or_none(server, name) for name in map(database_name, readings_of(layout.other)))
    if any(info is not None and info.get("doc_count") for info in other_infos):
        yield fail(wrong_layout(layout))
    for name, info in infos.items():
        yield from _check_shards(name, info.get("cluster", {}), connections.settings)
    if missing := len(names) - len(infos):
        yield ok(
            f"{missing} of {len(names)} databases do not exist yet: `releve migrate` or the first write creates them"
        )
    else:
        yield ok(f"all {len(names)} databases answer")


def _check_shards(name: str, cluster: dict[str, Any], settings: Settings) -> Iterator[CheckNote]:
    """Compare a database's shards (``q``) and replicas (``n``), like ``{"q": 2, "n": 1}``, with the settings."""
    wanted = {"q": settings.couchdb_shards, "n": settings.couchdb_replicas}
    for letter, count in wanted.items():
        if count is not None and cluster.get(letter, count) != count:
            yield warn(
                f"{name} was created with {letter}={cluster[letter]}, not {count}, which can't be changed: replicate "
                "it into a new database, or set RELEVE_COUCHDB_SHARDS and RELEVE_COUCHDB_REPLICAS to what it has"
            )


def _check_sql_measures(connections: CheckConnections) -> Iterator[CheckNote]:
    url = connections.settings.measures()
    if missing_sqlite_file(url):
        yield warn("does not exist yet: `releve migrate` or the first write creates it")
        return
    measures = build_measures(connections.settings, connections.stack)
    database = Database(url)
    connections.stack.callback(database.close)
    tables = measures.read("doctor", dict.fromkeys(Doctype, ("0", "1")))
    with database.reading() as connection:
        yield ok(f"{sql_version(connection)}, all {len(tables)} tables answer")


# -- registry


def check_registry(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that the registry answers and has the tables of this program.  Raises StoreUnavailable and ConfigError."""
    if missing_sqlite_file(connections.settings.registry()):
        yield warn("does not exist yet: `releve migrate` or the first command that needs it creates it")
        return
    newest = migrations.newest_step()
    with connections.registry.reading() as connection:
        version, step = sql_version(connection), migrations.current_step(connection)
    if step == newest:
        counts = Overview(connections.registry).count_accounts_by_state()
        accounts = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
        yield ok(f"{version}, tables at step {step}, {accounts or 'no accounts'}")
    else:
        yield _describe_step(step, newest)


def _describe_step(step: str | None, newest: str) -> CheckNote:
    if step is None:
        return fail("it has no tables yet: run `releve migrate`")
    if fault := migrations.find_step_fault(step):
        return fail(fault)
    return fail(f"its tables are at step {step}, this version needs {newest}: run `releve migrate`")


def sql_version(connection: Connection) -> str:
    if connection.dialect.name == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}"
    return f"PostgreSQL {connection.exec_driver_sql('SHOW server_version').scalar()}"
