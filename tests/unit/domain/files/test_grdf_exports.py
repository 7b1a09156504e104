"""Format 14: the workbooks of GRDF's customer site."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from tests.support.downloaded_files import amounts, read_one, refusal, workbook
from worker.domain.parsing.gas import parse_gas_days
from worker.domain.series import Series
from worker.domain.windows import PARIS

HEADER = [
    "Date de relevé",
    "Index de début de période (m3)",
    "Index de fin de période (m3)",
    "Volume consommé (m3)",
    "Energie consommée (kWh)",
    "Coefficient de conversion",
    "Température locale (°C)",
    "Qualification du relevé",
]
DAYS: list[list[Any]] = [
    ["24/11/2021", 12163, 12175, 9.2, 105.136, 11.42781, 8, "Mesuré"],
    ["25/11/2021", None, None, 0, 0, None, None, "Absence de Données"],
    ["26/11/2021", 12175, 12175, 0, 0, 11.42781, None, "Estimé"],
]


def book(
    rows: list[list[Any]], header: list[str] = HEADER, pce: Any = 1234567890123, export: str = "Export du 28/11/2021"
) -> bytes:
    above = [
        [],
        ["Données informatives et détaillées", None, None, export],
        [],
        [None, "Adresse du logement : ", "1 rue de l'Exemple 99999 Exempleville"],
        [None, "N° PCE :", pce],
        [],
    ]
    return workbook({"Historique par mois": [*above, header, *rows]}, first_column=1)


def test_gas_days_are_read_as_an_answer_of_the_same_days_is() -> None:
    series = read_one("Donnees_informatives_PCE_DAILY.xlsx", book(DAYS))
    assert (series.format, series.usage_point, series.series) == ("grdf-days", "01234567890123", Series.GAS_DAILY)
    records = [
        {
            "releve_debut": {"index_brut_debut": {"valeur_index": begin}},
            "releve_fin": {"index_brut_fin": {"valeur_index": end}},
            "consommation": {
                "journee_gaziere": f"2021-11-{day}",
                "energie": energy,
                "volume_brut": volume,
                "coeff_calcul": {"coeff_conversion": 11.42781},
                "type_qualif_conso": quality,
                "type_conso": "Informative Journalier",
            },
        }
        for day, begin, end, volume, energy, quality in (
            (24, 12163, 12175, 9.2, 105.136, "Mesuré"),
            (26, 12175, 12175, 0, 0, "Estimé"),
        )
    ]
    assert list(series.readings) == list(parse_gas_days({"records": records}).readings)
    assert (amounts(series), series.dropped) == ({"2021-11-24": 105.136, "2021-11-26": 0}, 1)
    assert series.told_at == datetime(2021, 11, 28, tzinfo=PARIS)
    assert "Exemple" not in repr(series)


def test_without_an_export_date_a_file_is_as_old_as_its_last_day_with_a_value() -> None:
    rows = [*DAYS, ["27/11/2021", None, None, None, None, None, None, None]]
    assert read_one("x", book(rows, export="")).told_at == datetime(2021, 11, 27, tzinfo=PARIS)
    assert read_one("x", book(rows, export="Export du 01/01/2020")).told_at == datetime(2021, 11, 27, tzinfo=PARIS)


@pytest.mark.parametrize(
    ("pce", "number"),
    [("01234567890123", "01234567890123"), (123, "00000000000123"), ("GI123456", "GI123456"), ("", None), ("?", None)],
)
def test_a_pce_that_is_a_number_has_its_zeros_again(pce: Any, number: str | None) -> None:
    assert read_one("x", book(DAYS, pce=pce)).usage_point == number


@pytest.mark.parametrize("day", ["24/11/2021", date(2021, 11, 24), 44524])
def test_days_are_texts_dates_or_serial_numbers(day: Any) -> None:
    assert amounts(read_one("x", book([[day, *DAYS[0][1:]]]))) == {"2021-11-24": 105.136}


def test_the_gas_day_of_a_clock_change_is_one_day() -> None:
    rows = [["30/10/2021", 1, 2, 1, 11, 11, None, "Mesuré"], ["31/10/2021", 2, 3, 1, 11, 11, None, "Mesuré"]]
    assert [reading.length for reading in read_one("x", book(rows)).readings] == [
        timedelta(hours=24),
        timedelta(hours=25),
    ]


MONTHS = ["Date de relevé", "Volume consommé (m3)", "Energie consommée (kWh)"]


@pytest.mark.parametrize(
    "content",
    [
        book([["Novembre 2020 ", 75, 845], ["Décembre 2020 ", 345, 3808]], MONTHS),
        book([["Du 28/12/2020 au 03/01/2021", 75, 845]], MONTHS),
        book([["Du 28/12/2020 au 03/01/2021", *DAYS[0][1:]], ["Du 01/01/2021 au 03/01/2021", *DAYS[0][1:]]]),
        book([["Novembre 2020 ", *DAYS[0][1:]]]),
        book([["Août 2021", *DAYS[0][1:]]]),
    ],
)
def test_weeks_and_months_are_refused_for_days(content: bytes) -> None:
    assert refusal("x", content) == "x: has weeks or months of gas instead of days: download it by day"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (["hier", 1, 2, 1, 11, 11, None, "Mesuré"], "date de releve must be a date"),
        (["24/11/2021", 1, 2, 1, "onze", 11, None, "Mesuré"], "the value is not a number"),
        (["24/11/2021", "x", 2, 1, 11, 11, None, "Mesuré"], "the value is not a number"),
    ],
)
def test_a_damaged_row_is_named(row: list[Any], reason: str) -> None:
    assert refusal("x", book([row])).startswith(f"x, row 8: {reason}")
