"""Recorded series are served unchanged: every value, label, step and gap."""

from __future__ import annotations

import csv
import gzip
import shutil
from datetime import date, datetime
from pathlib import Path

import pytest

from simulator.electricity_recordings import read_folder
from simulator.recorded_files import BrokenRecording
from simulator.switches import SimulatorOptions
from tests.support.enedis_caller import CALLBACK, SimulatorCaller, error_of, points
from tests.support.recordings import RECORDINGS, needs_recordings
from worker.domain.files.file_series import infer_lengths

METER = "01234567890123"
HOUR_EXPORT = """\ufeffIdentifiant PRM;Type de donnees;Date de debut;Date de fin;Grandeur physique;Grandeur metier;\
Etape metier;Unite;Pas en minutes
01234567890123;Courbe de charge;27/10/2023;30/10/2023;Energie active;Consommation;Comptage Brut;W;
Horodate;Valeur
2023-10-29T01:30:00+02:00;100
2023-10-29T02:00:00+02:00;110
2023-10-29T02:30:00+02:00;
2023-10-29T02:00:00+01:00;130
2023-10-29T02:30:00+01:00;140
"""
INDEX_EXPORT = """\ufeffIdentifiant PRM;Type de donnees;Date de debut;Date de fin;Grandeur physique;Grandeur metier;\
Etape metier;Unite
01234567890123;Index;29/03/2024;05/04/2024;Energie active;Consommation;Comptage Brut;Wh
Horodate;Type de releve;EAS F1;EAS T
2024-03-30T00:00:00+01:00;Arrêté quotidien;1;1000
2024-03-31T00:00:00+01:00;Arrêté quotidien;1;3000
2024-04-01T01:00:00+02:00;Arrêté quotidien;1;6000
2024-04-02T01:00:00+02:00;Arrêté quotidien;1;
2024-04-03T00:00:00+02:00;Arrêté quotidien;1;9000
2024-04-04T00:00:00+02:00;Arrêté quotidien;1;9500
2024-04-05T00:00:00+02:00;Arrêté quotidien;1;20
Periode;Identifiant calendrier fournisseur
Du 2024-03-30T00:00:00+01:00 au;FC000050
"""


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def _serve(folder: Path, now: str) -> SimulatorCaller:
    return SimulatorCaller(
        SimulatorOptions(data_dir=folder, pretend_now=datetime.fromisoformat(now), redirect_uri=CALLBACK)
    )


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_plain_curve_is_served_with_its_own_steps_and_gaps(tmp_path: Path, ending: str) -> None:
    rows = "00:30:00,10 01:00:00,20 02:00:00,30 03:00:00, 04:00:00,50 06:00:00,70 07:00:00,80"
    text = "date_end_local,watts\n" + "".join(f"2024-01-10 {row}\n" for row in rows.split(" "))
    _write(tmp_path, f"{METER}.load_curve.csv{ending}", text)
    supplier = _serve(tmp_path, "2024-01-12T09:00+01:00")
    body = supplier.request_measures("2024-01-10", "2024-01-11", "curve", usage_point=METER).json()["meter_reading"]
    assert [(row["date"][11:16], row["value"], row["interval_length"]) for row in body["interval_reading"]] == [
        ("00:30", "10", "PT30M"),
        ("01:00", "20", "PT30M"),
        ("02:00", "30", "PT60M"),
        ("04:00", "50", "PT60M"),
        ("06:00", "70", "PT60M"),
        ("07:00", "80", "PT60M"),
    ]
    assert error_of(supplier.request_measures("2024-01-10", "2024-01-11", usage_point=METER)) == (404, "no_data_found")
    assert error_of(supplier.request_measures("2024-01-11", "2024-01-12", "curve", usage_point=METER)) == (
        404,
        "no_data_found",
    )


def test_a_plain_daily_series_has_no_curve(tmp_path: Path) -> None:
    _write(tmp_path, f"{METER}.daily.csv", "date,wh\r\n2024-01-09,\r\n2024-01-10,41566\r\n2024-01-11,0\r\n")
    supplier = _serve(tmp_path, "2024-01-12T09:00+01:00")
    assert points(supplier.request_measures("2024-01-09", "2024-01-12", usage_point=METER)) == [
        ("2024-01-10", "41566"),
        ("2024-01-11", "0"),
    ]
    assert error_of(supplier.request_measures("2024-01-10", "2024-01-12", "curve", usage_point=METER)) == (
        404,
        "no_data_found",
    )


def test_the_customer_sites_curve_keeps_both_passes_of_the_autumn_hour(tmp_path: Path) -> None:
    _write(tmp_path, "Enedis_Conso_Heure_20231027-20231030_x.csv", HOUR_EXPORT)
    supplier = _serve(tmp_path, "2023-11-02T09:00+01:00")
    answer = supplier.request_measures("2023-10-29", "2023-10-30", "curve", usage_point=METER)
    assert [(label[11:16], watts) for label, watts in points(answer)] == [
        ("01:30", "100"),
        ("02:00", "110"),
        ("02:00", "130"),
        ("02:30", "140"),
    ]
    assert [start for start, _, _ in supplier.truth("2023-10-29", "2023-10-30", METER)["load_curve"]] == [
        "2023-10-28T23:00:00Z",
        "2023-10-28T23:30:00Z",
        "2023-10-29T00:30:00Z",
        "2023-10-29T01:00:00Z",
    ]


def test_the_customer_sites_indexes_become_days(tmp_path: Path) -> None:
    _write(tmp_path, "Enedis_Conso_Jour_20240329-20240405_x.csv.gz", INDEX_EXPORT)
    meter = read_folder(tmp_path).meters[METER]
    assert meter.days == {
        date(2024, 3, 30): 2000,
        date(2024, 3, 31): 3000,
        date(2024, 4, 3): 500,  # No day crosses a missing index or a replaced meter.
    }


def test_an_export_of_production_is_left_out(tmp_path: Path) -> None:
    _write(tmp_path, "Enedis_Conso_Heure_1.csv", HOUR_EXPORT.replace("Consommation", "Production"))
    supplier = _serve(tmp_path, "2023-11-02T09:00+01:00")
    answer = supplier.request_measures("2023-10-29", "2023-10-30", "curve", usage_point=METER)
    assert error_of(answer) == (400, "ADAM-ERR0069")


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        (f"{METER}.daily.csv", "day,kwh\n", "line 1: no column 'date'; the header must have date, wh"),
        (f"{METER}.daily.csv", "", "line 1: no column 'date'; the header must have date, wh"),
        (f"{METER}.daily.csv", "date,wh\n2024-01-10,12\n2024-01-11,many\n", "line 3: the value is not a number"),
        (f"{METER}.daily.csv", "date,wh\n2024-01-10\n", "line 2: has 1 columns, needs 2"),
        (f"{METER}.load_curve.csv", "date_end_local,watts\n10/01/2024,12\n", "line 2: date_end_local must be a date"),
        (f"{METER}.load_curve.csv.gz", None, "can't be read"),
        ("Enedis_Conso_Heure_1.csv", HOUR_EXPORT.replace(METER, "0123"), "line 2: the meter number"),
        ("Enedis_Conso_Jour_1.csv", INDEX_EXPORT.replace("EAS T", "EAS X"), "line 3: no column 'eas t'"),
        ("ENEDIS_R63_1.csv", "Identifiant PRM;Horodate\n", "line 1: no column 'grandeur physique'"),
        ("readme.txt", "", "no recorded series"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, name: str, text: str | None, complaint: str) -> None:
    if text is None:
        (tmp_path / name).write_bytes(b"\x1f\x8bnot gzip")
    else:
        _write(tmp_path, name, text)
    with pytest.raises(BrokenRecording) as caught:
        read_folder(tmp_path)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert METER not in str(caught.value).removeprefix(f"{METER}.")
    with pytest.raises(BrokenRecording, match="not a folder"):
        read_folder(tmp_path / "nowhere")


@needs_recordings
@pytest.mark.rest
def test_the_steps_we_infer_are_those_the_portal_states() -> None:
    with gzip.open(next((RECORDINGS / "exports").glob("ENEDIS_R63*")), "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    stated = [int(row["Pas"].removeprefix("PT").removesuffix("M")) for row in rows]
    assert infer_lengths([datetime.fromisoformat(row["Horodate"]) for row in rows]) == stated


@needs_recordings
@pytest.mark.rest
def test_exports_and_plain_files_of_one_meter_say_the_same(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "c"), start=1):
        for source in RECORDINGS.glob(f"household_{name}.*.csv.gz"):
            shutil.copy(source, tmp_path / source.name.replace(f"household_{name}", f"{number:014d}"))
    for source in (RECORDINGS / "exports").iterdir():
        shutil.copy(source, tmp_path / source.name)
    meters = read_folder(tmp_path).meters
    assert meters["99000000000011"].days == meters["00000000000001"].days
    assert meters["99000000000011"].curves == meters["00000000000001"].curves
    curve, twin = (meters[number].curves for number in ("99000000000033", "00000000000002"))
    assert [[point[:4] for point in curve[day]] for day in sorted(curve)] == [
        [point[:4] for point in twin[day]] for day in sorted(twin)
    ]
