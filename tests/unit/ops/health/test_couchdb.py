"""What CouchDB tells strangers and us, in canned answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.canned_server import Canned, CannedServer, answer, canned_server
from tests.unit.ops.health.conftest import Premises, assert_told
from worker.errors import StoreUnavailable
from worker.ops.health.connections import CheckConnections
from worker.ops.health.databases import couchdb, measures
from worker.ops.health.results import Level

WELCOME = answer(200, {"couchdb": "Welcome", "version": "3.5.2"})
NOBODY = answer(200, {"ok": True, "userCtx": {"name": None, "roles": []}})
ADMIN = answer(200, {"ok": True, "userCtx": {"name": None, "roles": ["_admin"]}})
MEMBER = answer(200, {"ok": True, "userCtx": {"name": "releve", "roles": []}})
CLOSED = answer(401, {"error": "unauthorized", "reason": "You are not a server admin."})
MISSING = answer(404, {"error": "not_found", "reason": "Database does not exist."})
OPEN = answer(200, [])
FORBIDDEN = answer(403, {"error": "forbidden", "reason": "You are not allowed to access this db."})


def database(**cluster: int) -> Canned:
    return answer(200, {"db_name": "x", "doc_count": 0, "cluster": {"q": 2, "n": 1, **cluster}})


@contextmanager
def site(premises: Premises, *script: Canned, **settings: Any) -> Iterator[tuple[CheckConnections, CannedServer]]:
    with canned_server(*script) as server:
        url = server.url.replace("http://", "couchdb+http://releve:pass%2Fword@")
        yield premises(measures_url=url, **settings), server


def test_a_closed_server_whose_set_up_is_finished_is_well(premises: Premises) -> None:
    script = [WELCOME, NOBODY, CLOSED, *[CLOSED] * 5, FORBIDDEN, MEMBER]
    with site(premises, *script) as (visit, server):
        assert_told(couchdb(visit), Level.OK, "CouchDB 3.5.2, set-up finished, closed to strangers")
    asked = [path for _, path, _ in server.requests]
    assert asked[:3] == ["/", "/_session", "/_all_dbs"]
    with_password = [path for path, head in zip(asked, server.heads, strict=True) if "authorization" in head]
    assert with_password == ["/", "/_users", "/_session"], "a stranger has no password"


def test_an_admin_party_is_over_before_anything_else(premises: Premises) -> None:
    with site(premises, WELCOME, ADMIN, OPEN, ADMIN) as (visit, _):
        assert_told(couchdb(visit), Level.FAIL, "admin party", "[admins] in local.ini", "require_valid_user = true")


def test_a_list_of_databases_for_all_is_a_fault(premises: Premises) -> None:
    with site(premises, WELCOME, NOBODY, OPEN, *[CLOSED] * 5, FORBIDDEN, MEMBER) as (visit, _):
        assert_told(couchdb(visit), Level.FAIL, "may list its databases", "require_valid_user")


def test_measures_that_strangers_may_read_are_a_fault(premises: Premises) -> None:
    with site(premises, WELCOME, NOBODY, CLOSED, *[CLOSED] * 4, database(), FORBIDDEN, MEMBER) as (visit, _):
        assert_told(couchdb(visit), Level.FAIL, "may read com-grandlyon-enedis-", "_security")


def test_a_set_up_that_was_never_finished_is_a_fault(premises: Premises) -> None:
    with site(premises, WELCOME, NOBODY, CLOSED, *[CLOSED] * 5, MISSING) as (visit, _):
        assert_told(couchdb(visit), Level.FAIL, "no _users database", "`releve migrate`")


def test_working_as_administrator_is_more_than_is_needed(premises: Premises) -> None:
    with site(premises, WELCOME, NOBODY, CLOSED, *[CLOSED] * 5, OPEN, ADMIN) as (visit, _):
        assert_told(couchdb(visit), Level.WARN, "as its administrator", "`releve migrate`")


def test_a_wrong_password_is_told_without_repeating_it(premises: Premises) -> None:
    with site(premises, CLOSED) as (visit, _), pytest.raises(StoreUnavailable) as refusal:
        list(couchdb(visit))
    assert "refuses this user" in str(refusal.value)
    assert "pass" not in str(refusal.value).replace("password", "")


def test_a_web_page_is_not_taken_for_couchdb(premises: Premises) -> None:
    page = answer(200, "<html>", content_type="text/html")
    with site(premises, page) as (visit, _), pytest.raises(StoreUnavailable, match="does not answer as CouchDB does"):
        list(couchdb(visit))


def test_a_server_that_is_away_is_told_with_its_address(premises: Premises) -> None:
    with site(premises) as (visit, _):
        pass
    with pytest.raises(StoreUnavailable, match=r"CouchDB at http://127.0.0.1:\d+ does not answer \(ConnectionError\)"):
        list(couchdb(visit))


def test_each_of_the_five_databases_is_asked(premises: Premises) -> None:
    with site(premises, *[database()] * 5, MISSING, MISSING) as (visit, server):
        assert_told(measures(visit), Level.OK, "all 5 databases answer")
    asked = [path for _, path, _ in server.requests]
    assert len(set(asked)) == 7
    assert asked[5:] == [f"/com-grandlyon-enedis-packed-{series}" for series in ("daily", "load-curve")]


def test_documents_in_the_other_layout_are_a_fault(premises: Premises) -> None:
    filled = answer(200, {"db_name": "x", "doc_count": 3, "cluster": {}})
    with site(premises, MISSING, MISSING, database(), filled, layout="packed") as (visit, server):
        assert_told(measures(visit), Level.FAIL, "releve migrate-layout --to packed", "RELEVE_LAYOUT=plain")
    assert [path for _, path, _ in server.requests][2:] == [
        f"/com-grandlyon-enedis-{name}" for name in ("day", "minute")
    ]


def test_databases_not_made_yet_are_no_fault(premises: Premises) -> None:
    with site(premises, *[database()] * 3, *[MISSING] * 4) as (visit, _):
        assert_told(measures(visit), Level.OK, "2 of 5 databases are not made yet", "`releve migrate`")


def test_shards_that_are_not_as_told_are_named(premises: Premises) -> None:
    script = [database(q=2, n=3), *[database(q=8, n=3)] * 4, MISSING, MISSING]
    with site(premises, *script, couchdb_shards=8, couchdb_replicas=3) as (visit, _):
        assert_told(measures(visit), Level.WARN, "made with q=2, not 8", "fixed when a database is made")


def test_one_database_out_of_reach_fails_them_all(premises: Premises) -> None:
    with (
        site(premises, database(), FORBIDDEN) as (visit, _),
        pytest.raises(StoreUnavailable, match="refuses this user"),
    ):
        list(measures(visit))


def test_measures_in_sql_need_no_couchdb(premises: Premises) -> None:
    assert_told(couchdb(premises()), Level.OK, "not in use")
    assert_told(measures(premises()), Level.WARN, "not made yet")
