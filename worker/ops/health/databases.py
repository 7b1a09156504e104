"""Checks of the databases: CouchDB, the measure store and the registry.

CouchDB is asked with plain requests instead of the store's adapter, because the adapter takes a refusal for an error,
and here a refusal of strangers is the good answer.
Source: CouchDB 3.5 manual, "Single node setup", "GET /_session", "Security"; tried on a real server.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import requests
from sqlalchemy import Connection, func, select

from config.settings import ConfigError, Settings
from worker.domain.consent.accounts import AccountState
from worker.domain.measures.readings import Period
from worker.errors import StoreUnavailable
from worker.ops.health.connections import CheckConnections, missing_sqlite_file
from worker.ops.health.results import CheckNote, fail, ok, warn
from worker.runtime.stores import build_measures
from worker.stores.database import Database
from worker.stores.measures.base import Layout, database_name, doctypes_of, readings_of, wrong_layout
from worker.stores.measures.factory import couchdb_user, open_couchdb
from worker.stores.registry import migrations
from worker.stores.registry.tables import ACCOUNTS

_HOW_TO_CLOSE: Final = (
    "give it an administrator ([admins] in local.ini, or COUCHDB_USER and COUCHDB_PASSWORD of its image) and set "
    "[chttpd] require_valid_user = true"
)


# -- CouchDB


class CouchProbe:
    """Requests to one CouchDB server, with our user and password or without them.

    Every method raises StoreUnavailable where the server does not answer.
    """

    def __init__(self, origin: str, user: tuple[str, str] | None, timeout_s: float) -> None:
        self.origin = origin
        self._user = user
        self._timeout_s = timeout_s

    def get(self, path: str, *, anonymous: bool = False) -> requests.Response:
        with requests.Session() as session:
            # Without this, requests would take proxies and passwords from environment variables and .netrc.
            session.trust_env = False
            try:
                return session.get(
                    f"{self.origin}/{path}",
                    auth=None if anonymous else self._user,
                    headers={"Accept": "application/json"},
                    timeout=self._timeout_s,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                raise StoreUnavailable(
                    f"CouchDB at {self.origin} does not answer ({type(error).__name__}): check that it runs and "
                    "RELEVE_MEASURES_URL"
                ) from None

    def database_info(self, name: str) -> dict[str, Any] | None:
        """Return CouchDB's information about a database; None where the database does not exist."""
        answer = self.get(name)
        if answer.status_code == 404:
            return None
        return self._object(answer, name)

    def server_info(self) -> dict[str, Any]:
        return self._object(self.get(""), "its first page")

    def roles(self, *, anonymous: bool) -> list[str]:
        """Return the roles of a session without a password, or with ours; none where a stranger is refused."""
        answer = self.get("_session", anonymous=anonymous)
        if anonymous and answer.status_code in (401, 403):
            return []
        roles: list[str] = self._object(answer, "_session").get("userCtx", {}).get("roles", [])
        return roles

    def is_public(self, path: str) -> bool:
        return self.get(path, anonymous=True).status_code == 200

    def _object(self, answer: requests.Response, what: str) -> dict[str, Any]:
        if answer.status_code in (401, 403):
            raise StoreUnavailable(
                f"CouchDB at {self.origin} refuses this user on {what} ({answer.status_code}): check user and password "
                "in RELEVE_MEASURES_URL; `releve migrate` makes the user where RELEVE_MEASURES_ADMIN_URL is set"
            )
        try:
            body = answer.json() if answer.ok else None
        except requests.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            raise StoreUnavailable(
                f"{self.origin} does not answer as CouchDB does ({answer.status_code} on {what}): "
                "check RELEVE_MEASURES_URL"
            )
        return body


def couch_probe_from(url: str, timeout_s: float) -> CouchProbe | None:
    """Return the probe for a measures URL; None where the URL names a SQL database.  Raises ConfigError."""
    try:
        server = open_couchdb(url, timeout_s)
    except ValueError as error:
        raise ConfigError(f"RELEVE_MEASURES_URL: {error}") from None
    return None if server is None else CouchProbe(server.origin, couchdb_user(url), timeout_s)


def check_couchdb(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that CouchDB is set up and refuses strangers.  Raises StoreUnavailable."""
    probe = connections.couchdb
    if probe is None:
        yield ok("not in use: the measures are in SQL")
        return
    version = probe.server_info().get("version", "of unknown version")
    yield from _check_strangers(probe, Layout(connections.settings.layout))
    yield from _check_setup(probe)
    yield ok(f"CouchDB {version}, set-up finished, closed to strangers")


def _check_strangers(probe: CouchProbe, layout: Layout) -> Iterator[CheckNote]:
    if "_admin" in probe.roles(anonymous=True):
        yield fail(f"admin party: whoever reaches {probe.origin} is its administrator; {_HOW_TO_CLOSE}")
        return
    if probe.is_public("_all_dbs"):
        yield fail(f"whoever reaches {probe.origin} may list its databases; {_HOW_TO_CLOSE}")
    names = list(map(database_name, doctypes_of(layout)))
    if readable := [name for name in names if probe.is_public(name)]:
        yield fail(
            f"whoever reaches {probe.origin} may read {', '.join(readable)}: `releve migrate` with "
            "RELEVE_MEASURES_ADMIN_URL admits our user alone, or set members in each one's _security"
        )


def _check_setup(probe: CouchProbe) -> Iterator[CheckNote]:
    status = probe.get("_users").status_code
    if status == 404:
        yield fail(
            "its set-up is not finished, there is no _users database: run `releve migrate` with "
            "RELEVE_MEASURES_ADMIN_URL, or create _users and _replicator"
        )
    elif "_admin" in probe.roles(anonymous=False):
        yield warn(
            "we speak as its administrator: `releve migrate` with RELEVE_MEASURES_ADMIN_URL makes a user who may read "
            "and write measures and nothing else"
        )


# -- measure store


def check_measures(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that the database of each doctype answers, and has the layout of the settings.

    Raises StoreUnavailable and ConfigError.
    """
    layout = Layout(connections.settings.layout)
    probe = connections.couchdb
    if probe is None:
        yield from _check_sql_measures(connections)
        return
    names = list(map(database_name, doctypes_of(layout)))
    infos = {name: info for name in names if (info := probe.database_info(name)) is not None}
    other_infos = (probe.database_info(name) for name in map(database_name, readings_of(layout.other)))
    if any(info is not None and info.get("doc_count") for info in other_infos):
        yield fail(wrong_layout(layout))
    for name, info in infos.items():
        yield from _check_shards(name, info.get("cluster", {}), connections.settings)
    if missing := len(names) - len(infos):
        yield ok(
            f"{missing} of {len(names)} databases are not made yet: `releve migrate` makes them, or the first writing"
        )
    else:
        yield ok(f"all {len(names)} databases answer")


def _check_shards(name: str, cluster: dict[str, Any], settings: Settings) -> Iterator[CheckNote]:
    """Compare a database's shards (``q``) and replicas (``n``), like ``{"q": 2, "n": 1}``, with the settings."""
    wanted = {"q": settings.couchdb_shards, "n": settings.couchdb_replicas}
    for letter, count in wanted.items():
        if count is not None and cluster.get(letter, count) != count:
            yield warn(
                f"{name} was made with {letter}={cluster[letter]}, not {count}: that is fixed when a database is made; "
                "make it anew and replicate into it, or set RELEVE_COUCHDB_SHARDS and RELEVE_COUCHDB_REPLICAS as it is"
            )


def _check_sql_measures(connections: CheckConnections) -> Iterator[CheckNote]:
    url = connections.settings.measures()
    if missing_sqlite_file(url):
        yield warn("not made yet: `releve migrate` makes it, or the first writing")
        return
    measures = build_measures(connections.settings, connections.stack)
    database = Database(url)
    connections.stack.callback(database.close)
    tables = measures.read("doctor", dict.fromkeys(Period, ("0", "1")))
    with database.reading() as connection:
        yield ok(f"{sql_version(connection)}, all {len(tables)} tables answer")


# -- registry


def check_registry(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check that the registry answers and has the tables of this program.  Raises StoreUnavailable and ConfigError."""
    if missing_sqlite_file(connections.settings.registry()):
        yield warn("not made yet: `releve migrate` makes it, or the first command that needs it")
        return
    newest = migrations.newest_step()
    with connections.registry.reading() as connection:
        version, step = sql_version(connection), migrations.current_step(connection)
        if step == newest:
            yield ok(f"{version}, tables at step {step}, {_count_accounts(connection)}")
            return
    yield _describe_step(step, newest)


def _describe_step(step: str | None, newest: str) -> CheckNote:
    if step is None:
        return fail("it has no tables yet: run `releve migrate`")
    if step in migrations.known_steps():
        return fail(f"its tables are at step {step}, this program needs {newest}: run `releve migrate`")
    return fail(
        f"its tables are at step {step}, which a newer Relève has made; this one knows {newest}: update this one, or "
        "restore the backup from before"
    )


def sql_version(connection: Connection) -> str:
    if connection.dialect.name == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}"
    return f"PostgreSQL {connection.exec_driver_sql('SHOW server_version').scalar()}"


def _count_accounts(connection: Connection) -> str:
    query = select(ACCOUNTS.c.state, func.count()).group_by(ACCOUNTS.c.state)
    counts = {row[0]: int(row[1]) for row in connection.execute(query)}
    words = [f"{counts[state.value]} {state.value}" for state in AccountState if counts.get(state.value)]
    return ", ".join(words) or "no accounts"
