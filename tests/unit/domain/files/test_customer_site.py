"""Formats 4 to 8: the workbooks of Enedis' customer site since 2025, their CSV, and what other tools make of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from tests.support.downloaded_files import amounts, read, read_one, refusal, sheet_xml, workbook
from worker.domain.series import Series
from worker.domain.windows import PARIS

METER = "99000000000011"
CURVE_NAME = f"{METER}_Export_courbe_de_charge_Consommation_01012025-07012025.xlsx"
DAYS_NAME = f"{METER}_Export_energie_Consommation_01012025-07012025.xlsx"
ABOVE: list[list[Any]] = [
    ["Mes mesures"],
    [],
    ["Point Référence Mesure (PRM) : ", METER, "Type de comptage : ", "Consommation Horaire"],
    ["Date de début : ", "01/01/2025"],
]
HALF_HOUR = timedelta(minutes=30)


def curve_rows(starts: Sequence[str], step: timedelta = HALF_HOUR, value: Any = 0.5) -> list[list[Any]]:
    """Rows of steps that begin at these local times, dd/mm/yyyy hh:mm, with naive ends."""
    rows = []
    for start in starts:
        moment = datetime.strptime(start, "%d/%m/%Y %H:%M")  # noqa: DTZ007
        rows.append([f"{moment:%d/%m/%Y %H:%M:%S}", f"{moment + step:%d/%m/%Y %H:%M:%S}", value])
    return rows


def curve_book(rows: Sequence[Sequence[Any]], above: Sequence[Sequence[Any]] = ABOVE, **layout: Any) -> bytes:
    return workbook({"Consommation Horaire": [*above, ["Début", "Fin", "Valeur (en kW)"], *rows]}, **layout)


def days_book(rows: Sequence[Sequence[Any]], kind: str = "Consommation Quotidienne") -> bytes:
    above = [["Point Référence Mesure (PRM) : ", METER, "Type de comptage : ", kind], []]
    return workbook({"Page d'accueil": [["Bienvenue"]], f"Export {kind}": [*above, ["Date", "Valeur (en kWh)"], *rows]})


# -- Format 4, and its CSV (6)


def test_a_curve_of_a_workbook_is_read() -> None:
    rows = curve_rows(["01/01/2025 00:00", "01/01/2025 00:30"])
    rows.append(["01/01/2025 01:00:00", "01/01/2025 02:00:00", "0,412"])
    series = read_one(CURVE_NAME, curve_book(rows))
    assert (series.format, series.usage_point, series.series) == ("enedis-site-curve", METER, Series.LOAD_CURVE)
    assert [reading.amount / 1000 for reading in series.readings] == [250, 250, 412]
    assert series.step_minutes == (30, 60)
    assert series.told_at == datetime(2025, 1, 2, tzinfo=PARIS)
    assert METER not in series.file


@pytest.mark.parametrize("first_column", [0, 2])
@pytest.mark.parametrize("form", [str, datetime, float])
def test_times_are_texts_dates_or_serial_numbers_from_any_column_on(first_column: int, form: type) -> None:
    def convert(text: str) -> Any:
        moment = datetime.strptime(text, "%d/%m/%Y %H:%M:%S")  # noqa: DTZ007
        serial = (moment - datetime(1899, 12, 30)) / timedelta(days=1)  # noqa: DTZ001
        return {str: text, datetime: moment, float: serial}[form]

    starts = [f"0{day}/01/2025 {hour:02}:{minute:02}" for day in (1, 2) for hour in range(24) for minute in (0, 30)]
    rows = [[convert(start), convert(end), value] for start, end, value in curve_rows(starts)]
    series = read_one(CURVE_NAME, curve_book(rows, first_column=first_column))
    assert series.readings == read_one(CURVE_NAME, curve_book(curve_rows(starts))).readings
    assert len(series.readings) == 96


def _autumn_day(*, ends_count_on: bool) -> list[list[Any]]:
    """All rows of 26 October 2025; the end of the last step of a pass is the next label, or counts on."""
    rows = []
    moment = datetime(2025, 10, 25, 22)  # noqa: DTZ001 # In UTC.
    for step in range(50):
        start, end = (_local(moment + place * HALF_HOUR) for place in (step, step + 1))
        end = start + HALF_HOUR if ends_count_on else end
        rows.append([f"{start:%d/%m/%Y %H:%M:%S}", f"{end:%d/%m/%Y %H:%M:%S}", step / 100])
    return rows


def _local(utc: datetime) -> datetime:
    return utc.replace(tzinfo=UTC).astimezone(PARIS).replace(tzinfo=None)


@pytest.mark.parametrize("ends_count_on", [False, True])
@pytest.mark.parametrize("newest_first", [False, True])
def test_the_order_of_rows_decides_the_doubled_autumn_hour(ends_count_on: bool, newest_first: bool) -> None:
    rows = _autumn_day(ends_count_on=ends_count_on)
    if newest_first:
        rows += [["27/10/2025 00:00:00", "27/10/2025 00:30:00", 7]]
        rows.reverse()
    readings = read_one(CURVE_NAME, curve_book(rows)).readings[:50]
    assert [reading.amount for reading in readings] == [step * 5000 for step in range(50)]
    first = datetime(2025, 10, 25, 22, tzinfo=UTC)
    assert [reading.start.astimezone(UTC) for reading in readings] == [first + step * HALF_HOUR for step in range(50)]


@pytest.mark.parametrize("newest_first", [False, True])
def test_weeks_put_together_in_any_order_keep_the_doubled_autumn_hour(newest_first: bool) -> None:
    week = _autumn_day(ends_count_on=False)
    other = curve_rows([f"02/11/2025 {n // 2:02}:{30 * (n % 2):02}" for n in range(48)])
    rows = other + week
    if newest_first:
        rows = week[::-1] + other[::-1]
    readings = read_one(CURVE_NAME, curve_book(rows)).readings[:50]
    assert [reading.amount for reading in readings] == [step * 5000 for step in range(50)]


def test_an_hour_that_is_doubled_half_an_hour_early_is_still_told_by_position() -> None:
    """One author has seen 01:30 and 02:00 doubled."""
    labels = ["00:30", "01:00", "01:30", "02:00", "01:30", "02:00"]
    labels += [f"{n // 2:02}:{30 * (n % 2):02}" for n in range(5, 48)] + ["00:00"]
    rows = []
    for place, label in enumerate(labels):
        day = "27" if place == len(labels) - 1 else "26"
        end = datetime.strptime(f"{day}/10/2025 {label}", "%d/%m/%Y %H:%M")  # noqa: DTZ007
        rows.append([f"{end - HALF_HOUR:%d/%m/%Y %H:%M:%S}", f"{end:%d/%m/%Y %H:%M:%S}", place / 100])
    assert len(rows) == 50
    readings = read_one(CURVE_NAME, curve_book(rows)).readings
    assert [reading.amount for reading in readings] == [step * 5000 for step in range(50)]


@pytest.mark.parametrize("with_gap", [False, True])
def test_the_spring_gap_is_no_hole_also_where_its_rows_say_na(with_gap: bool) -> None:
    rows = [*curve_rows(["30/03/2025 01:00"]), ["30/03/2025 01:30:00", "30/03/2025 03:00:00", 0.5]]
    if with_gap:
        rows = curve_rows(["30/03/2025 01:00", "30/03/2025 01:30"])
        rows += curve_rows(["30/03/2025 02:00", "30/03/2025 02:30"], value="NA")
    rows += curve_rows(["30/03/2025 03:00"])
    series = read_one(CURVE_NAME, curve_book(rows))
    first = datetime(2025, 3, 30, 0, tzinfo=UTC)
    assert [reading.start for reading in series.readings] == [first + step * HALF_HOUR for step in range(3)]
    assert series.dropped == (2 if with_gap else 0)


@pytest.mark.parametrize("separator", [";", ",", "\t"])
def test_a_curve_that_was_saved_as_csv_says_the_same(separator: str) -> None:
    rows = curve_rows(["01/01/2025 00:00", "01/01/2025 00:30"], value='"0,412"')
    text = separator.join(["Début", "Fin", "Valeur (en kW)"]) + "\r\n"
    text += "".join(separator.join(map(str, cells)) + "\r\n" for cells in rows)
    series = read_one("2025.csv", text)
    assert (series.usage_point, [reading.amount for reading in series.readings]) == (None, [206_000, 206_000])
    above = "".join(separator.join(map(str, cells)) + "\r\n" for cells in ABOVE)
    assert read_one("2025.csv", above + text).usage_point == METER
    assert read_one("2025.csv", (above + text).encode("cp1252")).readings == series.readings
    assert read_one("2025.csv", text.replace("Début", "DÃ©but")).readings == series.readings
    assert read_one("2025.csv", text + text).readings == series.readings


def test_a_decimal_comma_without_quotes_is_never_read_as_whole_kilowatts() -> None:
    text = "Début,Fin,Valeur (en kW)\n01/01/2025 00:00:00,01/01/2025 00:30:00,0,412\n"
    assert refusal("x", text).startswith("x, line 2: has 4 cells, but the header has 3")


def test_a_formula_has_the_value_that_was_stored_with_it() -> None:
    texts = "".join(f'<c t="inlineStr"><is><t>{name}</t></is></c>' for name in ("Date", "Valeur (en kWh)"))
    cells = '<c r="A2"><f>DATE(2025,1,1)</f><v>45658</v></c><c r="B2"><f>1+5</f><v>6</v></c>'
    parts = f'<row r="1">{texts}</row><row r="2">{cells}</row>'
    assert amounts(read_one("x", workbook({"x": []}, sheet=sheet_xml(parts)))) == {"2025-01-01": 6000}


# -- Format 5


@pytest.mark.parametrize("day", ["01/01/2025", date(2025, 1, 1), 45658, "2025-01-01"])
def test_days_of_a_workbook_are_read(day: Any) -> None:
    series = read_one(
        DAYS_NAME, days_book([[day, 6.329], ["02/01/2025", "3,217"], ["03/01/2025", "NA"], ["04/01/2025", 0]])
    )
    assert (series.format, series.usage_point, series.series) == ("enedis-site-days", METER, Series.DAILY)
    assert amounts(series) == {"2025-01-01": 6329, "2025-01-02": 3217, "2025-01-04": 0}
    assert (series.dropped, series.told_at) == (1, datetime(2025, 1, 5, tzinfo=PARIS))


def test_days_of_production_are_production_also_beside_consumption() -> None:
    book = workbook(
        {
            "Export Consommation Quotidienne": [["Date", "Valeur (en kWh)"], ["01/01/2025", 6]],
            "Export Production Quotidienne": [["Date", "Valeur (en kWh)"], ["01/01/2025", 33.53]],
        }
    )
    assert [(series.series, amounts(series)) for series in read("x.xlsx", book)] == [
        (Series.DAILY, {"2025-01-01": 6000}),
        (Series.PRODUCTION_DAILY, {"2025-01-01": 33530}),
    ]
    assert read_one("x", days_book([["01/01/2025", 1]], "Production Quotidienne")).series is Series.PRODUCTION_DAILY


def test_a_number_in_a_cell_of_numbers_is_the_meters_too() -> None:
    above = [["Point Référence Mesure (PRM) : ", 1234567890123]]
    assert read_one("x", curve_book(curve_rows(["01/01/2025 00:00"]), above)).usage_point == "01234567890123"


def test_notes_below_the_data_are_passed_over_and_those_between_are_not() -> None:
    note = ["* Données fournies à titre indicatif"]
    first, second = ["01/01/2025", 1], ["02/01/2025", 2]
    assert len(read_one("x", days_book([note, first, second, [], note])).readings) == 2
    assert refusal("x", days_book([first, note, second])).startswith("x, sheet 2, row 5: neither a data row nor")


# -- Formats 7 and 8


def test_the_history_of_the_extension_is_read_and_null_is_missing() -> None:
    text = "debut;fin;kW\r\n"
    for hour, offset, value in (("01:30", "+02:00", '"0,4"'), ("02:00", "+02:00", "null"), ("02:30", "+02:00", "0.2")):
        start = datetime.fromisoformat(f"2025-10-26T{hour}:00{offset}")
        text += f"{start.isoformat()};{(start + HALF_HOUR).isoformat()};{value}\r\n"
    text += '2025-10-26T02:00:00+01:00;2025-10-26T02:30:00+01:00;"1,5"\r\n'
    series = read_one(f"historique_conso_{METER}.csv", text)
    assert (series.format, series.usage_point, series.series) == ("extension-history", METER, Series.LOAD_CURVE)
    assert [(reading.start.astimezone(UTC).hour, reading.amount // 1000) for reading in series.readings] == [
        (23, 200),
        (0, 100),
        (1, 750),
    ]
    assert series.dropped == 1
    assert read_one(f"historique_prod_{METER}.csv", text).series is Series.PRODUCTION_LOAD_CURVE


def test_the_curve_of_the_script_is_read() -> None:
    text = f"Courbe de charge Linky (pas 30 min) - PRM {METER}\nHorodate fin de pas;Puissance moyenne (W)\n"
    labels = [f"2026-07-13T{hour}" for hour in ("23:00:00", "23:30:00")] + ["2026-07-14T00:00:00"]
    series = read_one("conso.csv", text + "".join(f"{label};{n}\n" for n, label in enumerate(labels, start=420)))
    assert (series.format, series.usage_point, series.series) == ("script-curve", METER, Series.LOAD_CURVE)
    assert [reading.amount for reading in series.readings] == [210_000, 210_500, 211_000]
    assert series.told_at == datetime(2026, 7, 14, tzinfo=PARIS)


# -- Damaged files


def _cut(book: bytes) -> bytes:
    return book[: len(book) // 2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (curve_book([["01/01/2025 00:00:00", "01/01/2025 00:25:00", 1]]), "x, row 6: the step does not end 5, 10, 15"),
        (curve_book([["01/01/2025 00:30:00", "01/01/2025 00:00:00", 1]]), "x, row 6: the step does not end 5, 10, 15"),
        (curve_book([["01/01/2025 00:00:00", "32/01/2025 00:30:00", 1]]), "x, row 6: fin must be a date and time"),
        (curve_book([["01/01/2025 00:00:00", "01/01/2025 00:30:00", "?"]]), "x, row 6: the value is not a number"),
        (curve_book([["01/01/2025 00:00:00", "01/01/2025 00:30:00", 1e15]]), "x, row 6: the value is not a number"),
        (curve_book([]), "x: has no row below its header"),
        (days_book([["01/01/2025 10:00", 1]]), "x, sheet 2, row 4: a day must have no time of day"),
        (days_book([[9e9, 1]]), "x, sheet 2, row 4: date must be a date"),
        (workbook({"a": [["x"]], "b": []}), "x: unknown format"),
        (_cut(days_book([["01/01/2025", 1]])), "x: a damaged or incomplete archive"),
        ("debut;fin;kW\n2025-10-26T02:00:00+02:00;2025-10-26T02:30:00;1\n", "x, line 2: one of the two times has an"),
        ("Horodate fin de pas;Puissance moyenne (W)\nhier;1\n", "x, line 2: horodate fin de pas must be a date"),
    ],
)
def test_a_damaged_file_is_refused_with_its_row(content: bytes | str, reason: str) -> None:
    assert refusal("x", content).startswith(reason)
