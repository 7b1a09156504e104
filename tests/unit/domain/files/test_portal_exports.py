"""Formats 9 and 10: load curves (R63) and indexes (R64) of Enedis' portal, as CSV and as JSON."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.downloaded_files import amounts, read, read_one, refusal
from worker.domain.series import Series
from worker.domain.windows import PARIS

METER = "99000000000033"
OTHER = "99000000000077"
CURVE_HEAD = (
    "Identifiant PRM;Date de début;Date de fin;Grandeur physique;Grandeur métier;Etape métier;Unité;Horodate;Valeur;"
    "Nature;Pas;Indice de vraisemblance;Etat complémentaire\n"
)
INDEX_HEAD = (
    "Identifiant PRM;Date de début;Date de fin;Grandeur physique;Grandeur metier;Etape metier;Unite;Horodate;"
    "Contexte de relève;Type de releve;Motif de relève;Grille;Identifiant calendrier;Libellé calendrier;"
    "Identifiant classe temporelle;Libellé classe temporelle;Cadran;Valeur;Indice de vraisemblance\n"
)
NAME = "ENEDIS_R63_P_CdC_M0000001_00001_20250313101500.csv"
TOLD_AT = datetime(2025, 3, 13, 10, 15, tzinfo=PARIS)


def curve_row(label: str, value: object, step: str = "PT30M", **fields: str) -> str:
    cells = {
        "meter": METER,
        "physical": "PA",
        "direction": "CONS",
        "stage": "BRUT",
        "unit": "W",
        "marks": "0;0",
    } | fields
    first = f"{cells['meter']};2023-01-01 00:00:00;2025-01-01 00:00:00;{cells['physical']};{cells['direction']}"
    return f"{first};{cells['stage']};{cells['unit']};{label};{value};B;{step};{cells['marks']}\n"


def index_row(label: str, value: object, calendar: str = "", period: str = "", **fields: str) -> str:
    cells = {"meter": METER, "physical": "EA", "direction": "CONS", "unit": "Wh"} | fields
    first = f"{cells['meter']};2023-01-01;2025-01-01;{cells['physical']};{cells['direction']};BRUT;{cells['unit']}"
    return f"{first};{label};COL;AQ;;Fournisseur;{calendar};;{period};;F1;{value};0\n"


def to_json(code: str, measures: list[dict[str, Any]]) -> str:
    return json.dumps({"header": {"codeFlux": code, "idDemande": "M0000001"}, "mesures": measures})


def quantity(points: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {"grandeurMetier": "CONS", "grandeurPhysique": "PA", "unite": "W", "points": points} | fields


# -- R63


def test_naive_labels_are_told_apart_by_their_order_and_the_name_tells_when_it_was_exported() -> None:
    labels = ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]
    text = CURVE_HEAD + "".join(curve_row(f"2023-10-29 {label}:00", n) for n, label in enumerate(labels, start=1))
    series = read_one(NAME, text)
    assert (series.format, series.usage_point, series.series) == ("r63-csv", METER, Series.LOAD_CURVE)
    assert series.told_at == TOLD_AT
    assert [reading.start.utctimetuple()[3:5] for reading in series.readings] == [
        (23, 0), (23, 30), (0, 0), (0, 30), (1, 0), (1, 30),
    ]  # fmt: skip
    assert read_one("x.csv", text).told_at == datetime(2023, 10, 30, tzinfo=PARIS)
    assert read_one(NAME.replace("500.csv", "500_1.csv"), text).told_at == TOLD_AT
    assert read_one("ENEDIS_R63_P_CdC_20250313.csv", text).told_at == datetime(2025, 3, 13, tzinfo=PARIS)
    assert read_one(NAME.replace("2025", "2021"), text).told_at == datetime(2023, 10, 30, tzinfo=PARIS)


def test_steps_and_units_are_those_of_each_row() -> None:
    rows = [
        curve_row("2024-01-10 01:00:00", 600, "PT60M"),
        curve_row("2024-01-10 01:30:00", "0,8", unit="kW"),
        curve_row("2024-01-10 01:40:00", 100, "PT10M", physical="EA", unit="Wh"),
        curve_row("2024-01-10 02:00:00", 5000, physical="PRI", unit="VAr"),
        curve_row("2024-01-10 02:30:00", "null"),
    ]
    series = read_one("x", CURVE_HEAD + "".join(rows))
    assert [reading.amount / 1000 for reading in series.readings] == [600, 400, 100]
    assert (series.step_minutes, series.dropped) == ((10, 30, 60), 1)


def test_two_meters_and_two_directions_are_series_of_their_own() -> None:
    rows = [
        curve_row("2024-01-10 00:30:00", 1),
        curve_row("2024-01-10 00:30:00", 2, meter=OTHER),
        curve_row("2024-01-10 00:30:00", 3, direction="PROD"),
        curve_row("2024-01-10 01:00:00", 4),
    ]
    found = read("x", CURVE_HEAD + "".join(rows))
    assert [(series.usage_point, series.series, len(series.readings)) for series in found] == [
        (METER, Series.LOAD_CURVE, 2),
        (OTHER, Series.LOAD_CURVE, 1),
        (METER, Series.PRODUCTION_LOAD_CURVE, 1),
    ]


def test_of_several_stages_the_last_one_holds_where_it_has_a_value() -> None:
    labels = ["00:30", "01:00", "01:30"]
    raw = [curve_row(f"2024-01-10 {label}:00", 100) for label in labels]
    corrected = [curve_row("2024-01-10 01:00:00", 300, stage="CORRIGE")]
    for rows in (raw + corrected, corrected + raw):
        series = read_one("x", CURVE_HEAD + "".join(rows))
        assert [reading.amount / 1000 for reading in series.readings] == [50, 150, 50]


def test_files_that_were_put_together_have_their_header_again() -> None:
    texts = [CURVE_HEAD + curve_row(f"2024-01-10 0{n}:00:00", n, "PT60M") for n in (1, 2)]
    assert len(read_one("x", "".join(texts)).readings) == 2
    assert refusal("x", texts[0] + INDEX_HEAD).startswith("x, line 3: neither a row of data")


def test_headers_come_with_and_without_accents_and_some_columns_are_missing() -> None:
    text = CURVE_HEAD + curve_row("2024-01-10 00:30:00", 7)
    plain = text.replace("é", "e")
    short = "".join(";".join(line.split(";")[:11]) + "\n" for line in text.splitlines())
    assert read("x", text)[0].readings == read("x", plain)[0].readings == read("x", short)[0].readings


def test_the_json_says_the_same_as_the_csv() -> None:
    points = [{"d": f"2024-01-10 0{n}:00:00", "v": str(n), "p": "PT60M", "n": "B", "iv": 0, "ec": "0"} for n in (1, 2)]
    measure = {"idPrm": METER, "periode": {}, "etapeMetier": "BRUT", "grandeur": [quantity(points)]}
    series = read_one(NAME.replace(".csv", ".json"), to_json("R63", [measure]))
    text = CURVE_HEAD + "".join(curve_row(f"2024-01-10 0{n}:00:00", n, "PT60M") for n in (1, 2))
    twin = read_one(NAME, text)
    assert series.readings == twin.readings
    assert (series.format, series.usage_point, series.told_at) == ("r63-json", METER, TOLD_AT)
    with_offset = to_json("R63", [measure | {"grandeur": [quantity([points[0] | {"d": "2024-01-10T01:00:00+01:00"}])]}])
    assert read_one("x", with_offset).readings == twin.readings[:1]


def test_unusual_marks_are_kept_by_the_label_of_their_step() -> None:
    text = CURVE_HEAD + curve_row("2024-01-10 00:30:00", 7) + curve_row("2024-01-10 01:00:00", 7, marks="2;11")
    assert read_one("x", text).marks == {"2024-01-10 01:00:00": ("B", "2", "11")}


# -- R64


def test_indexes_of_a_calendar_are_registers_and_days() -> None:
    rows = []
    for day, total in ((1, 1000), (2, 3000), (3, 3500)):
        label = f"2024-04-0{day} 00:00:00"
        rows += [index_row(label, total), index_row(label, total - 400, "FC000040", "HP")]
        rows += [index_row(label, 400, "FC000040", "HC"), index_row(label, 7, physical="PMA", unit="VA")]
    rows.append(index_row("2024-04-02 01:00:00", 2000))  # A reading of its own, no late label of midnight.
    registers, daily = read("ENEDIS_R64_P_INDEX_M1_00001_20250313101500.csv", INDEX_HEAD + "".join(rows))
    assert (registers.series, daily.series, registers.format) == (Series.REGISTERS, Series.DAILY, "r64-csv")
    assert registers.readings[1].details == {"registers": {"HC": 400, "HP": 2600}, "calendar": "FC000040"}
    assert amounts(registers) == {"2024-04-01": 1000, "2024-04-02": 3000, "2024-04-03": 3500}
    assert amounts(daily) == {"2024-04-01": 2000, "2024-04-02": 500}
    assert (registers.told_at, registers.dropped) == (TOLD_AT, 1)


def test_indexes_as_json_say_the_same() -> None:
    def values(*totals: int) -> list[dict[str, Any]]:
        return [{"d": f"2024-04-0{n}T00:00:00+02:00", "v": total, "iv": 0} for n, total in enumerate(totals, start=1)]

    periods = [
        {"idClasseTemporelle": "HP", "valeur": values(600, 2600)},
        {"codeCadran": "F2", "valeur": values(400, 400)},
    ]
    index = {"grandeurMetier": "CONS", "grandeurPhysique": "EA", "unite": "Wh"}
    index |= {"calendrier": [{"idCalendrier": "FC000040", "classeTemporelle": periods}]}
    produced = {"grandeurMetier": "PROD", "grandeurPhysique": "EA", "unite": "kWh"}
    produced |= {"cadranTotalisateur": {"codeCadran": "T", "valeur": values(1, 3)}}
    context = {"etapeMetier": "BRUT", "typeReleve": "AQ", "grandeur": [index, produced]}
    found = read("x.json", to_json("R64", [{"idPrm": METER, "contexte": [context]}]))
    assert [(series.series, list(amounts(series).values())) for series in found] == [
        (Series.REGISTERS, [1000, 3000]),
        (Series.DAILY, [2000]),
        (Series.PRODUCTION_REGISTERS, [1000, 3000]),
        (Series.PRODUCTION_DAILY, [2000]),
    ]
    assert found[0].readings[0].details == {"registers": {"F2": 400, "HP": 600}, "calendar": "FC000040"}
    assert found[0].readings[0].length == timedelta(days=1)


# -- Damaged files


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Identifiant PRM;Horodate\n", "x, line 1: no column 'grandeur physique'"),
        (CURVE_HEAD, "x: no value of active power (PA) in W"),
        (CURVE_HEAD + curve_row("2024-01-10 00:30:00", 1, "PT7M"), "x, line 2: the step (Pas) must be PT5M"),
        (CURVE_HEAD + curve_row("2024-01-10 00:30:00", "x"), "x, line 2: the value is not a number"),
        (CURVE_HEAD + curve_row("2024-01-10 00:30:00", 1, meter="12"), "x, line 2: the meter number"),
        (CURVE_HEAD + curve_row("2024-01-10 00:30:00", 1) + "Total;1\n", "x, line 3: neither a row of data"),
        (CURVE_HEAD + curve_row("2024-01-10 00:30:00", 1)[:60], "x, line 2: has 5 columns, needs 7"),
        (CURVE_HEAD + curve_row("2024-01-10 00:30:00", 1, "P1D", physical="EA", unit="Wh"), "x: flux R65"),
        (CURVE_HEAD + curve_row("2024-01-10 00:30:00", 1, "P1D", physical="PMA", unit="VA"), "x: flux R66"),
        (INDEX_HEAD + index_row("2024-01-10 00:00:00", 1, physical="PMA"), "x: no index of active energy (EA)"),
        (to_json("R63", [{"grandeur": 1}]), "x: grandeur is not a list of objects"),
        (to_json("R63", [{"grandeur": [quantity([{"d": 5, "v": 1, "p": "PT30M"}])]}]), "x, point 1: d must be a date"),
        (to_json("R63", [{"grandeur": [quantity([{"v": 1, "p": "PT3M"}])]}]), "x, point 1: the step (p) must be"),
        (
            to_json("R63", [{"grandeur": [quantity([{"d": "2024-01-10", "v": [], "p": "PT5M"}])]}]),
            "x, point 1: the val",
        ),
        (
            to_json("R63", [{"grandeur": [quantity([{}], grandeurPhysique="PRI"), quantity([{"p": "PT3M"}])]}]),
            "x, point 2: the step (p) must be",
        ),
        (to_json("R63", []), "x: no value of active power"),
        ('{"mesures": [', "x: not JSON, or incomplete"),
        ("[" * 5000, "x: not JSON, or incomplete"),
        ('{"mesures": [' + "9" * 5000 + "]}", "x: not JSON, or incomplete"),
    ],
)
def test_a_damaged_file_is_refused_with_its_row(text: str, reason: str) -> None:
    assert refusal("x", text).startswith(reason)
