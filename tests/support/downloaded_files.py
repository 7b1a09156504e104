"""Downloaded files, generated for tests: workbooks, archives, and the series read from them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from xml.sax.saxutils import escape

import pytest

from worker.domain.files import read_file
from worker.domain.files.cells import FileRefused, FileSeries

_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
_STYLES = (
    f'{_HEAD}<styleSheet {_MAIN}><numFmts count="1"><numFmt numFmtId="164" formatCode="dd/mm/yyyy hh:mm:ss"/></numFmts>'
    '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="164" applyNumberFormat="1"/></cellXfs></styleSheet>'
)
Sheets = Mapping[str, Sequence[Sequence[Any]]]


def read(name: str, content: str | bytes) -> list[FileSeries]:
    """Return the series of a file."""
    return list(read_file(name, io.BytesIO(content.encode() if isinstance(content, str) else content)))


def read_one(name: str, content: str | bytes) -> FileSeries:
    """Return the only series of a file."""
    (series,) = read(name, content)
    return series


def refusal(name: str, content: str | bytes) -> str:
    """Return the one line with which a file is refused."""
    with pytest.raises(FileRefused) as caught:
        read(name, content)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def amounts(series: FileSeries) -> dict[str, float]:
    """Return Wh (for gas kWh) by the start of each reading, in UTC for steps."""
    unit = 1_000_000 if series.series.value.startswith("gas") else 1000
    return {
        reading.start.isoformat() if series.step_minutes else str(reading.start.date()): reading.amount / unit
        for reading in series.readings
    }


def pack(members: Mapping[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP of these files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def workbook(sheets: Sheets, *, first_column: int = 0, **parts: str) -> bytes:
    """Return a workbook; a cell is a text, a number, or a date or time in a workbook's form.

    ``parts``: XML that replaces a part, by the last word of its name.
    """
    return pack(workbook_parts(sheets, first_column=first_column) | {_named(name): xml for name, xml in parts.items()})


def workbook_parts(sheets: Sheets, *, first_column: int = 0) -> dict[str, str]:
    """Return the parts of a workbook by name."""
    entries = "".join(
        f'<sheet name="{escape(name)}" sheetId="{place}" r:id="rId{place}"/>'
        for place, name in enumerate(sheets, start=1)
    )
    links = "".join(
        f'<Relationship Id="rId{place}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{place}.xml"/>'
        for place in range(1, len(sheets) + 1)
    )
    parts = {
        "[Content_Types].xml": f'{_HEAD}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": f'{_HEAD}<Relationships xmlns="{_PACKAGE}"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'{_HEAD}<workbook {_MAIN} xmlns:r="{_OFFICE}"><sheets>{entries}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'{_HEAD}<Relationships xmlns="{_PACKAGE}">{links}</Relationships>',
        "xl/styles.xml": _STYLES,
    }
    for place, rows in enumerate(sheets.values(), start=1):
        parts[f"xl/worksheets/sheet{place}.xml"] = sheet_xml("".join(_rows_xml(rows, first_column)))
    return parts


def sheet_xml(rows: str, before: str = "") -> str:
    """Return the XML of a sheet with these rows."""
    return f"{_HEAD}{before}<worksheet {_MAIN}><sheetData>{rows}</sheetData></worksheet>"


def shared_texts_xml(texts: Iterable[str]) -> str:
    """Return the XML of a workbook's shared texts."""
    return f"{_HEAD}<sst {_MAIN}>{''.join(f'<si><t>{escape(text)}</t></si>' for text in texts)}</sst>"


def _named(name: str) -> str:
    return {"sheet": "xl/worksheets/sheet1.xml", "shared_texts": "xl/sharedStrings.xml"}[name]


def _rows_xml(rows: Sequence[Sequence[Any]], first_column: int) -> Iterable[str]:
    for number, cells in enumerate(rows, start=1):
        if cells:
            content = "".join(
                _cell_xml(f"{chr(ord('A') + first_column + place)}{number}", cell)
                for place, cell in enumerate(cells)
                if cell is not None
            )
            yield f'<row r="{number}">{content}</row>'


def _cell_xml(place: str, cell: Any) -> str:
    if isinstance(cell, date):
        moment = cell if isinstance(cell, datetime) else datetime.combine(cell, datetime.min.time())
        serial = (moment - datetime(1899, 12, 30)) / timedelta(days=1)  # noqa: DTZ001
        return f'<c r="{place}" s="1"><v>{serial!r}</v></c>'
    if isinstance(cell, int | float):
        return f'<c r="{place}"><v>{cell!r}</v></c>'
    return f'<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{escape(str(cell))}</t></is></c>'
