"""Checks of CouchDB with canned answers to strangers and to us."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.support.canned_server import CannedAnswer, CannedServer, answer, canned_server
from tests.support.registries import (
    add_ready,
    prepare_registry,
    record_outcome,
    registry_keys,
    switch_on,
)
from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.domain.documents import packed_doctype
from worker.domain.packing import PACKED_SERIES
from worker.domain.series import Doctype, Series
from worker.errors import StoreUnavailable
from worker.ops.check_results import CheckConnections, Level
from worker.ops.store_checks import check_couchdb, check_databases, check_measures
from worker.stores.measures.measure_store import Layout, database_name, doctypes_of
from worker.stores.registry import Registry

pytestmark = pytest.mark.sockets

WELCOME = answer(200, {"couchdb": "Welcome", "version": "3.5.2"})
NOBODY = answer(200, {"ok": True, "userCtx": {"name": None, "roles": []}})
ADMIN = answer(200, {"ok": True, "userCtx": {"name": None, "roles": ["_admin"]}})
MEMBER = answer(200, {"ok": True, "userCtx": {"name": "releve", "roles": []}})
CLOSED = answer(401, {"error": "unauthorized", "reason": "You are not a server admin."})
MISSING = answer(404, {"error": "not_found", "reason": "Database does not exist."})
OPEN = answer(200, [])
FORBIDDEN = answer(403, {"error": "forbidden", "reason": "You are not allowed to access this db."})


DATABASES = len(Doctype)


def database(**cluster: int) -> CannedAnswer:
    return answer(200, {"db_name": "x", "doc_count": 0, "cluster": {"q": 2, "n": 1, **cluster}})


@contextmanager
def site(
    build_connections: BuildConnections, *script: CannedAnswer, **settings: Any
) -> Iterator[tuple[CheckConnections, CannedServer]]:
    with canned_server(*script) as server:
        url = server.url.replace("http://", "couchdb+http://releve:pass%2Fword@")
        yield build_connections(measures_url=url, **settings), server


def test_a_closed_server_whose_set_up_is_finished_is_well(build_connections: BuildConnections) -> None:
    script = [WELCOME, NOBODY, CLOSED, *[CLOSED] * DATABASES, FORBIDDEN, MEMBER, *[database()] * DATABASES]
    with site(build_connections, *script) as (connections, server):
        assert_result(check_couchdb(connections), Level.OK, "CouchDB 3.5.2, setup finished, no anonymous access")
    paths = [path for _, path, _ in server.requests]
    assert paths[:3] == ["/", "/_session", "/_all_dbs"]
    with_password = [path for path, head in zip(paths, server.headers, strict=True) if "authorization" in head]
    assert with_password[:3] == ["/", "/_users", "/_session"], "a stranger has no password"


@pytest.mark.parametrize(
    "script, level, words",
    [
        ([ADMIN, OPEN, ADMIN], Level.FAIL, ("admin party", "[admins] in local.ini", "require_valid_user = true")),
        (
            [NOBODY, OPEN, *[CLOSED] * DATABASES, FORBIDDEN, MEMBER],
            Level.FAIL,
            ("can list its databases", "require_valid_user"),
        ),
        (
            [NOBODY, CLOSED, *[CLOSED] * (DATABASES - 1), database(), FORBIDDEN, MEMBER],
            Level.FAIL,
            ("can read com-grandlyon-", "_security"),
        ),
        (
            [NOBODY, *[CLOSED] * (1 + DATABASES), MISSING],
            Level.FAIL,
            ("the _users database is missing", "`releve migrate`"),
        ),
        (
            [NOBODY, *[CLOSED] * (1 + DATABASES), OPEN, ADMIN],
            Level.WARN,
            ("uses its administrator", "`releve migrate`"),
        ),
    ],
    ids=["admin party", "list of databases", "measures", "unfinished set-up", "administrator"],
)
def test_each_open_door_is_told_with_its_mend(
    build_connections: BuildConnections, script: list[CannedAnswer], level: Level, words: tuple[str, ...]
) -> None:
    with site(build_connections, WELCOME, *script, *[database()] * DATABASES) as (connections, _):
        assert_result(check_couchdb(connections), level, *words)


def test_a_version_with_a_known_fault_is_warned_of(build_connections: BuildConnections) -> None:
    welcome = answer(200, {"couchdb": "Welcome", "version": "3.5.1"})
    script = [welcome, NOBODY, CLOSED, *[CLOSED] * DATABASES, FORBIDDEN, MEMBER, *[database()] * DATABASES]
    with site(build_connections, *script) as (connections, _):
        assert_result(check_couchdb(connections), Level.WARN, "CouchDB 3.5.1", "update it to 3.5.2 or newer")


def test_a_wrong_password_is_told_without_repeating_it(build_connections: BuildConnections) -> None:
    with site(build_connections, CLOSED) as (connections, _), pytest.raises(StoreUnavailable) as refusal:
        list(check_couchdb(connections))
    assert "refuses this user" in str(refusal.value)
    assert "pass" not in str(refusal.value).replace("password", "")


def test_a_web_page_is_not_taken_for_couchdb_and_a_server_that_is_away_is_named(
    build_connections: BuildConnections,
) -> None:
    page = answer(200, "<html>", content_type="text/html")
    with (
        site(build_connections, page) as (connections, _),
        pytest.raises(StoreUnavailable, match="does not answer like CouchDB"),
    ):
        list(check_couchdb(connections))
    with pytest.raises(StoreUnavailable, match=r"CouchDB at http://127.0.0.1:\d+ can't be reached"):
        list(check_couchdb(connections))


def test_a_stranger_without_an_answer_is_not_taken_for_one_who_is_refused(build_connections: BuildConnections) -> None:
    for script in ([WELCOME], [WELCOME, NOBODY], [WELCOME, NOBODY, CLOSED]):
        with site(build_connections, *script) as (connections, _), pytest.raises(StoreUnavailable, match="CouchDB at"):
            list(check_couchdb(connections))


def test_each_of_the_databases_is_asked(build_connections: BuildConnections) -> None:
    with site(build_connections, *[database()] * DATABASES, *[MISSING] * len(PACKED_SERIES)) as (connections, server):
        assert_result(check_measures(connections), Level.OK, f"{DATABASES} of {DATABASES} databases answer")
    paths = [path for _, path, _ in server.requests]
    assert len(set(paths)) == DATABASES + len(PACKED_SERIES)
    assert paths[DATABASES:] == [f"/{database_name(packed_doctype(series))}" for series in PACKED_SERIES]


def test_documents_in_the_other_layout_are_a_fault(build_connections: BuildConnections) -> None:
    packed = len(doctypes_of(Layout.PACKED))
    filled = answer(200, {"db_name": "x", "doc_count": 3, "cluster": {}})
    with site(build_connections, *[MISSING] * packed, database(), filled, layout="packed") as (connections, server):
        assert_result(check_measures(connections), Level.FAIL, "releve migrate --layout packed", "RELEVE_LAYOUT=plain")
    assert [path for _, path, _ in server.requests][packed:] == [
        f"/com-grandlyon-enedis-{name}" for name in ("day", "minute")
    ]


def test_databases_not_made_yet_are_no_fault(build_connections: BuildConnections) -> None:
    script = [*[database()] * (DATABASES - 2), *[MISSING] * (2 + len(PACKED_SERIES))]
    with site(build_connections, *script * 2) as (connections, _):
        assert_result(check_measures(connections), Level.OK, f"{DATABASES - 2} of {DATABASES} databases answer")
        assert_result(check_databases(connections), Level.WARN, f"2 of {DATABASES} databases", "`releve migrate`")
    assert not Path(connections.settings.data_dir, "registry.db").exists(), "the doctor creates nothing"


DAY, MONTH, YEAR, CURVE, HOUR = (f"com-grandlyon-enedis-{name}" for name in ("day", "month", "year", "minute", "hour"))


@pytest.mark.parametrize(
    "layout, missing, level, words",
    [
        ("plain", [DAY, "com-grandlyon-enedis-contract"], Level.FAIL, f"stored in it: {DAY}: run `releve migrate`, "),
        ("plain", [YEAR], Level.FAIL, f"{YEAR}: run `releve migrate`, then `releve verify --all --repair`"),
        ("plain", [DAY, MONTH, YEAR, CURVE, HOUR], Level.FAIL, f"5 databases, the first is {CURVE}: run"),
        ("plain", ["com-grandlyon-enedis-contract"], Level.WARN, "1 of 19 databases do not exist yet"),
        ("packed", ["com-grandlyon-enedis-packed-daily"], Level.FAIL, "-packed-daily: run"),
        ("packed", ["com-grandlyon-enedis-packed-daily", "moved"], Level.WARN, "1 of "),
    ],
)
def test_a_missing_database_that_had_measures_is_a_fault(
    build_connections: BuildConnections, layout: str, missing: list[str], level: Level, words: str
) -> None:
    names = [*map(database_name, doctypes_of(Layout(layout)))]
    script = [MISSING if name in missing else database() for name in names]
    filled = answer(200, {"db_name": "x", "doc_count": 3, "cluster": {}})
    script += [filled if "moved" in missing else MISSING] * len(PACKED_SERIES)
    with site(build_connections, *script, layout=layout) as (connections, _):
        prepare_registry(connections.settings.data_dir)
        account_id = add_ready(registry := Registry(connections.registry.database, registry_keys()))
        switch_on(registry, account_id, Series.LOAD_CURVE)
        for series in (Series.DAILY, Series.LOAD_CURVE):
            record_outcome(registry, account_id, "run", series=series, last_day=date(2024, 7, 24), stored=True)
        assert_result(check_databases(connections), level, words)


def test_shards_that_are_not_as_told_are_named(build_connections: BuildConnections) -> None:
    script = [database(q=2, n=3), *[database(q=8, n=3)] * (DATABASES - 1), *[MISSING] * len(PACKED_SERIES)]
    with site(build_connections, *script, couchdb_shards=8, couchdb_replicas=3) as (connections, _):
        assert_result(check_measures(connections), Level.WARN, "created with q=2, not 8", "which can't be changed")


def test_one_database_out_of_reach_fails_them_all(build_connections: BuildConnections) -> None:
    with (
        site(build_connections, database(), FORBIDDEN) as (connections, _),
        pytest.raises(StoreUnavailable, match="refuses this user"),
    ):
        list(check_measures(connections))


def test_measures_in_sql_need_no_couchdb(build_connections: BuildConnections) -> None:
    assert_result(check_couchdb(build_connections()), Level.OK, "not used")
    assert_result(check_measures(build_connections()), Level.WARN, "does not exist yet")
