"""Recorded answers of GRDF and two years of a home's gas: each comes out as it was recorded, to the last decimal.

Skipped where the recordings are absent; they are never copied into the project. No answer of several days was ever
recorded, so the files of the home are dressed as answers.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
import responses

from tests.support.factories import PretendSupplier, content, make_window_sync, memory_measures, window_job
from tests.support.fakes import DoctypeStores
from tests.support.gas_answers import absent, day, ndjson, period
from tests.support.recordings import RECORDINGS
from tests.support.supplier_server import BASE_URL, NOW, FakePermits, FakeTokenStore, three_hours_ahead
from worker.clients.answer_shapes import find_deviations
from worker.clients.grdf.answers import ANSWER_SHAPES
from worker.clients.grdf.client import GrdfClient
from worker.clients.grdf.presets import PRESETS
from worker.clients.ndjson import read_values
from worker.clients.oauth import OAuthClient
from worker.clients.session import SupplierSession, Transport
from worker.clients.tokens import ApplicationTokens, Token
from worker.domain.measures.answers import Json
from worker.domain.measures.documents import ALL_KEYS, details_of, key_of
from worker.domain.measures.readings import ONE_DAY, DateWindow
from worker.domain.measures.series import Period, Series, contract_series, daily_of, find_doctype, intervals_of
from worker.domain.measures.windows import split_window
from worker.domain.parsing.parsers import parse

GAS = RECORDINGS / "gas"
METER = "09900000000001"
DAILY, PUBLISHED, CONTRACT = daily_of(supplier="grdf"), intervals_of("grdf"), contract_series("grdf")
QUALITIES = {"Mesuré": "measured", "Estimé": "estimated", "Corrigé": "corrected"}

pytestmark = pytest.mark.skipif(not GAS.is_dir(), reason="the recordings are not here")


def ask(series: Series, window: DateWindow, **bodies: bytes) -> Json:
    """Return the payload that the client makes of recorded bodies, by the last part of their paths."""
    endpoints = PRESETS["grdf-adict"].endpoints(BASE_URL)
    permits, store = FakePermits(), FakeTokenStore(Token("access", None, three_hours_ahead()))
    transport = Transport(endpoints.base_url, token_url=endpoints.token_url)
    tokens = ApplicationTokens(store, OAuthClient(endpoints, "client", "secret", transport, permits))
    client = GrdfClient(endpoints, SupplierSession(endpoints, transport, tokens, permits), lambda: NOW)
    with responses.RequestsMock() as mock:
        for path, body in bodies.items():
            mock.add(responses.GET, f"{endpoints.base_url}/pce/{METER}/{path}", body=body)
        return client.ask(series, METER, window).payload


def recorded(name: str) -> bytes:
    return (GAS / name).read_bytes()


def test_the_recorded_day() -> None:
    window = DateWindow(date(2021, 8, 16), date(2021, 8, 19))
    body = recorded("adict_donnees_consos_informatives.ndjson")
    payload = ask(DAILY, window, donnees_consos_informatives=body)
    assert find_deviations(payload, ANSWER_SHAPES[DAILY]) == []
    (reading,) = parse(payload, DAILY, window).clip_to(window).readings
    assert (str(reading.start.date()), reading.amount) == ("2021-08-16", 8_000_000)
    assert reading.details == {
        "volume": 1,
        "coefficient": 11.16,
        "index_end": 1325,
        "quality": "measured",
        "status": "provisional",
    }


def test_the_recorded_period() -> None:
    window = DateWindow(date(2021, 1, 1), date(2021, 1, 23))
    body = recorded("adict_donnees_consos_publiees.ndjson")
    payload = ask(PUBLISHED, window, donnees_consos_publiees=body)
    assert find_deviations(payload, ANSWER_SHAPES[PUBLISHED]) == []
    (reading,) = parse(payload, PUBLISHED, window).clip_to(window).readings
    assert (str(reading.start.date()), reading.amount) == ("2021-01-01", 2_032_000_000)
    assert reading.details == {
        "ends_on": "2021-01-23",
        "volume": 180,
        "coefficient": 11.29,
        "index_start": 771,
        "index_end": 951,
        "quality": "measured",
        "status": "final",
    }


def test_the_recorded_contract_without_its_address() -> None:
    window = DateWindow(date(2024, 7, 24), date(2024, 7, 25))
    payload = ask(
        CONTRACT,
        window,
        donnees_techniques=recorded("adict_donnees_techniques.json"),
        donnees_contractuelles=recorded("adict_donnees_contractuelles.json"),
    )
    assert find_deviations(payload, ANSWER_SHAPES[CONTRACT]) == []
    (reading,) = parse(payload, CONTRACT, window).readings
    assert (reading.amount, reading.details) == (
        9_426_000_000,
        {"frequency": "1M", "transport_tariff": "T2", "activated_on": "2020-12-07"},
    )
    assert not any(word in str(payload) for word in ("LAMBDA", "99099", "DUMMY", METER))


# -- A home


def rows_of(name: str) -> Iterator[dict[str, str]]:
    with gzip.open(GAS / name, "rt", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def number(text: str) -> Any:
    return None if text == "" else float(text) if "." in text else int(text)


def told_of(row: dict[str, str]) -> dict[str, Any]:
    return {
        "volume_brut": number(row["volume_m3"]),
        "coefficient": number(row["coefficient"]),
        "index": (number(row["index_start"]), number(row["index_end"])),
        "type_qualif_conso": row["quality"],
    }


def details(row: dict[str, str], **others: Any) -> dict[str, Any]:
    names = {
        "volume_m3": "volume",
        "coefficient": "coefficient",
        "index_start": "index_start",
        "index_end": "index_end",
    }
    numbers = {ours: number(row[theirs]) for theirs, ours in names.items() if row[theirs] != ""}
    return {**others, **numbers, "quality": QUALITIES[row["quality"]]}


def serve(records: dict[date, Json], end_of: Callable[[Json], date]) -> Callable[[DateWindow], Json]:
    """Return a supplier of the records that overlap a window, by way of bytes."""

    def answer(window: DateWindow) -> Json:
        chosen = [item for first, item in records.items() if first < window.end and end_of(item) > window.start]
        content_of_stream = ndjson(chosen)
        chunks = [content_of_stream[place : place + 1000] for place in range(0, len(content_of_stream), 1000)]
        return {"records": list(read_values(chunks).values)} if chosen else None

    return answer


def ends_on(item: Json) -> date:
    return date.fromisoformat(item["consommation"]["date_fin_consommation"][:10])


def sync(series: Series, supplier: PretendSupplier, whole: DateWindow, days: int) -> DoctypeStores:
    measures = memory_measures()
    window_sync = make_window_sync(supplier, measures)
    for window in split_window(whole, days):
        window_sync.sync_window(window_job(window, series))
    return measures


@pytest.mark.parametrize("days_of_a_window", [31, 365, 1096])
def test_two_years_of_days_are_stored_exactly(days_of_a_window: int) -> None:
    rows = {date.fromisoformat(row["gas_day"]): row for row in rows_of("gas_home.days.csv.gz")}
    assert len(rows) == 732
    records = {
        first: day(first, number(row["energy_kwh"]), **told_of(row)) if row["energy_kwh"] else absent(first)
        for first, row in rows.items()
    }
    whole = DateWindow(min(rows), max(rows) + ONE_DAY)
    supplier = PretendSupplier(others={DAILY: serve(records, ends_on)})
    measures = sync(DAILY, supplier, whole, days_of_a_window)
    measured = {first: row for first, row in rows.items() if row["energy_kwh"]}
    assert set(rows) - set(measured) == {date(2021, 8, 10)}
    stored = {key_of(document): document for document in measures[DAILY.inputs].read("home1", *ALL_KEYS)}
    assert {key: details_of(document) for key, document in stored.items()} == {
        str(first): details(row, status="provisional") for first, row in measured.items()
    }
    sums: dict[Period, dict[str, Decimal]] = {period_: defaultdict(Decimal) for period_ in Period}
    for first, row in measured.items():
        for period_, length in ((Period.DAY, 10), (Period.MONTH, 7), (Period.YEAR, 4)):
            sums[period_][str(first)[:length]] += Decimal(row["energy_kwh"])
    loads = content(measures)
    for period_ in (Period.DAY, Period.MONTH, Period.YEAR):
        doctype = find_doctype(DAILY, period_)
        assert doctype is not None
        assert {key: Decimal(repr(load)) for key, load in loads[doctype].items()} == sums[period_]
    again = make_window_sync(supplier, measures).sync_window(window_job(whole, DAILY))
    assert (again["created"], again["updated"], again["removed"]) == (0, 0, 0)


@pytest.mark.parametrize("days_of_a_window", [90, 400, 1830])
def test_the_billed_periods_are_stored_exactly(days_of_a_window: int) -> None:
    rows = {date.fromisoformat(row["start"]): row for row in rows_of("gas_home.published.csv.gz")}
    assert len(rows) == 64
    records = {
        first: period(first, row["end"], number(row["energy_kwh"]), **told_of(row)) for first, row in rows.items()
    }
    whole = DateWindow(min(rows), max(rows) + timedelta(days=31))
    supplier = PretendSupplier(others={PUBLISHED: serve(records, ends_on)})
    measures = sync(PUBLISHED, supplier, whole, days_of_a_window)
    stored = {key_of(document): document for document in measures[PUBLISHED.inputs].read("home1", *ALL_KEYS)}
    assert {key: (Decimal(repr(document["load"])), details_of(document)) for key, document in stored.items()} == {
        str(first): (Decimal(row["energy_kwh"]), details(row, ends_on=row["end"], status="final"))
        for first, row in rows.items()
    }
    again = make_window_sync(supplier, measures).sync_window(window_job(whole, PUBLISHED))
    assert (again["created"], again["updated"], again["unchanged"]) == (0, 0, 64)
    assert sorted(again["facts"]["open"])[0] == "2019-10-03"  # The period that the source lacks.
