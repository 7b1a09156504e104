"""Recorded answers and files of production, maximum power, contract and registers: each comes out as it was recorded.

Skipped where the recordings are absent; they are never copied into the project. No answer of registers was ever
recorded: they are made of the index files that Enedis lets customers download, in the form of its swagger of 2026.
"""

from __future__ import annotations

import csv
import gzip
import json
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import pytest
import responses

from tests.support.factories import (
    PretendSupplier,
    content,
    make_window_sync,
    memory_measures,
    window_job,
)
from tests.support.recordings import RECORDINGS, load_response, needs_recordings
from tests.support.supplier_server import BASE_URL, NOW, FakePermits, FakeTokenStore, three_hours_ahead
from worker.clients.answer_shapes import find_deviations
from worker.clients.enedis.client import EnedisClient
from worker.clients.enedis.presets import ANSWER_SHAPES, PRESETS
from worker.clients.oauth import OAuthClient
from worker.clients.supplier_session import SupplierSession, Token, Transport
from worker.clients.tokens import ApplicationTokens
from worker.domain.parsing import parse
from worker.domain.parsing.values import ParsedAnswer
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, DateWindow

DAY = DateWindow(date(2026, 9, 30), date(2026, 10, 1))

pytestmark = needs_recordings


def parsed(payload: Any, series: Series, first: str, days: int) -> ParsedAnswer:
    """Return the readings of an answer that is as expected and loses nothing."""
    assert find_deviations(payload, ANSWER_SHAPES[series]) == []
    start = date.fromisoformat(first)
    answer = parse(payload, series, DateWindow(start, start + days * ONE_DAY))
    assert (answer.dropped, answer.differing, answer.left_out) == (0, 0, 0)
    return answer


@pytest.mark.parametrize(
    "name, watt_hours",
    [
        ("consoapi_v5_200_daily_production_2023-04-01_2023-04-02.json", {"2023-04-01": 643}),
        ("dc2026_200_production_quotidienne_2026-09-29_2026-10-01.json", {"2026-09-29": 8263, "2026-09-30": 941}),
        ("consoapi_v5_200_daily_production_2023-04-01_2023-04-04.json", None),
    ],
)
def test_recorded_production_is_read_to_its_last_day(name: str, watt_hours: dict[str, int] | None) -> None:
    payload = load_response(name)
    expected = watt_hours or {row["date"]: int(row["value"]) for row in payload["interval_reading"]}
    answer = parsed(payload, Series.PRODUCTION_DAILY, min(expected), 4)
    assert {str(reading.start.date()): reading.amount // 1000 for reading in answer.readings} == expected


def test_a_recorded_curve_of_production_keeps_its_zeros() -> None:
    points = load_response("dataconnect_v4_PT30M_production_points_2020-06-18.fragment.json")
    payload = {"meter_reading": {"interval_reading": points}}
    answer = parsed(payload, Series.PRODUCTION_LOAD_CURVE, "2020-06-18", 1)
    assert [reading.amount for reading in answer.readings] == [int(point["value"]) * 500 for point in points]
    assert 0 in {reading.amount for reading in answer.readings}


def test_recorded_highest_power_has_its_instant() -> None:
    payload = load_response("consoapi_v5_200_consumption_max_power_2023-04-01_2023-04-02.json")
    (reading,) = parsed(payload, Series.MAX_POWER, "2023-04-01", 1).readings
    assert (reading.amount, reading.details) == (4_638_000, {"at": "2023-04-01T12:06:20+02:00"})


# -- Contracts, by way of the client


def ask_contract(preset: str, meter: str, bodies: list[tuple[int, Any]]) -> Any:
    """Return what the client makes of recorded answers."""
    endpoints = PRESETS[preset].endpoints(BASE_URL)
    permits, store = FakePermits(), FakeTokenStore(Token("access", None, three_hours_ahead()))
    transport = Transport(endpoints.base_url)
    tokens = ApplicationTokens(store, OAuthClient(endpoints, "client", "secret", transport, permits))
    client = EnedisClient(endpoints, SupplierSession(endpoints, transport, tokens, permits), lambda: NOW)
    calls = endpoints.preset.state_calls[Series.CONTRACT]
    with responses.RequestsMock() as mock:
        for call, (status, payload) in zip(calls, bodies, strict=True):
            url = BASE_URL + call.path.replace("{meter}", meter)
            mock.add(responses.GET, url, status=status, body=json.dumps(payload))
        return client.ask(Series.CONTRACT, meter, DAY).payload


def test_the_recorded_contract_of_v5() -> None:
    payload = ask_contract("enedis-v5", "99000000000055", [(200, load_response("med_v5_200_contracts.json"))])
    (reading,) = parsed(payload, Series.CONTRACT, "2026-09-30", 1).readings
    assert (str(reading.start.date()), reading.amount) == ("2026-09-30", 9_000_000)
    assert reading.details == {
        "tariff": "BTINFMUDT",
        "off_peak_hours": "HC (1H30-8H00;12H30-14H00)",
        "activated_on": "2006-05-24",
        "meter_status": "com",
        "segment": "C5",
    }
    assert "customer_id" not in json.dumps(payload)


def test_the_recorded_contract_of_2026_whose_metering_was_not_subscribed() -> None:
    bodies = [
        (200, load_response("dc2026_200_situation_contrat.json")),
        (200, load_response("dc2026_200_synth_contrat.json")),
        (403, load_response("dc2026_403_900908_not_subscribed.json")),
    ]
    payload = ask_contract("enedis-2026", "99999999999992", bodies)
    (reading,) = parsed(payload, Series.CONTRACT, "2026-09-30", 1).readings
    assert reading.amount == 12_000_000
    assert reading.details == {
        "tariff": "Tarif BT<=36kVA Moyenne Utilisation heures pleines heures creuses associées à deux saisons",
        "activated_on": "2018-08-31",
        "meter_status": "Communicant (ouvert aux services)",
        "segment": "C5",
    }
    kept = {"usage_point_id", "distribution_tariff", "subscribed_power", "segment"}
    assert set(payload["situation_contrat"][0]) == kept  # No person, address or telephone number, masked or not.


# -- Registers of index files


def index_file(number: str) -> tuple[Any, dict[date, int]]:
    """Return an index file as an answer of 2026, and the energies of its days from the total alone, in Wh.

    Each midnight is labelled by its date: files made before August 2024 write a summer midnight as 01:00.
    """
    (path,) = (RECORDINGS / "exports").glob(f"Enedis_Conso_Jour_*_{number}.csv.gz")
    with gzip.open(path, "rt", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file, delimiter=";"))
    header = next(row for row in rows if row and row[0] == "Horodate")
    names = next(row for row in rows if row and row[0] == "Periode")
    footer = dict(zip(names, rows[rows.index(names) + 1], strict=False))
    values = [dict(zip(header, row, strict=False)) for row in rows if row and row[0][:2] == "20"]

    def points(column: str) -> list[Any]:
        return [
            {"d": f"{row['Horodate'][:10]} 00:00:00", "v": int(row[column]), "iv": 0} for row in values if row[column]
        ]

    def calendar(kind: str, suffix: str) -> Any:
        periods = []
        for place in range(1, 11):
            period = footer.get(f"Identifiant classe temporelle{suffix} {place}")
            if period:
                column = footer[f"Cadran classe temporelle{suffix} {place}"]
                periods.append({"idClasseTemporelle": period, "codeCadran": column, "valeur": points(column)})
        return {"idCalendrier": footer[f"Identifiant calendrier {kind}"], "classeTemporelle": periods}

    calendars = [calendar("distributeur", " distributeur"), calendar("fournisseur", "")]
    item = {"grandeurMetier": "CONS", "grandeurPhysique": "EA", "unite": "Wh", "calendrier": calendars}
    item["cadranTotalisateur"] = {"codeCadran": "EAS T", "valeur": points("EAS T")}
    contexte = {"etapeMetier": "BRUT", "contexteReleve": "COL", "typeReleve": "AQ", "grandeur": [item]}
    totals = {date.fromisoformat(row["Horodate"][:10]): int(row["EAS T"]) for row in values}
    days = {day: totals[day + ONE_DAY] - total for day, total in totals.items() if day + ONE_DAY in totals}
    return {"idPrm": number, "grandeur": [], "contexte": [contexte]}, days


def daily_file(name: str) -> dict[date, int]:
    with gzip.open(RECORDINGS / f"{name}.daily.csv.gz", "rt", encoding="utf-8") as file:
        return {date.fromisoformat(row["date"]): int(row["wh"]) for row in csv.DictReader(file) if row["wh"]}


CASES = [
    ("99000000000011", "FC000050", {"BUHC", "BUHP", "BCHC", "BCHP", "RHC", "RHP"}, 198, "household_a"),
    ("99000000000077", "FC000040", {"HC", "HP"}, 94, "household_g"),
]


@pytest.mark.parametrize("number, calendar, periods, midnights, household", CASES)
@pytest.mark.parametrize("told", ["both", "without the total", "distributor's alone"])
def test_the_registers_of_an_index_file_are_the_daily_series_to_the_wh(
    number: str, calendar: str, periods: set[str], midnights: int, household: str, told: str
) -> None:
    payload, days = index_file(number)
    item = payload["contexte"][0]["grandeur"][0]
    if told == "without the total":
        del item["cadranTotalisateur"]
    if told == "distributor's alone":
        del item["cadranTotalisateur"], item["calendrier"][1]
    first = min(days)
    readings = parsed(payload, Series.REGISTERS, str(first), 400).readings
    assert len(readings) == midnights
    daily = daily_file(household)
    for before, after in pairwise(readings):
        day = before.start.date()
        assert after.start.date() == day + ONE_DAY
        energy = (after.amount - before.amount) // 1000
        assert energy == days[day]
        if household == "household_a":  # The other home's own series was merged from several files by its owner.
            assert energy == daily[day]
        elif day in daily:
            assert abs(energy - daily[day]) <= 1
        assert before.details and after.details
        registers = before.details["registers"]
        assert sum(after.details["registers"][name] - registers[name] for name in registers) == energy
        if told != "distributor's alone":
            assert (before.details["calendar"], set(registers)) == (calendar, periods)


def test_an_index_file_is_stored_as_documents_with_their_registers() -> None:
    payload, days = index_file("99000000000077")
    measures = memory_measures()
    supplier = PretendSupplier(others={Series.REGISTERS: payload})
    window = DateWindow(min(days), max(days) + timedelta(days=2))
    sync = make_window_sync(supplier, measures)
    result = sync.sync_window(window_job(window, Series.REGISTERS))
    assert (result["created"], result["facts"]["dropped"]) == (94, 0)
    assert content(measures)[Doctype.INDEX][str(min(days))] == 22756.641
    again = sync.sync_window(window_job(window, Series.REGISTERS))
    assert (again["created"], again["updated"]) == (0, 0)
