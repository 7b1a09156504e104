"""Workbooks that are made to harm: entities, far cells, repeated texts. Each is one line, in bounded memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.downloaded_files import (
    pack,
    read_one,
    refusal,
    shared_texts_xml,
    sheet_xml,
    workbook,
    workbook_parts,
)
from tests.support.pages import ROOT

DAYS = {"Export Consommation Quotidienne": [["Date", "Valeur (en kWh)"], ["01/01/2025", 1]]}
_ENTITIES = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
LAUGHS = f'<!DOCTYPE x [<!ENTITY l0 "lol">{_ENTITIES}]>'
FILES = '<!DOCTYPE x [<!ENTITY secret SYSTEM "file:///etc/hostname">]>'


def _rows(cells: str) -> str:
    return sheet_xml(f"<row r='1'>{cells}</row>")


@pytest.mark.parametrize("document_type", [LAUGHS, FILES, "<!DOCTYPE x>"])
def test_a_document_type_is_refused_so_that_no_entity_is_ever_expanded(document_type: str) -> None:
    cell = '<row r="1"><c r="A1" t="inlineStr"><is><t>&l11;</t></is></c></row>'
    told = refusal("x", workbook(DAYS, sheet=sheet_xml(cell, document_type)))
    assert told == "x: a workbook with definitions that exports never have"
    shared = shared_texts_xml(["x"]).replace("<sst", f"{document_type}<sst")
    assert refusal("x", workbook(DAYS, shared_texts=shared)) == told


@pytest.mark.parametrize(
    ("xml", "reason"),
    [
        (_rows('<c r="A1"><v>1</v></c><c r="XFD1048576"><v>1</v></c>'), "x: a sheet with more than"),
        (_rows('<c r="ZZ1"><v>1</v></c>'), "x: a sheet with more than"),
        (sheet_xml('<row r="999999999"><c><v>1</v></c></row>'), "x: a sheet with more than"),
        (sheet_xml('<row r="50000"><c r="CZ50000"><v>1</v></c></row>'), "x: a sheet with more than"),
        (_rows("<c/>" * 300), "x: a sheet with more than"),
        (_rows('<c r="1A"><v>1</v></c>'), "x: a damaged workbook: a cell has no place"),
        (sheet_xml('<row r="-1"/>'), "x: a damaged workbook: a row has no number"),
        (sheet_xml("<row>"), "x: a damaged or incomplete workbook"),
        ("", "x: a damaged or incomplete workbook"),
        (sheet_xml("").replace("UTF-8", "UTF-99") + "<", "x: a damaged or incomplete workbook"),
        (sheet_xml("").encode("utf-16").decode("latin-1"), "x: a damaged or incomplete workbook"),
        (sheet_xml("")[:-20], "x: a damaged or incomplete workbook"),
        (_rows("<c/>") + "<si/>", "x: a damaged or incomplete workbook"),
        (_rows("<c/><si/>"), "x: a damaged workbook: its shared texts are in the wrong place"),
    ],
)
def test_a_sheet_that_would_fill_the_memory_or_is_damaged_is_refused(xml: str, reason: str) -> None:
    assert refusal("x", workbook(DAYS, sheet=xml)).startswith(reason)


def test_a_text_that_is_repeated_beyond_bounds_is_refused() -> None:
    cells = "".join(f'<row r="{row}"><c r="A{row}" t="s"><v>0</v></c></row>' for row in range(1, 2001))
    told = refusal("x", workbook(DAYS, sheet=sheet_xml(cells), shared_texts=shared_texts_xml(["x" * 30_000])))
    assert told == "x: a workbook with too much text for an export"


def test_shared_texts_are_read() -> None:
    texts = shared_texts_xml(["Date", "Valeur (en kWh)", "01/01/2025"])
    cells = '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'
    cells += '<row r="2"><c r="A2" t="s"><v>2</v></c><c r="B2"><v>6.5</v></c></row>'
    (reading,) = read_one("x", workbook(DAYS, sheet=sheet_xml(cells), shared_texts=texts)).readings
    assert reading.amount == 6_500_000


def test_a_size_that_a_sheet_declares_is_not_believed() -> None:
    rows = workbook_parts(DAYS)["xl/worksheets/sheet1.xml"]
    far = rows.replace("<sheetData>", '<dimension ref="A1:XFD1048576"/><sheetData>')
    assert len(read_one("x", workbook(DAYS, sheet=far)).readings) == 1


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"xl/workbook.bin": b""}, "x: a binary workbook (.xlsb) is not supported"),
        (
            {"mimetype": b"application/vnd.oasis.opendocument.spreadsheet", "content.xml": b""},
            "x: an OpenDocument file",
        ),
        ({"Index/Document.iwa": b"", "Data/x.jpg": b""}, "x: a Numbers document is not supported"),
        ({"[Content_Types].xml": b"", "word/document.xml": b""}, "x: it is a document, not a workbook"),
        ({**workbook_parts(DAYS), "content.xml": ""}, "x/[Content_Types].xml: an XML file is not supported"),
        ({"xl/workbook.xml": "<workbook/>"}, "x: a damaged or protected workbook"),
        ({**workbook_parts(DAYS), "XL/workbook.xml": "<workbook/>"}, "x: a damaged workbook: it has a part twice"),
    ],
)
def test_other_books_are_named(members: dict[str, bytes | str], reason: str) -> None:
    assert refusal("x", pack(members)).startswith(reason)


def test_too_many_sheets_are_refused() -> None:
    assert "more than 20 sheets" in refusal("x", workbook({f"s{n}": [["x"]] for n in range(21)}))


@pytest.mark.rest
def test_the_largest_workbook_is_read_in_bounded_memory() -> None:
    """In a process of its own, whose memory is what this one file has taken."""
    code = """
import io, resource
from tests.support.downloaded_files import sheet_xml, workbook
from worker.domain.files import read_file
rows = "".join(f'<row><c><v>{45658 + n}</v></c><c><v>{n}</v></c></row>' for n in range(20_000))
header = "".join(f'<c t="inlineStr"><is><t>{name}</t></is></c>' for name in ("Date", "Valeur (en kWh)"))
book = workbook({"x": []}, sheet=sheet_xml(f"<row>{header}</row>{rows}"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(series,) = read_file("x", io.BytesIO(book))
assert len(series.readings) > 10_000
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100, "megabytes"
