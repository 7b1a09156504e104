"""Benchmark of storage: bytes of an account and year in each layout, and requests of a first and of an unchanged sync.

A year of half-hours and daily values is stored night by night, each with its look-back, through the real window sync.
The figures are the bytes of the SQLite file by table (plain only), the bytes of the documents as JSON, which CouchDB
receives, and the requests on the wire to the CouchDB-protocol server of the tests.  With RELEVE_TEST_COUCHDB_URL, of an
empty CouchDB, they are also the size of its databases after compaction.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

from common import Json, machine

from config.settings import Settings
from drill.embedded_redis import EmbeddedRedis
from simulator.switches import SimulatorOptions
from tests.support import servers
from tests.support.counting_proxy import CountingProxy
from tests.support.factories import (
    PretendSupplier,
    Row,
    end_labels,
    make_window_sync,
    serving_curves,
    serving_days,
    window_job,
)
from tests.support.parts import Parts
from tests.support.real_couchdb import real_couchdb_url
from tests.support.simulators import serve_in_background
from worker.clients.enedis import ENEDIS
from worker.domain.documents import ALL_KEYS
from worker.domain.series import USUAL_SERIES, Doctype
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, plan_look_back
from worker.runtime.sync_parts import build_inline
from worker.stores.measures import open_couchdb, open_measures
from worker.stores.measures.couchdb import CouchDatabase
from worker.stores.measures.measure_store import Document, Layout, database_name, doctypes_of

YEAR: Final = 2023
ACCOUNT: Final = "k9xgwnz9gvp2"
_REVISION: Final = "1-967a00dff5e02add41819138abb3284d"  # CouchDB's revisions have this length.
_PRETEND_NOW: Final = datetime(2024, 7, 25, 9, tzinfo=PARIS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=365, help="of the year (default %(default)s: all)")
    args = parser.parse_args()
    result: Json = {"benchmark": "storage", "machine": machine(), "nights": args.nights, "layouts": {}}
    for layout in Layout:
        print(f"storage: {layout.value} …", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="releve-benchmark-") as folder:
            result["layouts"][layout.value] = measure(Path(folder), layout, args.nights)
    print(json.dumps(result, indent=1))
    return 0


def measure(folder: Path, layout: Layout, nights: int) -> Json:
    file = folder / "measures.db"
    with servers.couchdb_server(direct=True) as couchdb:  # Only CouchDB has packs.
        url = f"sqlite:///{file}" if layout is Layout.PLAIN else couchdb
        started_at = time.perf_counter()
        store_nights(url, layout, nights)
        seconds = time.perf_counter() - started_at
        figures: Json = {
            "nights_per_second": round(nights / seconds, 1),
            "documents": documents_of(url, layout),
            "requests": requests_of(folder, layout),
        }
        if real_couchdb_url():
            if url != couchdb:
                store_nights(couchdb, layout, nights)
            figures["couchdb_bytes"] = couchdb_bytes(couchdb, layout)
    if layout is Layout.PLAIN:
        figures["sqlite_bytes"] = sqlite_bytes(file)
        figures["sqlite_mb"] = round(sum(figures["sqlite_bytes"].values()) / 1e6, 3)
    figures["json_mb"] = round(sum(kind["json_bytes"] for kind in figures["documents"].values()) / 1e6, 3)
    return figures


def store_nights(url: str, layout: Layout, nights: int) -> None:
    """Store so many nights of the year, each with its look-back as a real night has it."""
    days = [date(YEAR, 1, 1) + number * ONE_DAY for number in range(nights)]
    random_source = random.Random(2023)
    curve = {day: random_curve(day, random_source) for day in days}
    daily = {day: sum(int(row[1]) for row in rows) // 2 for day, rows in curve.items()}
    supplier = PretendSupplier(daily=serving_days(daily), curve=serving_curves(curve))
    measures, now = open_measures(url, layout=layout), [datetime(YEAR, 1, 1, tzinfo=UTC)]
    window_sync = make_window_sync(supplier, measures, now=lambda: now[0])
    for day in days:
        now[0] = datetime(day.year, day.month, day.day, 8, 31, 2, tzinfo=PARIS) + timedelta(days=1)
        for series in USUAL_SERIES:
            look_back = plan_look_back(day + ONE_DAY, series)
            window = DateWindow(max(look_back.start, days[0]), look_back.end)
            window_sync.sync_window(window_job(window, series, ACCOUNT))


def random_curve(day: date, chance: random.Random) -> list[Row]:
    return [[label, str(round(chance.lognormvariate(5.8, 0.8)))] for label in end_labels(day)]


def documents_of(url: str, layout: Layout) -> Json:
    """Count the documents of each kind, and their bytes as JSON with ids and revisions as CouchDB has them."""
    figures = {}
    for kind, read in readers_of(url, layout).items():
        documents = [{**document, "_rev": _REVISION} for document in read()]
        texts = [json.dumps(document, separators=(",", ":"), ensure_ascii=False) for document in documents]
        figures[kind] = {"count": len(texts), "json_bytes": sum(len(text.encode()) for text in texts)}
    return figures


def readers_of(url: str, layout: Layout) -> dict[str, Callable[[], list[Document]]]:
    """Return by doctype what reads the account's documents, which are packs in the packed layout."""
    if layout is Layout.PACKED:
        server = open_couchdb(url, 60)
        assert server is not None
        databases = {name: CouchDatabase(server, name) for name in doctypes_of(layout)}
        return {name: partial(database.read, ACCOUNT, *ALL_KEYS) for name, database in databases.items()}
    measures = open_measures(url)

    def read(doctype: Doctype) -> list[Document]:
        return measures.read(ACCOUNT, {doctype: ALL_KEYS})[doctype]

    return {doctype.full_name: partial(read, doctype) for doctype in Doctype}


def sqlite_bytes(file: Path) -> dict[str, int]:
    """Return the bytes of each table's pages after VACUUM."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("VACUUM")
        rows = connection.execute("SELECT name, SUM(pgsize) FROM dbstat GROUP BY name").fetchall()
    return {name: size for name, size in rows if not name.startswith("sqlite_")}


def couchdb_bytes(url: str, layout: Layout) -> Mapping[str, Any]:
    """Return the size of each file and of the live data in it, after compaction."""
    figures = {}
    server = open_couchdb(url, 60)
    assert server is not None
    for kind in doctypes_of(layout):
        server.request("POST", database_name(kind), "_compact", body={})
        while (facts := server.request("GET", database_name(kind)).body).get("compact_running"):
            time.sleep(0.2)
        figures[kind] = facts["sizes"]
    return figures


def requests_of(folder: Path, layout: Layout) -> Json:
    """Count the requests of a first sync of 3 152 documents on an empty server, and of a sync without news."""
    with ExitStack() as opened:
        try:
            couchdb = opened.enter_context(servers.couchdb_server())
        except servers.NotInstalled as missing:
            return {"skipped": str(missing)}
        proxy = opened.enter_context(CountingProxy(couchdb))
        redis = opened.enter_context(EmbeddedRedis(folder))
        supplier = opened.enter_context(serve_in_background(SimulatorOptions(pretend_now=_PRETEND_NOW)))
        settings = {
            "data_dir": folder / "house",
            "redis_url": redis.url,
            "measures_url": proxy.url,
            "layout": layout.value,
        }
        settings |= {"enedis_url": supplier, "pretend_now": _PRETEND_NOW, "calls_per_second": 0, "calls_per_hour": 0}
        parts = opened.enter_context(Parts(Settings.from_env(_env_file=None, **settings)))
        account, _ = parts.stores.registry.accounts.add(ENEDIS.name, "12345678901299", parts.stores.now())
        inline = build_inline(parts.stores, parts.sync, print_line=lambda line: print(line, file=sys.stderr))
        created = sum(report["created"] for report in inline.run_history(account.id))
        first_requests = len(proxy.requests)
        proxy.clear()
        list(inline.run_look_back(account.id))
        return {"documents": created, "first_sync": first_requests, "unchanged_sync": len(proxy.requests)}


if __name__ == "__main__":
    sys.exit(main())
