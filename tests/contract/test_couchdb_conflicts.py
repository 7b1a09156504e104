"""Documents with a second revision that CouchDB keeps beside the winner, as a late replication leaves it."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

import pytest

from tests.contract.conftest import couch_databases
from worker.domain.documents import ALL_KEYS, Entry, to_document
from worker.domain.series import Doctype
from worker.stores.measures import open_couchdb, open_measures


@pytest.mark.parametrize("layout, doctype", [("plain", "day"), ("packed", "packed-daily")])
def test_what_was_erased_does_not_come_back_as_an_older_revision(couchdb_url: str, layout: str, doctype: str) -> None:
    day = to_document("acc", Doctype.DAY, Entry("2024-01-01", 1_000_000), datetime(2024, 3, 1, tzinfo=UTC))
    with (
        couch_databases(couchdb_url) as (url, prefix),
        closing(open_measures(url, prefix=prefix, layout=layout)) as measures,
    ):
        measures.write({Doctype.DAY: [day]})
        server, database = open_couchdb(url, 30), f"{prefix}com-grandlyon-enedis-{doctype}"
        assert server is not None
        [row] = server.request("GET", database, "_all_docs", include_docs="true").body["rows"]
        older = {**row["doc"], "_rev": "1-0"}
        assert server.request("POST", database, "_bulk_docs", body={"docs": [older], "new_edits": False}).ok
        measures.erase("acc")
        assert measures.read("acc", {Doctype.DAY: ALL_KEYS}) == {Doctype.DAY: []}
