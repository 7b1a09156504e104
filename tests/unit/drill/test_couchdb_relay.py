"""The relay in front of CouchDB: each fault, as the store's own HTTP adapter sees it."""

from __future__ import annotations

import pytest

from drill.faults import CouchdbRelay, FaultKind
from tests.support.canned_server import answer, canned_server
from worker.errors import StoreUnavailable
from worker.stores.measures.couchdb import CouchServer

pytestmark = pytest.mark.sockets

DOCS = [{"_id": f"home:{number}"} for number in range(6)]
ALL = [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "fault, written, refused",
    [
        (None, ALL, {}),
        (FaultKind.COUCH_CONFLICTS, [0, 2, 4], dict.fromkeys([1, 3, 5], "conflict")),
        (FaultKind.COUCH_HALF, [0, 1, 2], dict.fromkeys([3, 4, 5], "internal_server_error")),
        (FaultKind.COUCH_ERRORS, [], None),
        (FaultKind.COUCH_STOPPED, [], None),
        (FaultKind.COUCH_CUT, ALL, None),
    ],
)
def test_each_fault_writes_its_part_and_tells_the_rest_row_by_row_or_looks_like_an_outage(
    fault: FaultKind | None, written: list[int], refused: dict[int, str] | None
) -> None:
    taken = answer(201, [{"ok": True, "id": f"home:{number}", "rev": "1-a"} for number in written])
    with canned_server(*[taken] * 3) as couchdb, CouchdbRelay(couchdb.url) as relay:
        relay.fault = fault
        server = CouchServer(relay.url, None, timeout_s=10)
        if refused is None:
            with pytest.raises(StoreUnavailable):
                server.request("POST", "homes", "_bulk_docs", body={"docs": DOCS})
        else:
            rows = server.request("POST", "homes", "_bulk_docs", body={"docs": DOCS}).body
            errors = {row["id"]: row["error"] for row in rows if "error" in row}
            assert errors == {f"home:{number}": error for number, error in refused.items()}
    documents = {document["_id"] for _, _, body in couchdb.requests for document in body["docs"]}
    assert documents == {f"home:{number}" for number in written}
