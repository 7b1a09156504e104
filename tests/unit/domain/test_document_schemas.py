"""JSON Schemas of documents: stored ones of every doctype fit, and what is no document of ours does not."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.support.factories import NOW
from tests.support.gas_entries import gas_documents
from tests.support.panel_homes import PanelHome
from worker.domain.documents import Entry, period_key, to_document
from worker.domain.exports import document_schema
from worker.domain.series import Doctype, Granularity
from worker.domain.windows import local_midnight

DOCUMENTS = PanelHome(date(2024, 10, 28), days=430).documents() | gas_documents()


def faults(doctype: Doctype, document: dict[str, Any]) -> list[str]:
    return [error.message for error in Draft202012Validator(document_schema(doctype)).iter_errors(document)]


@pytest.mark.parametrize("doctype", Doctype)
def test_every_stored_document_fits_its_schema(doctype: Doctype) -> None:
    Draft202012Validator.check_schema(document_schema(doctype))
    assert DOCUMENTS[doctype]
    assert [found for document in DOCUMENTS[doctype] for found in faults(doctype, document)] == []


@pytest.mark.parametrize("doctype", Doctype)
def test_a_document_with_a_field_more_or_less_does_not_fit(doctype: Doctype) -> None:
    document = DOCUMENTS[doctype][0]
    assert faults(doctype, document | {"usage_point": "x"})
    for name in ("_id", "load", "year", "minute", "updated_at", "source_account"):
        assert faults(doctype, {key: value for key, value in document.items() if key != name})
    assert faults(doctype, document | {"load": -0.001})
    assert faults(doctype, document | {"_id": "12345678901234:2024-07"}), "an account's id is no number"


@pytest.mark.parametrize("doctype", [doctype for doctype in Doctype if doctype.series.packs])
@given(day=st.dates(date(2000, 1, 1), date(2099, 12, 31)), amount=st.integers(0, 10**9), step=st.sampled_from([5, 60]))
def test_a_document_of_any_day_fits(doctype: Doctype, day: date, amount: int, step: int) -> None:
    steps = step if doctype.series.has_steps and doctype is doctype.series.inputs else None
    entry = Entry(period_key(local_midnight(day), doctype), amount, steps)
    assert faults(doctype, to_document("k3qd0fr2mw7x", doctype, entry, NOW)) == []


def test_the_second_pass_of_the_autumn_hour_fits() -> None:
    entry = Entry("2024-10-27T01:30Z", 1)
    document = to_document("home", Doctype.MINUTE, entry, NOW)
    assert document["fold"] == 1 and faults(Doctype.MINUTE, document) == []
    assert faults(Doctype.DAY, DOCUMENTS[Doctype.DAY][0] | {"fold": 1})


@pytest.mark.parametrize("doctype", Doctype)
def test_a_schema_names_its_doctype_its_unit_and_its_further_fields(doctype: Doctype) -> None:
    schema = document_schema(doctype)
    assert schema["title"] == doctype.full_name and schema["$id"].endswith(f"/{doctype.full_name}")
    assert schema["properties"]["load"]["description"] == f"In {doctype.series.description.quantity.load_unit}."
    assert set(doctype.detail_names) <= schema["properties"].keys() - set(schema["required"])


def test_a_place_holder_is_fixed_and_an_instant_is_not() -> None:
    for doctype in Doctype:
        hour = document_schema(doctype)["properties"]["hour"]
        has_clock = doctype.series.has_steps or doctype.series.description.granularity is Granularity.INSTANT
        assert ("const" in hour) is not has_clock
