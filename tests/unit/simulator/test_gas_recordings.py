"""Recorded gas homes: files of the data folder are served exactly, under any PCE, and told as those of electricity."""

from __future__ import annotations

import csv
import gzip
import shutil
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from simulator.electricity_recordings import read_folder
from simulator.recorded_files import BrokenRecording
from simulator.switches import SimulatorOptions
from tests.support.grdf_caller import GasCaller
from tests.support.pages import ROOT

RECORDED = ROOT.parent / "shared" / "data" / "gas"
LATER = datetime.fromisoformat("2021-12-20T09:00+01:00")
PCE = "GI654321"
DAYS = """gas_day,index_start,index_end,volume_m3,energy_kwh,coefficient,quality
2021-11-01,1204,1207,3,33.27,11.16,Mesuré
2021-11-02,,,,,,Absence de Données
2021-11-03,,1207,0,0,11.16,Estimé
"""
PERIODS = """start,end,index_start,index_end,volume_m3,energy_kwh,coefficient,quality
2021-10-03,2021-11-01,1150,1204,54,603,11.16,Mesuré
"""


def test_files_of_gas_are_told_and_served_with_an_active_right(tmp_path: Path) -> None:
    (tmp_path / f"{PCE}.gas_daily.csv").write_text(DAYS)
    (tmp_path / f"{PCE}.gas_published.csv.gz").write_bytes(gzip.compress(PERIODS.encode()))
    assert [str(file) for file in read_folder(tmp_path).used] == [
        "…4321.gas_daily.csv: meter …4321, daily gas, 2 days from 2021-11-01 to 2021-11-03",
        "…4321.gas_published.csv.gz: meter …4321, billed gas, 1 period: 2021-10-03",
    ]
    grdf = GasCaller(SimulatorOptions(data_dir=tmp_path, pretend_now=LATER))
    (right,) = grdf.rights()
    assert (right["id_pce"], right["etat_droit_acces"]) == (PCE, "Active")
    first, absent, last = grdf.records("informatives", "2021-11-01", "2021-12-01", PCE)
    assert (first["consommation"]["energie"], last["consommation"]["energie"]) == (33.27, 0)
    assert absent["consommation"]["type_qualif_conso"] == "Absence de Données"
    assert last["consommation"]["type_qualif_conso"] == "Estimé"
    assert grdf.refusal("informatives", "2021-10-01", "2021-11-01", pce=PCE) == "1000008"
    (period,) = grdf.records("publiees", "2021-10-01", "2021-12-01", PCE)
    assert period["consommation"]["energie"] == 603


def test_beside_recordings_other_meters_are_unknown(tmp_path: Path) -> None:
    (tmp_path / f"{PCE}.gas_daily.csv").write_text(DAYS)
    grdf = GasCaller(SimulatorOptions(data_dir=tmp_path, pretend_now=LATER))
    declaration = grdf.declaration(PCE)
    answer = grdf.call("PUT", "/pce/GI111111/droit_acces", json=declaration)
    assert (answer.status_code, answer.json()["code_statut_traitement"]) == (404, "1000000006")
    assert grdf.http.get("/__sim__/gas/meters/GI111111").status_code == 400
    assert grdf.callback()["code"]  # A holder who names no meter has a recorded one.
    assert {right["id_pce"] for right in grdf.rights()} == {PCE}
    beside = GasCaller(SimulatorOptions(data_dir=tmp_path, pretend_now=LATER, pretend_homes=True))
    assert beside.meter("GI111111")["postcode"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gas_home.gas_daily.csv", "gas_home.gas_daily.csv: not the name of a recording: name it <PCE>.gas_daily.csv"),
        (
            "0123456789012.gas_published.csv.gz",
            "…9012.gas_published.csv.gz: a PCE has 14 digits, or GI and 6 digits: name",
        ),
        ("GI12345.gas_daily.csv", "GI12345.gas_daily.csv: not the name of a recording: name it <PCE>.gas_daily.csv"),
    ],
)
def test_a_file_with_another_name_is_passed_over_with_what_to_do(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / f"{PCE}.gas_daily.csv").write_text(DAYS)
    (tmp_path / name).write_text(DAYS)
    (line,) = map(str, read_folder(tmp_path).passed_over)
    assert line.startswith(told)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("gas_daily", "gas_day,energy_kwh\n2021-11-01,3\n", "line 1: no column 'index_start'"),
        ("gas_daily", DAYS.replace("33.27", "many"), "line 2: the value is not a number"),
        ("gas_daily", DAYS.replace("Estimé", "Deviné"), "line 4: quality must be one of"),
        ("gas_daily", DAYS.replace("2021-11-02", "yesterday"), "line 3: gas_day must be a date"),
        ("gas_published", PERIODS.replace("2021-11-01", "2021-10-03"), "line 2: a period must end after it starts"),
    ],
)
def test_a_broken_file_names_its_line(tmp_path: Path, name: str, text: str, reason: str) -> None:
    (tmp_path / f"{PCE}.{name}.csv").write_text(text)
    with pytest.raises(BrokenRecording, match=reason):
        read_folder(tmp_path)


def test_an_empty_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / f"{PCE}.gas_daily.csv").write_text(DAYS)
    (tmp_path / "GI000001.gas_daily.csv").write_text(DAYS.splitlines()[0])
    assert [str(one) for one in read_folder(tmp_path).passed_over] == [
        "…0001.gas_daily.csv: it has no day with a value"
    ]


@pytest.mark.parametrize("kind", ["days", "published"])
def test_the_recorded_home_is_served_exactly_in_windows(tmp_path: Path, kind: str) -> None:
    source = RECORDED / f"gas_home.{kind}.csv.gz"
    if not source.is_file():
        pytest.skip("no recorded gas here")
    for name, file in (("gas_daily", "days"), ("gas_published", "published")):
        shutil.copy(RECORDED / f"gas_home.{file}.csv.gz", tmp_path / f"01234567890123.{name}.csv.gz")
    grdf = GasCaller(SimulatorOptions(data_dir=tmp_path, pretend_now=LATER))
    name, key = ("informatives", "gas_day") if kind == "days" else ("publiees", "start")
    edges = ["2017-01-01", "2018-12-20", "2019-11-30", "2020-02-29", "2021-08-10", "2021-08-11", "2021-12-20"]
    served = []
    for start, end in pairwise(edges if name == "publiees" else edges[1:]):
        records = grdf.records(name, start, end, "01234567890123")
        served += [record for record in records if record["statut_restitution"] is None]
    with gzip.open(source, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [_facts(record) for record in served] == [
        (
            row[key],
            *map(_decimal, (row["energy_kwh"], row["volume_m3"], row["coefficient"])),
            row["quality"],
            *map(_decimal, (row["index_start"], row["index_end"])),
        )
        for row in rows
    ]


def _facts(record: dict[str, dict[str, dict[str, object]]]) -> tuple[object, ...]:
    consumption = record["consommation"]
    numbers = (consumption["energie"], consumption["volume_brut"], consumption["coeff_calcul"]["coeff_conversion"])
    indexes = (
        record["releve_debut"]["index_brut_debut"]["valeur_index"],
        record["releve_fin"]["index_brut_fin"]["valeur_index"],
    )
    day = str(consumption["date_debut_consommation"])[:10]
    return (day, *map(_decimal, numbers), consumption["type_qualif_conso"], *map(_decimal, indexes))


def _decimal(value: object) -> Decimal | None:
    return None if value in (None, "") else Decimal(str(value))
