"""Formats 1 to 3: the CSV files of Enedis' customer site until 2024, with what people and time have done to them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from tests.support.downloaded_files import amounts, read, read_one, refusal
from worker.cli.import_files import _describe
from worker.domain.parsing.electricity import parse_load_curve
from worker.domain.series import Series
from worker.domain.windows import PARIS
from worker.sync.file_import import FileComparison
from worker.web.pages.files import _to_found
from worker.web.texts import Words

METER = "99000000000011"
HEAD = "Identifiant PRM;Type de donnees;Date de debut;Date de fin;Grandeur physique;Grandeur metier;Etape metier;Unite"
CURVE_HEAD = f"""\ufeff{HEAD};Pas en minutes
{METER};Courbe de charge;27/10/2023;30/10/2023;Energie active;Consommation;Comptage Brut;W;
Horodate;Valeur
"""
INDEX_HEAD = f"\ufeff{HEAD}\n{METER};Index;09/01/2024;25/07/2024;Energie active;Consommation;Comptage Brut;Wh\n"
REGISTERS = "Horodate;Type de releve;" + ";".join(
    [f"EAS F{n}" for n in range(1, 11)] + [f"EAS D{n}" for n in range(1, 5)]
)
INDEX_COLUMNS = f"{REGISTERS};EAS T\n"
PRODUCTION_COLUMNS = f"{REGISTERS};EAS T;EAI T\n"
HOUR_NAME = f"Enedis_Conso_Heure_20231027-20231030_{METER}.csv"
INDEX_NAME = f"Enedis_Conso_Jour_20240109-20240725_{METER}.csv"
FOOTER_HEAD = ";".join(
    ["Periode", "Identifiant calendrier fournisseur", "Libelle calendrier fournisseur"]
    + [f"{word} classe temporelle {n}" for n in range(1, 11) for word in ("Identifiant", "Libelle", "Cadran")]
    + ["Identifiant calendrier distributeur", "Libelle calendrier distributeur"]
    + [
        f"{word} classe temporelle distributeur {n}"
        for n in range(1, 5)
        for word in ("Identifiant", "Libelle", "Cadran")
    ]
)


def index_row(day: str, supplier: Sequence[int], total: int | str, distributor: Sequence[int] = ()) -> str:
    cells = [*supplier, *[""] * (10 - len(supplier)), *distributor, *[""] * (4 - len(distributor)), total]
    return f"{day};Arrêté quotidien;{';'.join(map(str, cells))}\n"


def footer_row(since: str, calendar: str, periods: list[str], until: str = "") -> str:
    """The names of the registers; the distributor's has one, BASE, and its accents are encoded twice."""
    names = [*periods, *[""] * (10 - len(periods))]
    cells = [f"Du {since} au{until}", calendar, "libellé"]
    cells += [cell for place, name in enumerate(names, start=1) for cell in (name, "", f"EAS F{place}")]
    cells += ["DI000001", "Sans diffÃ©renciation", "BASE", "Base", "EAS D1"]
    cells += [cell for place in range(2, 5) for cell in ("", "", f"EAS D{place}")]
    return ";".join(cells) + "\n"


def curve(rows: str, head: str = CURVE_HEAD) -> str:
    return head + "".join(f"{row}\n" for row in rows.split())


def day_of_rows(*values: str) -> str:
    return " ".join(
        f"2024-01-10T{n // 2:02}:{30 * (n % 2):02}:00+01:00;{value}" for n, value in enumerate(values, start=1)
    )


# -- Load curves


def test_a_curve_is_read_as_an_answer_of_the_same_points_is() -> None:
    series = read_one(HOUR_NAME, curve(day_of_rows("252", "", "214", "232")))
    assert (series.format, series.usage_point, series.series) == ("enedis-hour", METER, Series.LOAD_CURVE)
    assert (series.dropped, series.step_minutes) == (1, (30,))
    points = [
        {"value": v, "date": f"2024-01-10 {t}", "interval_length": "PT30M"}
        for v, t in (("252", "00:30:00"), ("214", "01:30:00"), ("232", "02:00:00"))
    ]
    assert list(series.readings) == list(parse_load_curve({"meter_reading": {"interval_reading": points}}).readings)
    assert series.told_at == datetime(2024, 1, 11, tzinfo=PARIS)
    assert METER not in repr(series)
    assert series.file == "Enedis_Conso_Heure_20231027-20231030_…0011.csv"


def test_two_values_for_one_time_are_counted_and_the_last_holds() -> None:
    rows = day_of_rows("252", "330", "214")
    at_one = "2024-01-10T01:00:00+01:00"
    twice = read_one("x", curve(f"{rows} {at_one};9999 2024-01-10T02:00:00+01:00;200 2024-01-10T02:00:00+01:00;200"))
    assert (twice.differing, twice.dropped) == (1, 0) and twice.readings[1].amount == 9999 * 500
    assert read_one("x", curve(rows)).differing == 0
    zero = read_one("x", curve(f"{rows} {at_one};0"))
    assert (zero.differing, zero.readings[1].amount) == (1, 330 * 500)
    found = FileComparison(twice, None, None, 1, 0, 0, None, 0)
    assert _describe(found, None, None).endswith("1 time with two different values (the last one counts, never a zero)")
    (page,) = [value for name, value in _to_found(found, Words("en")).facts if name == "import.differing"]
    assert page == "1"


def test_the_autumn_hour_has_both_passes_and_the_spring_gap_is_no_hole() -> None:
    autumn = "2023-10-29T01:30:00+02:00;100 2023-10-29T02:00:00+02:00;110 2023-10-29T02:30:00+02:00;"
    autumn += " 2023-10-29T02:00:00+01:00;130 2023-10-29T02:30:00+01:00;140"
    assert [reading.start.utctimetuple()[2:5] for reading in read_one("x", curve(autumn)).readings] == [
        (28, 23, 0),
        (28, 23, 30),
        (29, 0, 30),
        (29, 1, 0),
    ]
    spring = "2024-03-31T01:30:00+01:00;100 2024-03-31T03:00:00+02:00;110 2024-03-31T03:30:00+02:00;120"
    series = read_one("x", curve(spring))
    assert [reading.length for reading in series.readings] == [timedelta(minutes=30)] * 3
    assert series.readings[1].start.astimezone(PARIS).isoformat() == "2024-03-31T01:30:00+01:00"


def test_steps_of_several_lengths_are_told_by_their_neighbours() -> None:
    labels = ["00:15", "00:30", "00:45", "01:00", "01:30", "02:00", "02:30", "03:00", "04:00", "05:00", "06:00"]
    rows = " ".join(f"2024-01-10T{label}:00+01:00;{n}" for n, label in enumerate(labels, start=1))
    series = read_one("x", curve(rows))
    assert [reading.length // timedelta(minutes=1) for reading in series.readings] == [15] * 4 + [30] * 4 + [60] * 3
    assert series.step_minutes == (15, 30, 60)
    assert (
        sum(reading.amount for reading in series.readings) == (1 + 2 + 3 + 4) * 250 + (5 + 6 + 7 + 8) * 500 + 30 * 1000
    )


def test_the_header_may_tell_the_step_of_a_lone_value() -> None:
    head = CURVE_HEAD.replace(";W;\n", ";W;60\n")
    assert read_one("x", curve("2024-01-10T05:00:00+01:00;1200", head)).step_minutes == (60,)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.removeprefix("\ufeff"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace(";", ","),
        lambda text: text.replace(";", "\t"),
        lambda text: text.replace(";252", ';"252"'),
        lambda text: text.replace(";252", ";252;0"),  # A third field in the first row.
        lambda text: text.replace("252", "252,0"),
        lambda text: text.replace("252", "252.0"),
        lambda text: text.replace("T0", " 0"),
        lambda text: text.replace("\n", ";;\n"),
        lambda text: text.replace("\n", "\n\n;\n"),
        lambda text: text.replace("Type de donnees", "Type de données").replace("Grandeur metier", "Grandeur métier"),
        lambda text: "\n".join([*text.splitlines()[:3], *text.splitlines()[:2:-1]]),
    ],
)
def test_what_spreadsheets_and_people_do_to_a_file_changes_nothing(spoil: object) -> None:
    text = curve(day_of_rows("252", "286", "214"))
    assert read("x", spoil(text)) == read("x", text)  # type: ignore[operator]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8-sig", "utf-16"])
def test_any_encoding_of_french_text_is_read(encoding: str) -> None:
    text = (INDEX_HEAD + INDEX_COLUMNS + index_row("2024-01-10T00:00:00+01:00", [1], 1000)).removeprefix("\ufeff")
    assert read("x", text.encode(encoding))[0].readings == read("x", text)[0].readings


@pytest.mark.parametrize("word", ["", "NA", "null", "na", "-", '""'])
def test_a_missing_value_is_never_zero(word: str) -> None:
    series = read_one("x", curve(day_of_rows("252", word, "0")))
    assert [reading.amount for reading in series.readings] == [126_000, 0]
    assert series.dropped == 1


@pytest.mark.parametrize("number", ["9,9E+13", "9.90000000000E+13", ""])
def test_a_number_that_a_spreadsheet_has_rounded_is_none(number: str) -> None:
    text = curve(day_of_rows("252")).replace(METER, f'"{number}"')
    assert read_one("x.csv", text).usage_point is None
    assert read_one(HOUR_NAME, text).usage_point == METER  # The name has it.


def test_a_number_that_lost_its_first_zero_has_it_again() -> None:
    assert read_one("x", curve(day_of_rows("1")).replace(METER, "1234567890123")).usage_point == "01234567890123"


def test_without_its_first_lines_a_curve_is_known_by_its_columns_alone() -> None:
    text = curve(day_of_rows("252", "286"), "Horodate;Valeur\n")
    assert read_one("x.csv", text).usage_point is None
    assert read_one(HOUR_NAME, text).usage_point == METER
    assert read_one(HOUR_NAME.replace("Conso", "Prod"), text).series is Series.PRODUCTION_LOAD_CURVE
    headless = refusal("x.csv", text.partition("\n")[2])
    assert "unknown format" in headless


def test_a_curve_of_production_is_one() -> None:
    text = curve(day_of_rows("252")).replace("Consommation", "Production")
    assert read_one("Enedis_Conso_Heure_1.csv", text).series is Series.PRODUCTION_LOAD_CURVE


# -- Indexes


def test_indexes_are_registers_and_the_energy_between_midnights() -> None:
    text = INDEX_HEAD + INDEX_COLUMNS
    text += index_row("2024-03-30T00:00:00+01:00", [400, 600], 1000, [1000])
    text += index_row("2024-03-31T00:00:00+01:00", [1400, 1600], 3000, [3000])
    text += index_row("2024-04-01T01:00:00+02:00", [2400, 3600], 6000, [6000])
    text += f"{FOOTER_HEAD}\n" + footer_row("2024-03-30T00:00:00+01:00", "FC000040", ["HC", "HP"])
    registers, daily = read(INDEX_NAME, text)
    assert (registers.series, daily.series) == (Series.REGISTERS, Series.DAILY)
    assert [reading.details for reading in registers.readings] == [
        {"registers": {"HC": 400, "HP": 600}, "calendar": "FC000040"},
        {"registers": {"HC": 1400, "HP": 1600}, "calendar": "FC000040"},
        {"registers": {"HC": 2400, "HP": 3600}, "calendar": "FC000040"},
    ]
    assert amounts(registers) == {"2024-03-30": 1000, "2024-03-31": 3000, "2024-04-01": 6000}
    assert amounts(daily) == {"2024-03-30": 2000, "2024-03-31": 3000}
    assert [reading.length for reading in daily.readings] == [timedelta(hours=24), timedelta(hours=23)]
    assert registers.told_at == daily.told_at == datetime(2024, 4, 1, tzinfo=PARIS)
    assert {registers.format, daily.format} == {"enedis-index"}


def test_a_summer_midnight_may_be_labelled_an_hour_late_and_an_exact_label_holds() -> None:
    rows = [("2024-07-01T00:00:00+02:00", 10), ("2024-07-01T01:00:00+02:00", 11), ("2024-07-02T01:00:00+02:00", 22)]
    for order in (rows, rows[::-1]):
        text = INDEX_HEAD + INDEX_COLUMNS + "".join(index_row(label, [], total) for label, total in order)
        assert amounts(read("x", text)[0]) == {"2024-07-01": 10, "2024-07-02": 22}
    winter = INDEX_HEAD + INDEX_COLUMNS + index_row("2024-01-01T01:00:00+01:00", [], 5)
    assert "no index at midnight" in refusal("x", winter)


def test_no_day_crosses_a_missing_midnight_or_a_replaced_meter() -> None:
    text = INDEX_HEAD + INDEX_COLUMNS
    for day, total in enumerate([1000, "", 5000, 5600, 20, 700, 99_000_000_000], start=10):
        text += index_row(f"2024-01-{day}T00:00:00+01:00", [], total)
    registers, daily = read("x", text + f"{FOOTER_HEAD}\n")
    assert amounts(daily) == {"2024-01-12": 600, "2024-01-14": 680}
    assert len(registers.readings) == 5
    assert registers.dropped == 2


def test_each_period_of_the_footer_names_its_registers() -> None:
    text = INDEX_HEAD + INDEX_COLUMNS
    for day in (10, 11, 12):
        text += index_row(f"2024-01-{day}T00:00:00+01:00", [100 * day, 200 * day], 300 * day, [300 * day])
    text += f"{FOOTER_HEAD}\n"
    text += footer_row("2024-01-10T00:00:00+01:00", "FC000010", ["BASE"], " 2024-01-11T00:00:00+01:00")
    text += footer_row("2024-01-11T00:00:00+01:00", "FC000040", ["HC", "HP"])
    first, second, third = read("x", text)[0].readings
    assert first.details == {"registers": {"BASE": 1000}, "calendar": "FC000010"}
    assert second.details == third.details | {"registers": {"HC": 1100, "HP": 2200}}  # type: ignore[operator]
    assert set(amounts(read("x", text)[1]).values()) == {300.0}  # The total counts on.


def test_without_a_footer_the_registers_have_the_meters_own_names() -> None:
    text = INDEX_HEAD + INDEX_COLUMNS + index_row("2024-01-10T00:00:00+01:00", [40, 60], 100, [100])
    assert read("x", text)[0].readings[0].details == {"registers": {"F1": 40, "F2": 60}}


def test_rows_without_any_value_give_nothing_and_no_error() -> None:
    text = INDEX_HEAD + INDEX_COLUMNS + "".join(index_row(f"2024-01-1{n}T00:00:00+01:00", [], "") for n in range(3))
    assert [(len(series.readings), series.series) for series in read("x", text)] == [
        (0, Series.REGISTERS),
        (0, Series.DAILY),
    ]
    assert read("x", text)[0].dropped == 3


def test_a_file_may_have_several_blocks_and_its_highest_powers_are_passed_over() -> None:
    block = INDEX_HEAD.removeprefix("\ufeff") + INDEX_COLUMNS
    block += index_row("2024-01-10T00:00:00+01:00", [10], 10) + index_row("2024-01-11T00:00:00+01:00", [30], 30)
    block += f"{FOOTER_HEAD}\n" + footer_row("2024-01-10T00:00:00+01:00", "FC000010", ["BASE"])
    power = f"{HEAD}\n{METER};Puissance maximale quotidienne;;;Puissance maximale atteinte;Consommation;;VA\n"
    power += "Horodate;Valeur\n2024-01-10T19:12:00+01:00;6400\n"
    later = block.replace("2024-01", "2024-02").replace(METER, "99000000000077")
    found = read("x", block + power + later)
    assert [(series.usage_point, amounts(series)) for series in found if series.series is Series.DAILY] == [
        (METER, {"2024-01-10": 20}),
        ("99000000000077", {"2024-02-10": 20}),
    ]
    assert "no load curve, no index" in refusal("x", power)


def test_indexes_of_production_stand_in_a_column_of_their_own() -> None:
    head = INDEX_HEAD.replace("Consommation", "Production") + PRODUCTION_COLUMNS
    text = head + "".join(index_row(f"2024-01-1{n}T00:00:00+01:00", [], f";{100 * n}") for n in range(3))
    registers, daily = read(f"Enedis_Prod_Jour_1_{METER}.csv", text)
    assert (registers.series, daily.series) == (Series.PRODUCTION_REGISTERS, Series.PRODUCTION_DAILY)
    assert amounts(daily) == {"2024-01-10": 100, "2024-01-11": 100}
    assert {series.format for series in (registers, daily)} == {"enedis-production-index"}
    headless = text.partition("Horodate")
    assert read("x", "Horodate" + headless[2].replace("EAS T;", "X;"))[1].series is Series.PRODUCTION_DAILY


# -- Damaged files


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CURVE_HEAD, "x: has no row below its header"),
        (CURVE_HEAD.splitlines()[0], "x: ends after its first line"),
        (curve(day_of_rows("1", "77")).replace(";77", ";two"), "x, line 5: the value is not a number"),
        (curve(day_of_rows("1", "77")).replace(";77", ";7E3"), "x, line 5: the value is not a number"),
        (curve(day_of_rows("1", "77")).replace(";77", ";" + "9" * 13), "x, line 5: the value is not a number"),
        (curve(day_of_rows("1", "77")).replace(";77", ";77;9"), "x, line 5: has 3 columns, needs 2"),
        (curve(day_of_rows("1", "77")).replace(";77", ""), "x, line 5: has 1 columns, needs 2"),
        (curve(day_of_rows("1", "77")).replace("2024-01-10T01", "9024-01-10T01"), "x, line 5: the year of horodate"),
        (curve(day_of_rows("1", "77")).replace("2024-01-10T01", "2024-02-30T01"), "x, line 5: horodate must be"),
        (
            curve(day_of_rows("1", "77")).replace("2024-01-10T01", "hier"),
            "x, line 5: neither a data row nor the foot",
        ),
        (curve(day_of_rows("1")).replace(METER, "0123"), "x, line 2: the meter number (Identifiant PRM) must have 14"),
        (curve(day_of_rows("1")).replace(";W;", ";kVA;"), "x, line 2: the unit of a load curve must be W"),
        (curve(day_of_rows("1") + " " + "2024-01-10T01:00:00+01:00; " * 200) + "\0", "x, line 205: it is not text"),
        (curve(day_of_rows("1")) + "1" * 40_000, "x, line 5: a line is too long"),
        (INDEX_HEAD.replace(";Wh", ";kWh") + INDEX_COLUMNS, "x, line 2: the unit of indexes must be Wh"),
        (INDEX_HEAD + REGISTERS + "\n", "x, line 3: no column 'eas t'"),
        (INDEX_HEAD + INDEX_COLUMNS + "2024-01-10T00:00:00+01:00;Arr;1;2\n", "x, line 4: has 4 columns, needs 17"),
        (INDEX_HEAD + "2024-01-10T00:00:00+01:00;1\n", "x, line 3: a data row before the line with the column names"),
        (
            INDEX_HEAD
            + INDEX_COLUMNS
            + index_row("2024-01-10T00:00:00+01:00", [], 1)
            + f"{FOOTER_HEAD}\nDu hier au;x\n",
            "x, line 6: the footer must have a time",
        ),
    ],
)
def test_a_damaged_file_is_refused_with_its_row_and_nothing_of_its_content(text: str, reason: str) -> None:
    told = refusal("x", text)
    assert told.startswith(reason)
    assert METER not in told
    assert "hier" not in told
