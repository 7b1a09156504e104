"""Documents as readers get them: fields of JSON, columns and cells of CSV."""

from __future__ import annotations

from datetime import date

import pytest

from tests.support.gas_entries import gas_documents, gas_period
from tests.support.panel_homes import TEMPO, PanelHome
from worker.domain.exports import (
    MONTH_FIELDS,
    PUBLIC_FIELDS,
    csv_columns,
    csv_varies,
    find_tariff_periods,
    to_csv_fields,
    to_month_fields,
    to_public_fields,
)
from worker.domain.series import Doctype, Period
from worker.domain.totals import months_of_intervals

DOCUMENTS = PanelHome(date(2024, 7, 24), days=40, periods=TEMPO).documents() | gas_documents()
ENERGIES = [doctype for doctype in Doctype if not doctype.details]


@pytest.mark.parametrize("doctype", ENERGIES)
def test_energies_have_the_same_seven_fields_in_both_directions(doctype: Doctype) -> None:
    last = {Period.HOUR: ["minutes", "expected_minutes"], Period.DAY: ["computed"], Period.MINUTE: []}
    expected = last.get(doctype.period, ["days", "expected_days"])
    assert csv_columns(doctype) == [*PUBLIC_FIELDS, *expected] and not csv_varies(doctype)
    assert to_public_fields(DOCUMENTS[doctype][0], doctype).keys() <= set(PUBLIC_FIELDS)


@pytest.mark.parametrize("doctype", Doctype)
def test_every_csv_begins_with_the_same_columns_and_has_a_place_for_each_field(doctype: Doctype) -> None:
    columns = csv_columns(doctype, find_tariff_periods(DOCUMENTS[doctype], doctype))
    assert columns[: len(PUBLIC_FIELDS)] == list(PUBLIC_FIELDS)
    for document in DOCUMENTS[doctype]:
        fields = to_csv_fields(document, doctype)
        assert fields.keys() <= set(columns)
        assert not any(isinstance(value, dict) for value in fields.values())


def test_the_highest_power_comes_in_kva_and_va_with_its_instant() -> None:
    document = DOCUMENTS[Doctype.MAX_POWER][-1]
    fields = to_public_fields(document, Doctype.MAX_POWER)
    assert fields["va"] == round(document["load"] * 1000) and fields["at"] == document["at"]
    assert fields["at"].startswith(f"2024-07-24T{fields['hour']:02}:{fields['minute']:02}:")
    assert csv_columns(Doctype.MAX_POWER)[len(PUBLIC_FIELDS) :] == ["va", "at"]


def test_registers_are_an_object_in_json_and_a_column_each_in_csv() -> None:
    document = DOCUMENTS[Doctype.INDEX][0]
    assert to_public_fields(document, Doctype.INDEX)["registers"] == document["registers"]
    columns = csv_columns(Doctype.INDEX, find_tariff_periods(DOCUMENTS[Doctype.INDEX], Doctype.INDEX))
    assert columns[len(PUBLIC_FIELDS) :] == ["calendar", *(f"registers.{period}" for period in sorted(TEMPO))]
    assert to_csv_fields(document, Doctype.INDEX)["registers.BUHP"] == document["registers"]["BUHP"]


def test_a_contract_has_its_details_as_columns() -> None:
    fields = to_csv_fields(DOCUMENTS[Doctype.CONTRACT][-1], Doctype.CONTRACT)
    assert (fields["load"], fields["va"], fields["tariff"]) == ("6.000", 6000, "BTINFMUDT")
    assert fields["off_peak_hours"] == "HC (23H30-5H30;12H30-14H30)"


def test_a_day_of_gas_has_its_numbers_exactly() -> None:
    document = DOCUMENTS[Doctype.GAS_DAY][3]
    assert to_public_fields(document, Doctype.GAS_DAY) == {
        "load": 0.0,
        "year": 2023,
        "month": 11,
        "day": 23,
        "hour": 0,
        "minute": 0,
        "volume": 0.28,
        "coefficient": 11.42781,
        "index_start": 10373,
        "index_end": 10373.28,
        "quality": "measured",
        "status": "final",
    }
    cells = to_csv_fields(document | {"volume": 9.0, "index_start": 10373.0}, Doctype.GAS_DAY)
    assert [str(cells[name]) for name in ("load", "volume", "coefficient", "index_start", "index_end")] == [
        "0.000",
        "9",
        "11.42781",
        "10373",
        "10373.28",
    ], "a whole number has no point, whichever store it comes from"


def test_a_month_of_periods_says_which_days_it_is_made_of() -> None:
    half_year, month = months_of_intervals(
        [gas_period("2023-10-10", "2024-04-09", "22417"), gas_period("2024-05-01", "2024-06-01", "937.125")]
    )
    assert to_month_fields(half_year)["whole"] is False
    assert to_month_fields(month) == {
        "load": 937.125,
        "year": 2024,
        "month": 5,
        "begins_on": "2024-05-01",
        "ends_on": "2024-06-01",
        "days": 31,
        "whole": True,
    }
    assert list(to_month_fields(month)) == list(MONTH_FIELDS)


def test_a_day_says_that_it_was_computed_and_others_say_nothing() -> None:
    document = DOCUMENTS[Doctype.DAY][0]
    assert "computed" not in to_public_fields(document, Doctype.DAY) | to_csv_fields(document, Doctype.DAY)
    computed = document | {"step": 1440}
    assert to_public_fields(computed, Doctype.DAY)["computed"] is True
    assert to_csv_fields(computed, Doctype.DAY)["computed"] == "true"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_a_text_of_the_supplier_is_no_formula(text: str) -> None:
    fields = to_csv_fields(DOCUMENTS[Doctype.CONTRACT][-1] | {"tariff": text}, Doctype.CONTRACT)
    assert fields["tariff"] == f"'{text}"
