"""The regulator's files: what they say of each power and day, and why a file is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from itertools import pairwise
from random import Random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many
from tests.unit.domain.prices.shared_files import needs_shared_files, read_shared
from tools.lock_files import ROOT
from worker.domain.prices import PERIODS, Option, Price, PricesRefused, find_price
from worker.domain.prices.regulated import FILES, RegulatedTariff, read_tariff
from worker.domain.windows import ONE_DAY

COPIED_ON: Final = date(2025, 9, 30)
SHIPPED: Final = ROOT / "worker/data/prices"
ENERGY: Final = {
    Option.BASE: ["PART_VARIABLE"],
    Option.HPHC: ["PART_VARIABLE_HC", "PART_VARIABLE_HP"],
    Option.TEMPO: [f"PART_VARIABLE_{hours}{name}" for name in ("Bleu", "Blanc", "Rouge") for hours in ("HC", "HP")],
}
PERIODS_OF_COLUMNS: Final = {
    Option.BASE: ["base"],
    Option.HPHC: ["hc", "hp"],
    Option.TEMPO: [f"{colour}_{hours}" for colour in ("blue", "white", "red") for hours in ("hc", "hp")],
}
BASE: Final = """\
DATE_DEBUT;DATE_FIN;P_SOUSCRITE;PART_FIXE_HT;PART_FIXE_TTC;PART_VARIABLE_HT;PART_VARIABLE_TTC
01/02/2025;31/07/2025;3;103,2;125,34;0,1343;0,2016
01/02/2025;31/07/2025;6;134,16;165,17;0,1343;0,2016
01/08/2025;;3;102,12;141,00;0,1327;0,1952
01/08/2025;;6;132,84;185,94;0,1327;0,1952
"""
HPHC: Final = """\
DATE_DEBUT;DATE_FIN;P_SOUSCRITE;PART_FIXE_HT;PART_FIXE_TTC;PART_VARIABLE_HC_HT;PART_VARIABLE_HC_TTC;PART_VARIABLE_HP_HT;PART_VARIABLE_HP_TTC
01/02/2025;31/07/2025;6;138,12;169,92;0,1047;0,1696;0,1426;0,2146
01/08/2025;;6;134,64;188,10;0,1065;0,1635;0,1465;0,2081
"""


def refusal(text: str, option: Option = Option.BASE, copied_on: date = COPIED_ON, rows_before: int = 0) -> str:
    with pytest.raises(PricesRefused) as caught:
        read_tariff(text, option, copied_on, rows_before)
    return str(caught.value)


def comma(number: Decimal) -> str:
    return str(number).replace(".", ",")


def day_month_year(day: date) -> str:
    return f"{day:%d/%m/%Y}"


def year_day_month(day: date) -> str:
    return f"{day:%Y-%d-%m}"


def exchanged(day: date) -> str:
    """Return a date as a spreadsheet leaves it that took days for months where it could."""
    return f"{day:%Y-%d-%m}" if day.day <= 12 else f"{day:%Y-%m-%d}"


def write_rows(
    option: Option, powers: Mapping[int, Sequence[Price]], write_date: Callable[[date], str] = day_month_year
) -> list[str]:
    """Return the lines of a file, the header first; a price that lasts until further notice has no last day."""
    names = [f"{name}_{tax}" for name in ("PART_FIXE", *ENERGY[option]) for tax in ("HT", "TTC")]
    lines = [";".join(["DATE_DEBUT", "DATE_FIN", "P_SOUSCRITE", *names])]
    for power, prices in powers.items():
        for price in prices:
            amounts = [
                price.subscription,
                *(price.energy[period] for period in PERIODS_OF_COLUMNS[option] if price.energy),
            ]
            cells = [cell for amount in amounts for cell in ("0,01", comma(amount))]
            if not price.energy:
                cells = [""] * len(names)
            days = [write_date(price.first), write_date(price.last) if price.last else ""]
            lines.append(";".join([*days, str(power), *cells]))
    return lines


amounts = st.decimals("0.0001", 5, places=4)
subscriptions = st.decimals("0.01", 2000, places=2)


@st.composite
def made_powers(draw: st.DrawFn, option: Option) -> dict[int, list[Price]]:
    """Return prices of some powers, which change on 1 February and 1 August; some rows have none."""
    powers: dict[int, list[Price]] = {}
    for power in draw(st.lists(st.sampled_from([3, 6, 9, 12, 36]), min_size=1, max_size=3, unique=True)):
        first_half, length = draw(st.integers(0, 20)), draw(st.integers(2, 6))
        starts = [
            date(2012 + half // 2, 2 if half % 2 == 0 else 8, 1) for half in range(first_half, first_half + length + 1)
        ]
        prices = []
        for start, after in pairwise(starts):
            has_prices = after == starts[-1] or draw(st.booleans())
            energy = {period: draw(amounts) for period in PERIODS[option]} if has_prices else {}
            prices.append(Price(start, after - ONE_DAY, energy, draw(subscriptions) if has_prices else Decimal(0)))
        powers[power] = prices
    return powers


@st.composite
def made_files(draw: st.DrawFn) -> tuple[Option, dict[int, list[Price]], list[str]]:
    option = draw(st.sampled_from(Option))
    powers = draw(made_powers(option))
    write_date = draw(st.sampled_from([day_month_year, year_day_month, exchanged]))
    return option, powers, write_rows(option, powers, write_date)


def priced(powers: Mapping[int, Sequence[Price]]) -> dict[int, list[Price]]:
    return {power: [price for price in prices if price.energy] for power, prices in powers.items()}


def by_power(tariff: RegulatedTariff) -> dict[int, list[Price]]:
    return {power: list(prices) for power, prices in tariff.by_power.items()}


def test_a_file_of_each_option_gives_its_prices_by_power_and_day() -> None:
    base, hphc = read_tariff(BASE, Option.BASE, COPIED_ON), read_tariff(HPHC, Option.HPHC, COPIED_ON)
    assert by_power(base)[6] == [
        Price(date(2025, 2, 1), date(2025, 7, 31), {"base": Decimal("0.2016")}, Decimal("165.17")),
        Price(date(2025, 8, 1), date(2026, 1, 31), {"base": Decimal("0.1952")}, Decimal("185.94")),
    ]
    summer = find_price(hphc.by_power[6], date(2025, 8, 1))
    assert summer and summer.energy == {"hp": Decimal("0.2081"), "hc": Decimal("0.1635")}
    assert base.rows == 4


def test_a_power_without_a_row_has_no_price() -> None:
    tariff = read_tariff(BASE, Option.BASE, COPIED_ON)
    assert not {4, 5, 7, 9} & tariff.by_power.keys()


@pytest.mark.parametrize(
    ("copied_on", "last"),
    [
        (date(2025, 8, 1), date(2026, 1, 31)),
        (date(2026, 1, 31), date(2026, 1, 31)),
        (date(2026, 2, 1), date(2026, 7, 31)),
        (date(2026, 7, 31), date(2026, 7, 31)),
        (date(2027, 12, 31), date(2028, 1, 31)),
        (date(2025, 7, 4), date(2026, 1, 31)),  # The regulator publishes prices some weeks before they begin.
    ],
)
def test_a_row_in_force_counts_until_prices_may_change_after_the_copy(copied_on: date, last: date) -> None:
    assert read_tariff(BASE, Option.BASE, copied_on).by_power[6][-1].last == last


@given(made_files(), st.randoms(use_true_random=False), st.sampled_from(["\n", "\r\n"]), st.booleans())
@many
def test_a_written_file_is_read_back_in_each_form_and_any_order_of_rows(
    made: tuple[Option, dict[int, list[Price]], list[str]], random: Random, newline: str, is_marked: bool
) -> None:
    option, powers, (header, *rows) = made
    random.shuffle(rows)
    blank = ";" * header.count(";")
    text = newline.join(["\ufeff" * is_marked + header.replace("P_SOUS", "p_sous"), *rows, "", blank, blank + ";;"])
    tariff = read_tariff(text, option, COPIED_ON, len(rows))
    assert by_power(tariff) == priced(powers)
    assert tariff.rows == len(rows)


def test_rows_without_prices_are_left_out_but_fill_no_gap_with_a_price() -> None:
    text = BASE.replace("31/07/2025;6;134,16;165,17;0,1343;0,2016", "31/07/2025;6;;;;")
    tariff = read_tariff(text, Option.BASE, COPIED_ON)
    assert [price.first for price in tariff.by_power[6]] == [date(2025, 8, 1)]
    assert tariff.rows == 4
    nothing = "\n".join([BASE.splitlines()[0], "01/02/2025;;6;;;;"])
    assert refusal(nothing) == "no row has prices"


def test_columns_without_a_name_that_are_empty_are_no_fault() -> None:
    text = BASE.replace("\n", ";\n")
    assert read_tariff(text, Option.BASE, COPIED_ON) == read_tariff(BASE, Option.BASE, COPIED_ON)


def test_the_other_name_of_the_power_is_known() -> None:
    text = BASE.replace("P_SOUSCRITE", "PUISSANCE")
    assert read_tariff(text, Option.BASE, COPIED_ON) == read_tariff(BASE, Option.BASE, COPIED_ON)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (BASE, "", "the columns are not those of option base: DATE_DEBUT is missing"),
        (BASE, BASE.splitlines()[0], "no row has prices"),
        ("PART_VARIABLE_TTC", "PRIX", "the columns are not those of option base: PART_VARIABLE_TTC is missing"),
        (
            "PART_FIXE_HT",
            "PART_NOUVELLE",
            "the columns are not those of option base: 'PART_NOUVELLE' doesn't belong there",
        ),
        ("PART_FIXE_HT", "PUISSANCE", "the columns are not those of option base: 'P_SOUSCRITE' doesn't belong there"),
        ("0,1343;0,2016\n01/08", "0,1343\n01/08", "line 3: has 6 cells, the header has 7"),
        ("0,1343;0,2016\n01/08", "0,1343;0,2016;1\n01/08", "line 3: has 8 cells, the header has 7"),
        ("01/08/2025;;6", "01/08/2025;;6,5", "line 5: P_SOUSCRITE must be a power in kVA, such as 6"),
        ("185,94", "185.94", "line 5: PART_FIXE_TTC must be a number such as 0,1952"),
        ("185,94", "", "line 5: PART_FIXE_TTC must be a number such as 0,1952"),
        ("185,94", "0,00", "line 5: PART_FIXE_TTC must be more than 0 and at most 12000"),
        ("185,94;0,1327;0,1952", "185,94;0,1327;NaN", "line 5: PART_VARIABLE_TTC must be a number such as 0,1952"),
        ("185,94;0,1327;0,1952", "185,94;0,1327;-0,1", "line 5: PART_VARIABLE_TTC must be more than 0 and at most 5"),
        ("185,94;0,1327;0,1952", "185,94;0,1327;0", "line 5: PART_VARIABLE_TTC must be more than 0 and at most 5"),
        ("185,94;0,1327;0,1952", "185,94;0,1327;5,01", "line 5: PART_VARIABLE_TTC must be more than 0 and at most 5"),
        (
            "01/02/2025;31/07/2025;3",
            "2/2/2025;31/07/2025;3",
            "line 2: DATE_DEBUT and DATE_FIN must be dates such as 01/08/2025",
        ),
        (
            "01/08/2025;;6",
            "31/06/2025;;6",
            "line 5: DATE_DEBUT and DATE_FIN must be dates such as 01/08/2025",
        ),
        (
            "01/08/2025;;6",
            "2025-08-01;;6",
            "6 kVA: 2025-02-01 has two prices: those from 2025-01-08 and from 2025-02-01 on",
        ),
        (
            "01/08/2025;;6",
            ";;6",
            "line 5: DATE_DEBUT and DATE_FIN must be dates such as 01/08/2025",
        ),
        ("31/07/2025;6", "30/06/2025;6", "6 kVA: the days from 2025-07-01 to 2025-07-31 are missing"),
        (
            "31/07/2025;6",
            "01/08/2025;6",
            "6 kVA: 2025-08-01 has two prices: those from 2025-02-01 and from 2025-08-01 on",
        ),
        ("31/07/2025;6", ";6", "6 kVA: 2025-08-01 has two prices: those from 2025-02-01 and from 2025-08-01 on"),
        (
            "01/08/2025;;3",
            "01/08/2025;;6",
            "6 kVA: 2025-08-01 has two prices: those from 2025-08-01 and from 2025-08-01 on",
        ),
        (
            "01/08/2025;;6",
            "01/08/2025;31/07/2025;6",
            "6 kVA: the price from 2025-08-01 on ends before it begins, on 2025-07-31",
        ),
    ],
)
def test_a_file_is_refused_whole_with_one_reason(old: str, new: str, reason: str) -> None:
    assert BASE.count(old) == 1 or old == BASE
    assert refusal(BASE.replace(old, new)) == reason


def test_a_bad_date_of_the_exchanged_form_has_its_line() -> None:
    rows = ["2025-01-02;2025-31-07;6;1;1;1;1", "2025-01-08;2025-31-13;6;1;1;1;1"]
    assert refusal("\n".join([BASE.splitlines()[0], *rows])).startswith("line 3: DATE_DEBUT and DATE_FIN must be dates")


def test_the_file_of_another_option_is_refused() -> None:
    assert refusal(HPHC) == "the columns are not those of option base: PART_VARIABLE_TTC is missing"
    assert refusal(BASE, Option.TEMPO).startswith("the columns are not those of option tempo: PART_VARIABLE_HPBLEU_TTC")


def test_a_file_with_fewer_rows_than_the_copy_before_is_refused() -> None:
    assert refusal(BASE, rows_before=5) == "it has 4 rows, but the copy before had 5"
    assert read_tariff(BASE, Option.BASE, COPIED_ON, 4).rows == 4


@st.composite
def damaged_files(draw: st.DrawFn) -> tuple[Option, str]:
    """Return a made file of which some cells, or characters, are others."""
    option, _, lines = draw(made_files())
    cells = [line.split(";") for line in lines]
    junk = st.sampled_from(
        ["", "0", "-1", "0,1", "9,9", "31/02/2025", "01/08/2025", "2013-01-08", "6", "²", "\x1c", "é" * 50]
    )
    for _ in range(draw(st.integers(0, 3))):
        row = draw(st.integers(0, len(cells) - 1))
        cells[row][draw(st.integers(0, len(cells[row]) - 1))] = draw(junk | st.text(max_size=5))
    text = "\n".join(";".join(row) for row in cells)
    cut = draw(st.integers(0, len(text)))
    return draw(st.sampled_from([option, *Option])), text[:cut] if draw(st.booleans()) else text


@given(damaged_files() | st.tuples(st.sampled_from(Option), st.text()))
@many
def test_any_text_is_refused_in_one_line_or_gives_each_day_of_a_power_at_most_one_possible_price(
    made: tuple[Option, str],
) -> None:
    option, text = made
    try:
        tariff = read_tariff(text, option, COPIED_ON)
    except PricesRefused as refused:
        assert str(refused).isprintable()
        assert len(str(refused)) < 200
        return
    for prices in tariff.by_power.values():
        assert prices
        assert all(before.last and before.last < after.first for before, after in pairwise(prices))
        assert all(price.last and price.first <= price.last for price in prices)
        assert all(0 < amount <= 5 for price in prices for amount in price.energy.values())
        assert all(set(price.energy) == set(PERIODS[option]) for price in prices)


@pytest.mark.parametrize("option", [Option.BASE, Option.TEMPO])
def test_the_shipped_copies_are_read_and_their_open_rows_end_in_january_2026(option: Option) -> None:
    copied_on = date.fromisoformat(json.loads((SHIPPED / "copies.json").read_text())[FILES[option]])
    tariff = read_tariff((SHIPPED / FILES[option]).read_text("utf-8"), option, copied_on)
    powers = {Option.BASE: [3, 6, 9, 12, 15], Option.TEMPO: [6, 9, 12, 15, 18, 30, 36]}[option]
    assert sorted(tariff.by_power) == powers
    assert {tariff.by_power[power][-1].last for power in powers} == {date(2026, 1, 31)}
    for prices in tariff.by_power.values():
        assert all(before.last == after.first - ONE_DAY for before, after in pairwise(prices))


def test_the_shipped_copy_of_tempo_has_six_kva_from_2023_on_and_the_prices_of_the_grid() -> None:
    tariff = read_tariff((SHIPPED / FILES[Option.TEMPO]).read_text("utf-8"), Option.TEMPO, date(2025, 8, 1))
    assert find_price(tariff.by_power[6], date(2023, 1, 31)) is None
    price = find_price(tariff.by_power[6], date(2025, 8, 1))
    assert price is not None
    assert price.subscription == Decimal("186.46")
    assert price.energy["blue_hc"] == Decimal("0.1232")
    assert price.energy["red_hp"] == Decimal("0.6468")


def shipped(option: Option, write_date: Callable[[date], str] = day_month_year) -> str:
    """Return a shipped copy with dates of this form."""
    cells = [line.split(";") for line in (SHIPPED / FILES[option]).read_text("utf-8").splitlines()]
    for row in cells[1:]:
        for place in (0, 1):
            if row[place]:
                day, month, year = map(int, row[place].split("/"))
                row[place] = write_date(date(year, month, day))
    return "\n".join(";".join(row) for row in cells)


@pytest.mark.parametrize("option", [Option.BASE, Option.TEMPO])
@pytest.mark.parametrize("write_date", [year_day_month, exchanged])
def test_the_shipped_copies_say_the_same_with_dates_of_other_forms(
    option: Option, write_date: Callable[[date], str]
) -> None:
    assert read_tariff(shipped(option, write_date), option, COPIED_ON) == read_tariff(
        shipped(option), option, COPIED_ON
    )


@pytest.mark.parametrize("option", [Option.BASE, Option.TEMPO])
def test_dates_that_are_meant_as_year_month_day_are_refused(option: Option) -> None:
    """Prices change on the first of a month and end on its last: the days would not follow each other."""
    assert "has two prices" in refusal(shipped(option, date.isoformat), option)


@needs_shared_files
@pytest.mark.parametrize("option", [Option.BASE, Option.TEMPO])
def test_the_shipped_copies_are_the_real_files(option: Option) -> None:
    assert read_shared(FILES[option]) == (SHIPPED / FILES[option]).read_text("utf-8")
