"""Documents as readers get them: fields of JSON, columns and cells of CSV."""

from __future__ import annotations

from datetime import date

import pytest

from tests.support.panel_homes import TEMPO, PanelHome
from worker.domain.exports.public_documents import (
    PUBLIC_FIELDS,
    csv_columns,
    csv_varies,
    find_tariff_periods,
    to_csv_fields,
    to_public_fields,
)
from worker.domain.measures.series import Doctype

DOCUMENTS = PanelHome(date(2024, 7, 24), days=40, periods=TEMPO).documents()
ENERGIES = [doctype for doctype in Doctype if not doctype.details]


@pytest.mark.parametrize("doctype", ENERGIES)
def test_energies_have_the_same_seven_fields_in_both_directions(doctype: Doctype) -> None:
    assert csv_columns(doctype) == list(PUBLIC_FIELDS) and not csv_varies(doctype)
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


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx"])
def test_a_text_of_the_supplier_is_no_formula(text: str) -> None:
    fields = to_csv_fields(DOCUMENTS[Doctype.CONTRACT][-1] | {"tariff": text}, Doctype.CONTRACT)
    assert fields["tariff"] == f"'{text}"
