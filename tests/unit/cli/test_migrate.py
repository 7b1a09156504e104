"""`releve migrate` with all kinds of answers of a CouchDB: replicas, and the limit of old revisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.canned_server import CannedAnswer, CannedServer, answer, canned_server
from tests.support.commands import CommandResult
from tests.support.installation import new_installation
from worker.stores.measures.measure_store import Layout, database_name, doctypes_of, nightly_doctypes

pytestmark = pytest.mark.sockets

NAMES = [f"/{database_name(doctype)}" for doctype in doctypes_of(Layout.PACKED)]
# Of documents that are written anew every night.
LIMITS = [f"/{database_name(doctype)}/_revs_limit" for doctype in nightly_doctypes(Layout.PACKED)]
OK, THERE, NOT_FOUND = answer(201, {"ok": True}), answer(412, {"error": "file_exists"}), answer(404, {"error": "x"})
WELCOME = answer(200, {"couchdb": "Welcome", "version": "3.5.2"})
DATABASES = [OK] * len(NAMES)
NO_ADMIN = answer(401, {"error": "unauthorized"})
OUTAGE, REFUSAL = answer(500, {"error": "unknown_error"}), answer(400, {"error": "bad_request"})


def migrate(server: CannedServer, folder: Path, *words: str, **settings: str) -> CommandResult:
    url = f"couchdb+{server.url}"
    return new_installation(folder, measures_url=url, layout="packed", **settings).run("migrate", *words)


def asked(server: CannedServer) -> list[tuple[str, str, Any]]:
    """Return the requests after that for the version, without the query of those that create a database."""
    return [(method, path.partition("?")[0], body) for method, path, body in server.requests[1:]]


@pytest.mark.parametrize(
    "answers, requests, done",
    [
        ([answer(200, 1000), OK], [("GET", None), ("PUT", 50)], "changed"),
        ([answer(200, 50)], [("GET", None)], "there"),
        ([NOT_FOUND], [("GET", None)], "left"),
        ([answer(200, 1000), NO_ADMIN], [("GET", None), ("PUT", 50)], "left"),
    ],
)
def test_the_limit_of_revisions_is_set_once_and_a_server_without_one_costs_a_line(
    answers: list[CannedAnswer], requests: list[tuple[str, Any]], done: str, tmp_path: Path
) -> None:
    with canned_server(WELCOME, *DATABASES, *answers * len(LIMITS)) as server:
        result = migrate(server, tmp_path, "--json")
    assert result.code == 0, result.err
    steps = [step for step in result.rows if "old revisions" in step["what"]]
    assert [step["done"] for step in steps] == [done]
    expected = [(method, path, body) for path in LIMITS for method, body in requests]
    assert asked(server)[len(NAMES) :] == expected


def test_the_limit_is_that_of_the_settings(tmp_path: Path) -> None:
    with canned_server(WELCOME, *DATABASES, *[answer(200, 50), OK] * len(LIMITS)) as server:
        assert migrate(server, tmp_path, couchdb_revisions="1000").code == 0
    assert [request for request in asked(server)[len(NAMES) :] if request[0] == "PUT"] == [
        ("PUT", path, 1000) for path in LIMITS
    ]


@pytest.mark.parametrize("answers", [[REFUSAL], [answer(200, 1000), REFUSAL], [OUTAGE], [answer(200, 1000), OUTAGE]])
def test_a_limit_that_is_refused_is_told_in_one_line(answers: list[CannedAnswer], tmp_path: Path) -> None:
    with canned_server(WELCOME, *DATABASES, *answers) as server:
        result = migrate(server, tmp_path)
    assert result.code == 1
    assert "CouchDB" in result.error_line


def test_every_database_that_is_made_has_the_replicas_of_the_settings_the_systems_too(tmp_path: Path) -> None:
    with canned_server(WELCOME, THERE, OK, *DATABASES, *[NOT_FOUND] * len(LIMITS)) as server:
        migrate(server, tmp_path, couchdb_replicas="1", measures_admin_url=f"couchdb+{server.url}")
    made = [path for method, path, _ in server.requests if method == "PUT"]
    assert made[:2] == ["/_users?n=1", "/_replicator?n=1"]
    assert [path.partition("?")[0] for path in made[2:]] == NAMES
    assert all("n=1" in path for path in made)


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        (Layout.PLAIN, ["month", "year", "production.month", "production.year"]),
        (Layout.PACKED, ["packed-daily", "packed-production-daily"]),
    ],
)
def test_documents_that_are_written_again_every_night_are_those_of_months_and_years(
    layout: Layout, names: list[str]
) -> None:
    assert nightly_doctypes(layout) == [f"com.grandlyon.enedis.{name}" for name in names]
