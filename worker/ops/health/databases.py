"""CouchDB as whoever comes by sees it, and as our user does.

Asked with plain requests, not through the store's adapter: there a refusal is a fault, here it is what we hope for.
Source: CouchDB 3.5 manual, "Single node setup", "GET /_session", "Security"; tried on a real server (stack-trials, 3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import requests

from config.settings import ConfigError
from worker.errors import StoreUnavailable
from worker.ops.health.connections import Visit
from worker.ops.health.results import Note, fail, ok, warn
from worker.stores.measures.base import Layout, doctypes_of
from worker.stores.measures.factory import couchdb_user, open_couchdb

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


def couchdb(visit: Visit) -> Iterator[Note]:
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
