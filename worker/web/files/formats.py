"""Formats of a file of documents: JSON and CSV with the stored fields, and spreadsheets for people.

A spreadsheet is written as the programs of its reader's country expect it (Excel reads a file by the settings of the
machine): in French with semicolons and decimal commas. The byte order mark says that it is UTF-8.
"""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from worker.domain.documents import Document
from worker.domain.exports import (
    Cell,
    Heading,
    csv_columns,
    spreadsheet_cells,
    spreadsheet_headings,
    to_csv_fields,
    to_public_fields,
)
from worker.domain.series import Doctype
from worker.texts import translate

CSV_TYPE: Final = "text/csv; charset=utf-8"
_BYTE_ORDER_MARK: Final = "\ufeff"
_SEPARATORS: Final = {"fr": ";", "en": ","}  # Of cells.
_DECIMAL_SIGNS: Final = {"fr": ",", "en": "."}


class FileFormat(ABC):
    """A format of one file; ``ending`` of its name, ``content_type`` of its answer."""

    ending = ".csv"
    content_type = CSV_TYPE

    def head(self) -> str:
        """Return what comes before the first document."""
        return ""

    @abstractmethod
    def rows(self, documents: Iterable[Document]) -> str:
        """Return the next documents."""

    def tail(self) -> str:
        """Return what comes after the last document."""
        return ""


@dataclass
class FieldsCsv(FileFormat):
    """CSV of the stored fields, for programs."""

    doctype: Doctype
    columns: Sequence[str]

    @classmethod
    def of(cls, doctype: Doctype, tariff_periods: set[str]) -> FieldsCsv:
        return cls(doctype, csv_columns(doctype, tariff_periods))

    def head(self) -> str:
        return ",".join(self.columns) + "\n"

    def rows(self, documents: Iterable[Document]) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writerows(to_csv_fields(document, self.doctype) for document in documents)
        return text.getvalue()


@dataclass
class SpreadsheetCsv(FileFormat):
    """CSV that a spreadsheet program opens in the reader's language: dates, local times and numbers."""

    doctype: Doctype
    tariff_periods: set[str]
    language: str
    _headings: list[Heading] = field(init=False)

    def __post_init__(self) -> None:
        self._headings = spreadsheet_headings(self.doctype, self.tariff_periods)

    def head(self) -> str:
        return _BYTE_ORDER_MARK + self._write([[self._title(heading) for heading in self._headings]])

    def rows(self, documents: Iterable[Document]) -> str:
        return self._write(
            [self._format(cell) for cell in spreadsheet_cells(document, self.doctype, self._headings)]
            for document in documents
        )

    def _title(self, heading: Heading) -> str:
        period = " ".join(heading.tariff_period.split())
        return translate(f"spreadsheet.{heading.name}", self.language, period=period)

    def _format(self, cell: Cell) -> str:
        match cell:
            case None:
                return ""
            case datetime():
                return cell.isoformat(" ", "seconds" if cell.second else "minutes")
            case date():
                return cell.isoformat()
            case _:
                return f"{cell:f}".replace(".", _DECIMAL_SIGNS[self.language])

    def _write(self, rows: Iterable[list[str]]) -> str:
        text = io.StringIO()
        csv.writer(text, delimiter=_SEPARATORS[self.language]).writerows(rows)
        return text.getvalue()


@dataclass
class JsonFile(FileFormat):
    """JSON of the stored fields, as the API's answers: ``fields`` first, then all documents, a line each."""

    doctype: Doctype
    fields: dict[str, Any]
    ending = ".json"
    content_type = "application/json"
    _comma: str = ""

    def head(self) -> str:
        return json.dumps(self.fields).removesuffix("}") + ', "documents": ['

    def rows(self, documents: Iterable[Document]) -> str:
        text = io.StringIO()
        for document in documents:
            text.write(f"{self._comma}\n{json.dumps(to_public_fields(document, self.doctype), ensure_ascii=False)}")
            self._comma = ","
        return text.getvalue()

    def tail(self) -> str:
        return '\n], "next": null}\n'
