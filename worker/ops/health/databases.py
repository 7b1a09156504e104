"""CouchDB as whoever comes by sees it, and as our user does.

Asked with plain requests, not through the store's adapter: there a refusal is a fault, here it is what we hope for.
Source: CouchDB 3.5 manual, "Single node setup", "GET /_session", "Security"; tried on a real server (stack-trials, 3).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import requests
from sqlalchemy import Connection, func, select

from config.settings import ConfigError, Settings
from worker.domain.consent.accounts import AccountState
from worker.errors import StoreUnavailable
from worker.ops.health.connections import CheckConnections, missing_sqlite_file
from worker.ops.health.results import Note, fail, ok, warn
from worker.stores.measures.base import Layout, doctypes_of, readings_of, wrong_layout
from worker.stores.measures.factory import couchdb_user, open_couchdb
from worker.stores.registry import migrations
from worker.stores.registry.tables import ACCOUNTS

_CLOSE_IT: Final = (
    "give it an administrator ([admins] in local.ini, or COUCHDB_USER and COUCHDB_PASSWORD of its image) and set "
    "[chttpd] require_valid_user = true"
)


class CouchSite:
    """One server; ``user`` is who we are there.  Every method raises StoreUnavailable where it does not answer."""

    def __init__(self, origin: str, user: tuple[str, str] | None, timeout_s: float) -> None:
        self.origin = origin
        self._user = user
        self._timeout_s = timeout_s

    def ask(self, path: str, *, as_nobody: bool = False) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False  # neither proxies nor passwords from the surroundings
            try:
                return session.get(
                    f"{self.origin}/{path}",
                    auth=None if as_nobody else self._user,
                    headers={"Accept": "application/json"},
                    timeout=self._timeout_s,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                raise StoreUnavailable(
                    f"CouchDB at {self.origin} does not answer ({type(error).__name__}): check that it runs and "
                    "RELEVE_MEASURES_URL"
                ) from None

    def database(self, name: str) -> dict[str, Any] | None:
        """What it tells of a database; None where there is none."""
        answer = self.ask(name)
        if answer.status_code == 404:
            return None
        return self._object(answer, name)

    def welcome(self) -> dict[str, Any]:
        return self._object(self.ask(""), "its first page")

    def roles(self, *, as_nobody: bool) -> list[str]:
        """What a session without, or with, our password may do."""
        answer = self.ask("_session", as_nobody=as_nobody)
        if as_nobody and answer.status_code in (401, 403):
            return []
        roles: list[str] = self._object(answer, "_session").get("userCtx", {}).get("roles", [])
        return roles

    def open_to_all(self, path: str) -> bool:
        return self.ask(path, as_nobody=True).status_code == 200

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


def couch_site(url: str, timeout_s: float) -> CouchSite | None:
    """None where the URL names a SQL database.  Raises ConfigError."""
    try:
        server = open_couchdb(url, timeout_s)
    except ValueError as error:
        raise ConfigError(f"RELEVE_MEASURES_URL: {error}") from None
    return None if server is None else CouchSite(server.origin, couchdb_user(url), timeout_s)


def couchdb(visit: CheckConnections) -> Iterator[Note]:
    """Raises StoreUnavailable."""
    site = visit.couchdb
    if site is None:
        yield ok("not in use: the measures are in SQL")
        return
    version = site.welcome().get("version", "of unknown version")
    yield from _strangers(site, Layout(visit.settings.layout))
    yield from _set_up(site)
    yield ok(f"CouchDB {version}, set-up finished, closed to strangers")


def database_names(doctypes: Iterable[str]) -> list[str]:
    return [name.replace(".", "-") for name in doctypes]


def _strangers(site: CouchSite, layout: Layout) -> Iterator[Note]:
    if "_admin" in site.roles(as_nobody=True):
        yield fail(f"admin party: whoever reaches {site.origin} is its administrator; {_CLOSE_IT}")
        return
    if site.open_to_all("_all_dbs"):
        yield fail(f"whoever reaches {site.origin} may list its databases; {_CLOSE_IT}")
    names = database_names(doctypes_of(layout))
    if readable := [name for name in names if site.open_to_all(name)]:
        yield fail(
            f"whoever reaches {site.origin} may read {', '.join(readable)}: `releve migrate` with "
            "RELEVE_MEASURES_ADMIN_URL admits our user alone, or set members in each one's _security"
        )


def _set_up(site: CouchSite) -> Iterator[Note]:
    users = site.ask("_users").status_code
    if users == 404:
        yield fail(
            "its set-up is not finished, there is no _users database: run `releve migrate` with "
            "RELEVE_MEASURES_ADMIN_URL, or create _users and _replicator"
        )
    elif "_admin" in site.roles(as_nobody=False):
        yield warn(
            "we speak as its administrator: `releve migrate` with RELEVE_MEASURES_ADMIN_URL makes a user who may read "
            "and write measures and nothing else"
        )


# The measure store: each doctype's database answers, and is laid out as we were told.

if TYPE_CHECKING:
    from worker.stores.measures.factory import Site


def measures(visit: CheckConnections) -> Iterator[Note]:
    """Raises StoreUnavailable and ConfigError."""
    layout = Layout(visit.settings.layout)
    if visit.couchdb is None:
        yield from _sql(visit, layout)
        return
    names = database_names(doctypes_of(layout))
    found = {name: facts for name in names if (facts := visit.couchdb.database(name)) is not None}
    others = (visit.couchdb.database(name) for name in database_names(readings_of(layout.other)))
    if any(facts is not None and facts.get("doc_count") for facts in others):
        yield fail(wrong_layout(layout))
    for name, facts in found.items():
        yield from _layout(name, facts.get("cluster", {}), visit.settings)
    if missing := len(names) - len(found):
        yield ok(
            f"{missing} of {len(names)} databases are not made yet: `releve migrate` makes them, or the first writing"
        )
    else:
        yield ok(f"all {len(names)} databases answer")


def _layout(name: str, layout: dict[str, Any], settings: Settings) -> Iterator[Note]:
    wanted = {"q": settings.couchdb_shards, "n": settings.couchdb_replicas}
    for letter, count in wanted.items():
        if count is not None and layout.get(letter, count) != count:
            yield warn(
                f"{name} was made with {letter}={layout[letter]}, not {count}: that is fixed when a database is made; "
                "make it anew and replicate into it, or set RELEVE_COUCHDB_SHARDS and RELEVE_COUCHDB_REPLICAS as it is"
            )


def _site(settings: Settings) -> Site:
    from worker.stores.measures.factory import Site

    try:
        return Site(settings.measures(), settings.store_timeout_s)
    except ValueError as error:
        raise ConfigError(f"RELEVE_MEASURES_URL: {error}") from None


def _sql(visit: CheckConnections, layout: Layout) -> Iterator[Note]:
    from worker.stores.registry.database import Database

    url = visit.settings.measures()
    if missing_sqlite_file(url):
        yield warn("not made yet: `releve migrate` makes it, or the first writing")
        return
    site = _site(visit.settings)
    if site.holds_any(layout.other):
        yield fail(wrong_layout(layout))
    stores, database = site.stores(layout), Database(url)
    for store in stores.values():
        store.read("doctor", "0", "1")
    visit.opened.callback(database.close)
    with database.reading() as connection:
        yield ok(f"{sql_version(connection)}, all {len(stores)} tables answer")


# The registry: it answers, and its tables are those of this program.


def registry(visit: CheckConnections) -> Iterator[Note]:
    """Raises StoreUnavailable and ConfigError."""
    if missing_sqlite_file(visit.settings.registry()):
        yield warn("not made yet: `releve migrate` makes it, or the first command that needs it")
        return
    newest = migrations.newest_step()
    with visit.registry.reading() as connection:
        version, step = sql_version(connection), migrations.current_step(connection)
        if step == newest:
            yield ok(f"{version}, tables at step {step}, {_accounts(connection)}")
            return
    yield _other(step, newest)


def _other(step: str | None, newest: str) -> Note:
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


def _accounts(connection: Connection) -> str:
    query = select(ACCOUNTS.c.state, func.count()).group_by(ACCOUNTS.c.state)
    counts = {row[0]: int(row[1]) for row in connection.execute(query)}
    told = [f"{counts[state.value]} {state.value}" for state in AccountState if counts.get(state.value)]
    return ", ".join(told) or "no accounts"
