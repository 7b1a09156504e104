"""Recorded answers of GRDF and two years of a home's gas: each comes out as it was recorded, to the last decimal.

Skipped where the recordings are absent; they are never copied into the project. No answer of several days was ever
recorded, so the files of the home are dressed as answers, here and by the simulator.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import responses

from simulator.switches import CLIENT_ID, SimulatorOptions
from tests.support.factories import PretendSupplier, make_window_sync, memory_measures, window_job
from tests.support.fakes import DoctypeStores
from tests.support.gas_answers import absent, day, ndjson, period
from tests.support.installation import Installation
from tests.support.recorded_gas import ABSENT, DAILY, DAYS_FILE, GAS, PERIODS_FILE, PUBLISHED, number, recorded_gas
from tests.support.simulators import serve_in_background
from tests.support.supplier_server import BASE_URL, NOW, FakePermits, FakeTokenStore, three_hours_ahead
from tests.support.waiting import DEADLINE_S
from worker.clients.answer_shapes import find_deviations
from worker.clients.grdf.client import GrdfClient
from worker.clients.grdf.presets import ANSWER_SHAPES, PRESETS
from worker.clients.ndjson import read_values
from worker.clients.oauth import OAuthClient
from worker.clients.supplier_session import SupplierSession, Token, Transport
from worker.clients.tokens import ApplicationTokens
from worker.domain.answers import Json
from worker.domain.documents import ALL_KEYS, details_of, key_of
from worker.domain.parsing import parse
from worker.domain.series import Series, contract_series
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, split_window

METER = "09900000000001"
CONTRACT = contract_series("grdf")

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


def told_of(row: Mapping[str, str]) -> dict[str, Any]:
    return {
        "volume_brut": number(row["volume_m3"]),
        "coefficient": number(row["coefficient"]),
        "index": (number(row["index_start"]), number(row["index_end"])),
        "type_qualif_conso": row["quality"],
    }


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
    home = recorded_gas()
    records = {
        first: day(first, number(row["energy_kwh"]), **told_of(row)) if row["energy_kwh"] else absent(first)
        for first, row in home.days.items()
    }
    whole = DateWindow(min(home.days), max(home.days) + ONE_DAY)
    supplier = PretendSupplier(others={DAILY: serve(records, ends_on)})
    measures = sync(DAILY, supplier, whole, days_of_a_window)
    home.check_days(measures, "home1")
    again = make_window_sync(supplier, measures).sync_window(window_job(whole, DAILY))
    assert (again["created"], again["updated"], again["removed"]) == (0, 0, 0)


@pytest.mark.parametrize("days_of_a_window", [90, 400, 1830])
def test_the_billed_periods_are_stored_exactly(days_of_a_window: int) -> None:
    home = recorded_gas()
    records = {
        first: period(first, row["end"], number(row["energy_kwh"]), **told_of(row))
        for first, row in home.periods.items()
    }
    whole = DateWindow(min(home.periods), max(home.periods) + timedelta(days=31))
    supplier = PretendSupplier(others={PUBLISHED: serve(records, ends_on)})
    measures = sync(PUBLISHED, supplier, whole, days_of_a_window)
    home.check_periods(measures, "home1")
    again = make_window_sync(supplier, measures).sync_window(window_job(whole, PUBLISHED))
    assert (again["created"], again["updated"], again["unchanged"]) == (0, 0, 64)
    assert sorted(again["facts"]["open"])[0] == "2019-10-03"  # The period that the source lacks.


# -- The same home, served by the simulator


@contextmanager
def served(folder: Path, now: datetime, periods: str) -> Iterator[dict[str, str]]:
    """Serve the files of the folder as GRDF would at that moment, and yield the settings of an installation then.

    ``periods``: which an answer holds: those that begin in the days asked for, overlap them or lie within them.
    """
    with serve_in_background(SimulatorOptions(data_dir=folder, pretend_now=now)) as address:
        requests.post(
            f"{address}/__sim__/gas/switches", json={"periods": periods}, timeout=DEADLINE_S
        ).raise_for_status()
        yield {
            "grdf_url": address,
            "grdf_client_id": CLIENT_ID,
            "grdf_calls_per_second": "0",
            "pretend_now": now.isoformat(),
        }


@pytest.mark.parametrize(
    "store, periods",
    [
        ("sqlite", "begin"),
        pytest.param("couchdb", "overlap", marks=pytest.mark.rest),
        pytest.param("couchdb packed", "within", marks=pytest.mark.rest),
    ],
)
def test_the_home_served_by_the_simulator_is_stored_exactly(
    installation: Installation, tmp_path: Path, store: str, periods: str, request: pytest.FixtureRequest
) -> None:
    home, recordings = recorded_gas(), tmp_path / "recordings"
    recordings.mkdir()
    shutil.copy(DAYS_FILE, recordings / f"{METER}.gas_daily.csv.gz")
    shutil.copy(PERIODS_FILE, recordings / f"{METER}.gas_published.csv.gz")
    if store != "sqlite":
        layout = "packed" if store.endswith("packed") else "plain"
        installation = installation.but(measures_url=request.getfixturevalue("empty_couchdb_url"), layout=layout)
    with served(recordings, datetime(2021, 11, 26, 10, tzinfo=PARIS), periods) as settings:
        installation.releve("migrate", **settings)
        account = installation.query("accounts", "add", "--pce", METER, "--own", **settings)["account"]
        installation.releve("sync", account, "--inline", **settings)
        installation.releve("sync", "--history", account, "--inline", **settings)
        with installation.open(**settings) as parts:
            stored = parts.stores.measures.read(account, {DAILY.inputs: ALL_KEYS})[DAILY.inputs]
    # The last month is provisional until it has been billed.
    statuses = {key_of(document): (details_of(document) or {})["status"] for document in stored}
    provisional = [key for key, status in statuses.items() if status == "provisional"]
    assert {key[:7] for key in provisional} == {"2021-11"}
    assert statuses["2021-10-31"] == "final" and "2021-11-26" not in statuses
    with served(recordings, datetime(2021, 12, 9, 10, tzinfo=PARIS), periods) as settings:
        installation.releve("sync", account, "--inline", **settings)
        with installation.open(**settings) as parts:
            home.check_days(parts.stores.measures, account, final_before=date.max)
            home.check_periods(parts.stores.measures, account)
            # What becomes final as it was is no correction.
            assert parts.stores.registry.corrections.list_between(account, DAILY.inputs, "2017", "2022") == []
        again = installation.query("sync", account, "--inline", **settings)
        assert (again["created"], again["updated"], again["removed"]) == (0, 0, 0)
        ledgers = installation.query("explain", "--days", account, **settings)["series"]
        explained = installation.query("explain", account, str(ABSENT), **settings)
    assert ledgers[DAILY]["complete"] == len(home.measured)
    assert ledgers[PUBLISHED]["complete"] == home.billed_days
    assert explained["reason"] == "absent" and explained["series"][DAILY]["stored_kwh"] is None
