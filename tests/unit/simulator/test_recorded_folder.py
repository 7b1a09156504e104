"""A folder of recordings: each file is told as used or as passed over, and no home is invented beside them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from simulator.electricity_recordings import read_folder
from simulator.recorded_files import BrokenRecording
from simulator.switches import SimulatorOptions
from tests.support.enedis_caller import CALLBACK, NOW, PATHS, SimulatorCaller, error_of, points

METER = "01234567890123"
STRANGER = "11111111111111"
DAILY = "date,wh\n2024-10-30,\n2024-10-31,7000\n2024-11-01,7100\n2024-11-03,7300\n"
CURVE = "date_end_local,watts\n2024-10-31 23:30:00,10\n2024-11-01 00:00:00,20\n2024-11-01 00:30:00,\n"
# Enedis_Prod_Jour as it is downloaded: the columns of consumption are there and empty, and it has no footer.
PRODUCTION = f"""\ufeffIdentifiant PRM;Type de donnees;Date de debut;Date de fin;Grandeur physique;Grandeur metier;\
Etape metier;Unite
{METER};Index;31/10/2024;05/11/2024;Energie active;Production;Comptage Brut;Wh
Horodate;Type de releve;EAS F1;EAS T;EAI T
2024-10-31T00:00:00+01:00;Arrêté quotidien;;;6658820
2024-11-01T00:00:00+01:00;Arrêté quotidien;;;6666182
2024-11-02T00:00:00+01:00;Arrêté quotidien;;;6666182
2024-11-04T00:00:00+01:00;Arrêté quotidien;;;6669804
"""
PRODUCTION_NAME = f"Enedis_Prod_Jour_20241031-20241105_{METER}.csv"
PRODUCTION_CURVE = (
    PRODUCTION.partition("Horodate")[0].replace("Index;", "Courbe de charge;").replace(";Wh", ";W")
    + "Horodate;Valeur\n2024-11-01T00:30:00+01:00;100\n"
)


def _supplier(folder: Path, **options: bool) -> SimulatorCaller:
    return SimulatorCaller(SimulatorOptions(data_dir=folder, pretend_now=NOW, redirect_uri=CALLBACK, **options))


def _ask(supplier: SimulatorCaller, series: str = "daily", generation: str = "v5", usage_point: str = METER) -> object:
    answer = supplier.request_measures("2024-10-31", "2024-11-04", series, generation, usage_point)
    return points(answer) if answer.status_code == 200 else error_of(answer)


def test_each_file_that_is_used_is_told_with_its_series_and_days(tmp_path: Path) -> None:
    (tmp_path / f"{METER}.daily.csv").write_text(DAILY)
    (tmp_path / f"{METER}.load_curve.csv").write_text(CURVE)
    (tmp_path / PRODUCTION_NAME).write_text(PRODUCTION)
    assert [str(file) for file in read_folder(tmp_path).used] == [
        "…0123.daily.csv: meter …0123, daily consumption, 3 days from 2024-10-31 to 2024-11-03",
        "…0123.load_curve.csv: meter …0123, load curve of consumption, 1 day: 2024-10-31",
        "Enedis_Prod_Jour_20241031-20241105_…0123.csv: meter …0123, daily production, "
        "2 days from 2024-10-31 to 2024-11-01",
    ]
    assert read_folder(tmp_path).passed_over == []


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (f"{METER}-daily.csv", DAILY, "…0123-daily.csv: not the name of a recording: name it <14 digits>.daily.csv"),
        ("0123456789012.daily.csv", DAILY, "…9012.daily.csv: a meter's number has 14 digits: name it <14 digits>"),
        (
            "household_a.daily.csv.gz",
            DAILY,
            "household_a.daily.csv.gz: not the name of a recording: name it <14 digits>.daily.csv.gz",
        ),
        (
            "household_a.load_curve.csv",
            CURVE,
            "household_a.load_curve.csv: not the name of a recording: name it <14 digits>.load_curve.csv",
        ),
        (".notes", "", ".notes: a hidden file"),
        (f"Enedis_Conso_Jour_1_{METER}.CSV.zip", "", "Enedis_Conso_Jour_1_…0123.CSV.zip: only .gz files are unpacked"),
        (
            f"{METER}_Export_energie.xlsx",
            "",
            "…0123_Export_energie.xlsx: a spreadsheet is not supported: save its days",
        ),
        (
            "notes.txt",
            "",
            "notes.txt: not the name of a recording: name it <14 digits>.daily.csv (date,wh), <14 digits>",
        ),
        (f"old_{METER}/{METER}.daily.csv", DAILY, "old_…0123: a folder is not searched: move its files"),
        (f"{STRANGER}.daily.csv", "date,wh\n2024-11-01,\n", "…1111.daily.csv: it has no day with a value"),
        ("Enedis_Prod_Heure_1.csv", PRODUCTION_CURVE, "Enedis_Prod_Heure_1.csv: not the name of a recording"),
        ("Enedis_Conso_Heure_1.csv", PRODUCTION_CURVE, "Enedis_Conso_Heure_1.csv: a load curve of production, which"),
    ],
)
def test_what_is_passed_over_is_told_with_the_reason(tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / f"{METER}.daily.csv").write_text(DAILY)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    recordings = read_folder(tmp_path)
    (line,) = map(str, recordings.passed_over)
    assert line.startswith(told)
    assert "\n" not in line
    assert METER not in line
    assert len(recordings.used) == 1


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (PRODUCTION_NAME, "foreign", "Enedis_Prod_Jour_20241031-20241105_…0123.csv: unknown format"),
        (f"{STRANGER}.daily.csv", "date,wh\n2024-11-01,many\n", "…1111.daily.csv: line 2: "),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_served(
    tmp_path: Path, name: str, content: str, told: str
) -> None:
    (tmp_path / f"{METER}.load_curve.csv").write_text(CURVE)
    (tmp_path / name).write_text(content)
    recordings = read_folder(tmp_path)
    assert [used.name for used in recordings.used] == ["…0123.load_curve.csv"] and list(recordings.meters) == [METER]
    (line,) = map(str, recordings.passed_over)
    assert line.startswith(told) and "\n" not in line


def test_names_that_end_alike_do_not_look_alike(tmp_path: Path) -> None:
    for number in ("01111111110123", METER, STRANGER):
        (tmp_path / f"{number}.daily.csv").write_text(DAILY)
    assert [used.name for used in read_folder(tmp_path).used] == [
        "…0123.daily.csv (1 of 2)",
        "…0123.daily.csv (2 of 2)",
        "…1111.daily.csv",
    ]


def test_a_folder_without_any_readable_name_says_what_is_there(tmp_path: Path) -> None:
    for name in ("household_a.daily.csv", f"{METER}-daily.csv", "a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text(DAILY)
    with pytest.raises(BrokenRecording, match="no recorded series") as caught:
        read_folder(tmp_path)
    assert "…0123-daily.csv, a.txt, b.txt and 2 more" in str(caught.value)
    assert METER not in str(caught.value)


@pytest.mark.parametrize("generation", ["v4", "v5", "2026"])
@pytest.mark.parametrize("series", ["daily", "curve", "production"])
def test_a_meter_without_a_recording_is_refused_as_an_unknown_one(tmp_path: Path, generation: str, series: str) -> None:
    (tmp_path / f"{METER}.daily.csv").write_text(DAILY)
    supplier = _supplier(tmp_path)
    unknown = (403, "403" if generation == "2026" else "unauthorized_user")
    assert _ask(supplier, series, generation, STRANGER) == unknown
    assert _ask(supplier, "daily", generation) == [
        ("2024-10-31", "7000"),
        ("2024-11-01", "7100"),
        ("2024-11-03", "7300"),
    ]
    assert _ask(supplier, "daily", generation, "22516914714270") == unknown  # A customer of the sandbox.


def test_pretend_homes_stand_beside_recordings_where_they_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / f"{METER}.daily.csv").write_text(DAILY)
    assert len(_ask(_supplier(tmp_path, pretend_homes=True), usage_point=STRANGER)) == 4  # type: ignore[arg-type]
    assert len(_ask(_supplier(tmp_path, sandbox=True), usage_point="22516914714270")) == 4  # type: ignore[arg-type]


def test_a_holder_who_names_no_meter_consents_for_a_recorded_one(tmp_path: Path) -> None:
    for number in (METER, STRANGER):
        (tmp_path / f"{number}.daily.csv").write_text(DAILY)
    supplier = _supplier(tmp_path)
    assert [supplier.callback()["usage_point_id"] for _ in range(3)] == [METER, STRANGER, METER]
    assert _supplier(tmp_path, pretend_homes=True).callback()["usage_point_id"] not in (METER, STRANGER)


def test_the_switches_and_the_truth_know_recorded_meters_alone(tmp_path: Path) -> None:
    (tmp_path / f"{METER}.daily.csv").write_text(DAILY)
    supplier = _supplier(tmp_path)
    supplier.switch(METER, delay_days=1)
    for path in (f"meters/{STRANGER}", f"truth/{STRANGER}?start=2024-11-01&end=2024-11-02"):
        answer = supplier.http.get(f"/__sim__/{path}")
        assert answer.status_code == 400
        assert "no recording" in answer.json()["error"]


@pytest.mark.parametrize("generation", ["v4", "v5", "2026"])
def test_recorded_production_is_served_as_production_alone(tmp_path: Path, generation: str) -> None:
    (tmp_path / PRODUCTION_NAME).write_text(PRODUCTION)
    supplier = _supplier(tmp_path)
    assert read_folder(tmp_path).meters[METER].production_days == {date(2024, 10, 31): 7362, date(2024, 11, 1): 0}
    assert _ask(supplier, "production", generation) == [("2024-10-31", "7362"), ("2024-11-01", "0")]
    assert _ask(supplier, "daily", generation) == (400, "ADAM-ERR0069")
    assert _ask(supplier, "curve", generation) == (400, "ADAM-ERR0069")
    answer = supplier.request_measures("2024-11-02", "2024-11-04", "production", generation, METER)
    assert error_of(answer) == (404, "404" if generation == "2026" else "no_data_found")


def test_one_meter_may_consume_and_produce(tmp_path: Path) -> None:
    (tmp_path / f"{METER}.daily.csv").write_text(DAILY)
    (tmp_path / PRODUCTION_NAME).write_text(PRODUCTION)
    supplier = _supplier(tmp_path)
    assert _ask(supplier)[0] == ("2024-10-31", "7000")  # type: ignore[index]
    assert _ask(supplier, "production")[0] == ("2024-10-31", "7362")  # type: ignore[index]
    services = supplier.subscribed_services(METER)
    groups = {(service["soutirage"], service["injection"], service["mesuresTypeCode"]) for service in services}
    assert groups == {(True, False, "ENERGIE"), (False, True, "ENERGIE")}


def test_the_answers_of_production_look_as_recorded_ones_do(tmp_path: Path) -> None:
    (tmp_path / PRODUCTION_NAME).write_text(PRODUCTION)
    supplier = _supplier(tmp_path)
    v5 = supplier.request_measures("2024-10-31", "2024-11-01", "production", "v5", METER).json()["meter_reading"]
    assert v5["reading_type"] == {
        "unit": "Wh",
        "measurement_kind": "energy",
        "aggregate": "sum",
        "measuring_period": "P1D",
    }
    body = supplier.request_measures("2024-10-31", "2024-11-01", "production", "2026", METER).json()
    (quantity,) = body["grandeur"]
    assert (quantity["grandeurMetier"], quantity["grandeurPhysique"], quantity["unite"]) == ("PROD", "EA", "Wh")
    assert (body["modeCalcul"], body["pas"], body["typeValeur"]) == ("DIFF.INDEX", "P1D", "GLOBALE")


@pytest.mark.parametrize("generation", ["v4", "v5", "2026"])
def test_a_meter_that_feeds_nothing_in_has_no_production(
    tmp_path: Path, supplier: SimulatorCaller, generation: str
) -> None:
    wrong_direction = (400, "ADAM-ERR0069")
    assert _ask(supplier, "production", generation) == wrong_direction
    (tmp_path / f"{METER}.daily.csv").write_text(DAILY)
    assert _ask(_supplier(tmp_path), "production", generation) == wrong_direction


def test_production_has_the_limits_of_daily_values(supplier: SimulatorCaller) -> None:
    produces = "24880057139941"
    early = supplier.request_measures("2021-10-01", "2021-10-02", "production", usage_point=produces)
    assert error_of(early) == (400, "ADAM-ERR0125")
    assert len(points(supplier.request_measures("2024-11-01", "2024-11-05", "production", usage_point=produces))) == 4
    assert supplier.get(PATHS["v5", "production"], {}, "nonsense").status_code == 401
