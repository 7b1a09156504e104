"""`releve migrate` on a CouchDB-protocol server."""

from __future__ import annotations

from datetime import date

import pytest

from tests.support.installation import Installation
from tests.support.parts import Parts
from tests.support.real_couchdb import real_couchdb_url
from tests.support.registries import add_ready, record_outcome
from worker.stores.measures import open_couchdb
from worker.stores.measures.measure_store import Layout, database_name, doctypes_of

DAY = "com-grandlyon-enedis-day"
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
    assert server.request("GET", database_name(next(iter(doctypes_of(layout))))).body["cluster"]["n"] == 1


def test_a_lost_database_is_told_everywhere_until_migrate_has_made_it_anew(
    installation: Installation, parts: Parts, empty_couchdb_url: str
) -> None:
    installation = installation.but(measures_url=empty_couchdb_url)
    server = open_couchdb(empty_couchdb_url, 30)
    assert server is not None

    def told() -> tuple[bool, str | None, bool]:
        (couchdb,) = [row for row in installation.run("doctor", "--json").rows if row["check"] == "couchdb"]
        status, metrics = installation.query("status"), installation.run("metrics", "--once").out
        return DAY in couchdb["told"], status["measures"], 'releve_up{part="measures"} 1.0' in metrics

    account_id = add_ready(parts.stores.registry)
    assert told() == (False, None, True), "there are none yet, and nothing was stored in them"
    assert "verify" not in installation.releve("migrate").out
    record_outcome(parts.stores.registry, account_id, "run", last_day=date(2024, 7, 24), stored=True)
    assert told() == (False, None, True)
    for name in (DAY, "com-grandlyon-enedis-contract"):
        assert server.request("DELETE", name).ok
    lost = f"missing, with all that was stored in it: {DAY}: run `releve migrate`, then `releve verify --all --repair`"
    assert told() == (True, lost, False)
    assert f"measures   {lost}" in installation.releve("status").out
    assert installation.releve("migrate").out.splitlines()[-1] == (
        "left    what was stored of daily is lost: `releve verify --all --repair` asks the suppliers for it again"
    )
    assert told() == (False, None, True)
    assert "verify" not in installation.releve("migrate").out
