"""`releve migrate` on a CouchDB-protocol server."""

from __future__ import annotations

import pytest

from tests.support.installation import Installation
from tests.support.real_couchdb import real_couchdb_url
from worker.stores.measures import open_couchdb
from worker.stores.measures.measure_store import Layout, database_name, doctypes_of

NIGHTLY = {
    Layout.PLAIN: {"month", "year", "production.month", "production.year"},
    Layout.PACKED: {"packed-daily", "packed-production-daily"},
}


@pytest.mark.parametrize("layout", Layout)
def test_only_what_is_written_anew_every_night_gets_a_limit_of_revisions(
    installation: Installation, empty_couchdb_url: str, layout: Layout
) -> None:
    installation = installation.but(measures_url=empty_couchdb_url, layout=layout.value, couchdb_replicas="1")
    first, again = installation.query_rows("migrate"), installation.query_rows("migrate", couchdb_revisions="20")
    steps = [step["done"] for report in (first, again) for step in report if "old revisions" in step["what"]]
    if real_couchdb_url() is None:
        assert steps == ["left", "left"]  # The stand-in has no such limit.
        return
    assert steps == ["changed", "changed"]
    server = open_couchdb(empty_couchdb_url, 30)
    assert server is not None
    limits = {name: server.request("GET", database_name(name), "_revs_limit").body for name in doctypes_of(layout)}
    nightly = {f"com.grandlyon.enedis.{name}" for name in NIGHTLY[layout]}
    assert limits == {name: 20 if name in nightly else 1000 for name in limits}
    assert server.request("GET", database_name(doctypes_of(layout)[0])).body["cluster"]["n"] == 1
