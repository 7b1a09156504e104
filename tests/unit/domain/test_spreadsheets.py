"""Rows of spreadsheets: local times without an offset, exact decimals, and no text of a supplier's."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pytest

from tests.support.factories import NOW
from tests.support.gas_entries import gas_documents
from tests.support.panel_homes import TEMPO, PanelHome
from worker.domain.documents import Document, Entry, to_document
from worker.domain.exports import Cell, Heading, find_tariff_periods, spreadsheet_cells, spreadsheet_headings
from worker.domain.series import Doctype

DOCUMENTS = PanelHome(date(2024, 7, 24), days=40, periods=TEMPO).documents() | gas_documents()


def local(*parts: int) -> datetime:
    return datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001 - spreadsheets know no zones


def cells_of(doctype: Doctype, document: Document) -> dict[Heading, Cell]:
    headings = spreadsheet_headings(doctype, find_tariff_periods([document], doctype))
    return dict(zip(headings, spreadsheet_cells(document, doctype, headings), strict=True))


def named_cells(doctype: Doctype, document: Document) -> dict[str, Cell]:
    return {heading.name: cell for heading, cell in cells_of(doctype, document).items() if not heading.tariff_period}


@pytest.mark.parametrize("doctype", Doctype)
def test_every_document_has_a_row_of_dates_and_numbers_alone(doctype: Doctype) -> None:
    for document in DOCUMENTS[doctype]:
        cells = cells_of(doctype, document)
        assert all(isinstance(cell, date | Decimal | None) for cell in cells.values())
        load = next(cell for heading, cell in cells.items() if heading.name in ("kwh", "kva", "volume"))
        assert isinstance(load, Decimal) and float(load) == document["load"]


@pytest.mark.parametrize(
    "doctype, key, start, end",
    [
        (Doctype.MINUTE, "2024-07-24T22:00Z", local(2024, 7, 25), local(2024, 7, 25, 0, 30)),
        (Doctype.PRODUCTION_HOUR, "2024-12-31T23:00Z", local(2025, 1, 1), local(2025, 1, 1, 1)),
        (Doctype.DAY, "2024-07-25", date(2024, 7, 25), date(2024, 7, 26)),
        (Doctype.MONTH, "2024-12", date(2024, 12, 1), date(2025, 1, 1)),
        (Doctype.YEAR, "2024", date(2024, 1, 1), date(2025, 1, 1)),
        (Doctype.GAS_MONTH, "2024-02", date(2024, 2, 1), date(2024, 3, 1)),
    ],
)
def test_a_period_goes_from_its_local_start_to_its_local_end(
    doctype: Doctype, key: str, start: date, end: date
) -> None:
    cells = named_cells(doctype, to_document("home", doctype, Entry(key, 1_250_000), NOW))
    assert (cells["start"], cells["end"], cells["kwh"]) == (start, end, Decimal("1.250"))


def test_a_step_of_another_length_ends_with_it() -> None:
    entry = Entry("2024-07-24T22:00Z", 83_333, step=10)
    cells = named_cells(Doctype.MINUTE, to_document("home", Doctype.MINUTE, entry, NOW))
    assert (cells["end"], cells["kwh"]) == (local(2024, 7, 25, 0, 10), Decimal("0.083333"))


def test_the_hour_that_comes_twice_differs_by_its_offset() -> None:
    keys = ["2024-10-27T00:00Z", "2024-10-27T00:30Z", "2024-10-27T01:00Z", "2024-10-27T01:30Z"]
    rows = [named_cells(Doctype.MINUTE, to_document("home", Doctype.MINUTE, Entry(key, 1000), NOW)) for key in keys]
    assert [(row["start"], row["utc_offset"]) for row in rows] == [
        (local(2024, 10, 27, 2, minutes), Decimal(offset)) for offset in (2, 1) for minutes in (0, 30)
    ]
    assert rows[1]["end"] == local(2024, 10, 27, 2)


def test_the_maximum_power_has_its_local_instant() -> None:
    document = DOCUMENTS[Doctype.MAX_POWER][-1]
    cells = named_cells(Doctype.MAX_POWER, document)
    at = datetime.fromisoformat(document["at"]).replace(tzinfo=None)
    assert (cells["start"], cells["at"]) == (date(2024, 7, 24), at)


def test_registers_are_in_kwh_with_a_column_for_each_tariff_period() -> None:
    document = DOCUMENTS[Doctype.INDEX][0]
    cells = cells_of(Doctype.INDEX, document)
    periods = {heading.tariff_period: cell for heading, cell in cells.items() if heading.tariff_period}
    assert periods == {name: Decimal(energy).scaleb(-3) for name, energy in document["registers"].items()}
    assert named_cells(Doctype.INDEX, document)["read_at"] == local(2024, 6, 15)


def test_a_billed_period_of_gas_ends_where_it_says_and_has_its_volume() -> None:
    document = DOCUMENTS[Doctype.GAS_PUBLISHED][0]
    cells = named_cells(Doctype.GAS_PUBLISHED, document)
    assert cells["end"] == date.fromisoformat(document["ends_on"])
    assert float(str(cells["volume"])) == document["volume"]


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "+33", "-1", "later", ""])
def test_a_text_in_the_place_of_a_date_leaves_its_cell_empty(text: str) -> None:
    document = DOCUMENTS[Doctype.CONTRACT][0] | {"activated_on": text}
    assert named_cells(Doctype.CONTRACT, document)["activated_on"] is None
    assert named_cells(Doctype.MAX_POWER, DOCUMENTS[Doctype.MAX_POWER][0] | {"at": text})["at"] is None
