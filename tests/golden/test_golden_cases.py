"""Every golden case, through each generation's answer and into each store: numbers in, documents out.

A run has ``readings`` (or ``gen``, which makes a day of them), or ``bodies``: the answer of each generation that has
the series, with the ``window`` that was asked for. "Made by hand" is a case that no recorded answer shows.

A run of gas has ``gas``: rows of a day (day, kWh) or of a billed period (first day, end, kWh), each with the fields
that differ from those of ``tests.support.gas_answers``; ``form`` says how the records stand in the stream.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support import gas_answers
from tests.support.factories import (
    NOW,
    MemoryRecorder,
    PretendSupplier,
    answer_2026,
    generated_day,
    make_window_sync,
    memory_measures,
    v5_answer,
    window_job,
)
from tests.support.fakes import ByDoctype
from worker.clients.ndjson import read_values
from worker.domain.documents import Entry, details_of, to_document
from worker.domain.series import Doctype, Period, Series
from worker.domain.windows import DateWindow
from worker.stores.measures import open_measures
from worker.stores.measures.measure_store import Document

CASES = json.loads((Path(__file__).parent / "cases.json").read_text(encoding="utf-8"))
GENERATIONS = {"v5": lambda rows, series: v5_answer(rows), "2026": answer_2026}
FORMS = {"lines": "%s\n", "glued": "%s", "folded": "%s\n\n"}


# What a store itself could get wrong: the fold of autumn, another step, a removal, intervals, production, an index.
ON_EACH_STORE = {"G21", "G25", "G24", "G55", "G41", "G44"}
STORES = {
    "memory": (),
    "sqlite": (),
    "postgresql": (pytest.mark.sockets,),
    "couchdb": (pytest.mark.sockets, pytest.mark.couchdb),
}


def all_cases() -> Iterator[Any]:
    """Each case in each generation that has its series, in memory; on the other stores the set of every change has six.

    These six are of the newest generation.
    """
    for case, (store, marks) in itertools.product(CASES, STORES.items()):
        generations = ["adict"] if "gas" in case["runs"][0] else list(case["runs"][0].get("bodies", GENERATIONS))
        for generation in generations:
            in_every_change = store == "memory" or (case["id"] in ON_EACH_STORE and generation == generations[-1])
            yield pytest.param(
                case,
                generation,
                store,
                marks=marks if in_every_change else (*marks, pytest.mark.rest),
                id=f"{case['id']}-{generation}-{store}",
            )


@pytest.fixture
def measures(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ByDoctype]:
    if request.param == "memory":
        yield memory_measures()
        return
    urls = {"postgresql": "shared_postgres", "couchdb": "couchdb_url"}
    url = (
        request.getfixturevalue(urls[request.param])
        if request.param in urls
        else f"sqlite:///{tmp_path / 'measures.db'}"
    )
    with closing(open_measures(url)) as store:
        yield ByDoctype(store)


@pytest.mark.parametrize("case, generation, measures", list(all_cases()), indirect=["measures"])
def test_a_golden_case_gives_its_documents(case: dict[str, Any], generation: str, measures: ByDoctype) -> None:
    series = Series(case.get("series") or {"daily": "daily", "load": "load_curve"}[case["api"]])
    home = "golden" + uuid.uuid4().hex[:12]
    for doctype, loads in case.get("before", {}).items():
        period = Doctype(doctype)
        entries = [Entry(stored_key(key, period), round(load * 1_000_000)) for key, load in loads.items()]
        assert measures[period].write([to_document(home, period, entry, NOW) for entry in entries]) == []

    recorder, asked = MemoryRecorder(), 0
    for run in case["runs"]:
        asked = run.get("asked", asked + 1)
        if "gas" in run:
            answer, window = gas_answer(run["gas"], run.get("form", "lines"), series), DateWindow.parse(run["window"])
        elif "bodies" in run:
            answer, window = run["bodies"][generation], DateWindow.parse(run["window"])
        else:
            rows = generated_day(**with_date(run["gen"])) if "gen" in run else run["readings"]
            answer, window = GENERATIONS[generation](rows, series), window_of(rows)
        supplier = PretendSupplier(others={series: answer})
        asked_at = NOW + timedelta(minutes=asked - len(case["runs"]))
        asking = make_window_sync(supplier, measures, recorder=recorder, now=lambda asked_at=asked_at: asked_at)
        window_sync = make_window_sync(supplier, measures, recorder=recorder)
        fetched = asking.fetch(window_job(window, series, home))
        report = window_sync.store(window_sync.aggregate(window_sync.filter_known(fetched)))
        assert [report["created"], report["updated"]] == run["writes"]
        assert report["removed"] == run.get("removed", 0)
        assert report["left_out"] + report["facts"]["left_out"] == run.get("left_out", 0)
        assert len(report["facts"]["set_aside"]) == run.get("set_aside", 0)
        assert report["facts"]["dropped"] == run.get("dropped", 0) or "gas" not in run
        if "corrections" in run:
            corrected = recorder.corrections[-len(run["corrections"]) :] if run["corrections"] else recorder.corrections
            assert [[entry.key, entry.replaced_amount, entry.amount] for entry in corrected] == run["corrections"]

        stored = {period: documents(measures, home, period) for period in Doctype}
        for doctype, expected in run["expect"].items():
            assert loads_of(stored[Doctype(doctype)]) == pytest.approx(expected, abs=1e-9)
        for doctype, expected in run.get("expect_some", {}).items():
            assert {key: loads_of(stored[Doctype(doctype)])[key] for key in expected} == pytest.approx(expected)
        for doctype, absent in run.get("absent", {}).items():
            assert not set(absent) & set(stored[Doctype(doctype)])
        for doctype, details in run.get("details", {}).items():
            assert {key: details_of(document) for key, document in stored[Doctype(doctype)].items()} == details
        steps = {key: document["step"] for key, document in stored[series.inputs].items() if "step" in document}
        if "steps" in run:
            assert steps == run["steps"]
        for doctype, number in run.get("count", {}).items():
            assert len(stored[Doctype(doctype)]) == number
        if "total" in run:
            for doctype in series.doctypes:
                assert sum(loads_of(stored[doctype]).values()) == pytest.approx(run["total"])


def gas_answer(rows: list[Any], form: str, series: Series) -> Any:
    """Return the payload that a stream of these records is read as."""
    records = []
    for row in rows:
        fields = row[-1] if isinstance(row[-1], dict) else {}
        values = row[:-1] if fields else row
        if not series.has_intervals and values[1:] == ["absent"]:
            records.append(gas_answers.absent(values[0]))
        else:
            dress = gas_answers.period if series.has_intervals else gas_answers.day
            records.append(dress(*values, **fields))
    text = "".join(FORMS[form] % json.dumps(item, indent=2 if form == "folded" else None) for item in records)
    streamed = read_values([text.encode()])
    assert streamed.fault is None
    return {"records": list(streamed.values)}


def documents(measures: ByDoctype, home: str, period: Doctype) -> dict[str, Document]:
    """By compact key: read off the fields alone, as the app would."""
    return {compact_key(document, period): document for document in measures[period].read(home, "0", "~")}


def compact_key(document: Document, period: Doctype) -> str:
    parts = {
        Period.YEAR: "{year:04}",
        Period.MONTH: "{year:04}-{month:02}",
        Period.DAY: "{year:04}-{month:02}-{day:02}",
        Period.HOUR: "{year:04}-{month:02}-{day:02}T{hour:02}",
        Period.MINUTE: "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}",
    }
    return parts[period.period].format(**document) + ("~1" if document.get("fold") == 1 else "")


def loads_of(stored: dict[str, Document]) -> dict[str, float]:
    return {key: document["load"] for key, document in stored.items()}


def stored_key(compact: str, period: Doctype) -> str:
    """The key of the store for a compact key of winter: all ``before`` documents with an hour are."""
    if period not in (Doctype.MINUTE, Doctype.HOUR):
        return compact
    local = datetime.fromisoformat(compact if ":" in compact else f"{compact}:00")
    return (local - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%MZ")


def window_of(rows: list[Any]) -> DateWindow:
    """All days that a step could start in, from the labels as they stand."""
    days = sorted(date.fromisoformat(str(row[0])[:10]) for row in rows) or [date(2024, 4, 1)]
    return DateWindow(days[0] - timedelta(days=1), days[-1] + timedelta(days=1))


def with_date(gen: dict[str, Any]) -> dict[str, Any]:
    return {"day" if name == "date" else name: value for name, value in gen.items()}
