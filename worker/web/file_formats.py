"""Files of stored documents: their formats, the requested range, and a whole file as an answer.

The formats are JSON and CSV with the stored fields, and spreadsheets for people. Programs such as Excel read a
spreadsheet by the settings of the reader's machine, so a spreadsheet in French has semicolons and decimal commas. The
byte order mark tells these programs that the file is in UTF-8.

A range is read, and its file sent, page by page. If the store fails in the middle, or the reader's session or token
ends, the connection is closed before the end of the body: browsers and clients then see a failed download, and nobody
takes a part for the whole.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

from fastapi import Response
from fastapi.responses import StreamingResponse

from worker.accounts.cost_rows import CostColumns
from worker.domain.documents import Document
from worker.domain.exports import Cell, Heading, csv_columns, spreadsheet_cells, to_csv_fields, to_public_fields
from worker.domain.files.hour_file import HourFile
from worker.domain.series import Doctype, Period, Series, find_doctype, periods_of
from worker.domain.windows import ONE_DAY, DateWindow
from worker.errors import WorkerError
from worker.logs import fields
from worker.stores.measures.stored_range import StoredRange
from worker.texts import translate
from worker.web.error_pages import AbortedAnswer, HttpRefusal

log = logging.getLogger("releve.web")
CSV_TYPE: Final = "text/csv; charset=utf-8"
_FIRST_DAY, _LAST_DAY = date(2000, 1, 1), date(2099, 12, 31)  # Keys of documents sort by time only between these days.
BYTE_ORDER_MARK: Final = "\ufeff"
_SEPARATORS: Final = {"fr": ";", "en": ","}  # Between cells.
_DECIMAL_SIGNS: Final = {"fr": ",", "en": "."}


class Form(StrEnum):
    JSON = "json"
    CSV = "csv"


class FileFormat(ABC):
    """The format of one file. ``ending``: the end of the file's name. ``content_type``: the type of the answer."""

    ending = ".csv"
    content_type = CSV_TYPE

    def head(self) -> str:
        """Return the text before the first document."""
        return ""

    @abstractmethod
    def rows(self, documents: Iterable[Document]) -> str:
        """Return the text of the next documents."""

    def tail(self) -> str:
        """Return the text after the last document."""
        return ""


@dataclass
class FieldsCsv(FileFormat):
    """CSV of the stored fields, for programs, then of ``costs``."""

    costs: CostColumns
    columns: Sequence[str]

    @classmethod
    def of(cls, costs: CostColumns, tariff_periods: set[str]) -> FieldsCsv:
        return cls(costs, [*csv_columns(costs.doctype, tariff_periods), *costs.names])

    def head(self) -> str:
        return ",".join(self.columns) + "\n"

    def rows(self, documents: Iterable[Document]) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        doctype, priced = self.costs.doctype, self.costs.read(documents)
        writer.writerows(to_csv_fields(document, doctype) | costs for document, costs in priced)
        return text.getvalue()


@dataclass
class SpreadsheetCsv(FileFormat):
    """CSV for a spreadsheet program, in the reader's language: dates, local times and numbers, then ``costs``."""

    costs: CostColumns
    headings: list[Heading]
    language: str

    def head(self) -> str:
        headings = (*self.headings, *map(Heading, self.costs.names))
        return BYTE_ORDER_MARK + to_csv([[self._title(heading) for heading in headings]], self.language)

    def rows(self, documents: Iterable[Document]) -> str:
        rows = (
            [*map(self._format, (*spreadsheet_cells(document, self.costs.doctype, self.headings), *costs.values()))]
            for document, costs in self.costs.read(documents)
        )
        return to_csv(rows, self.language)

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


def to_csv(rows: Iterable[Sequence[object]], language: str) -> str:
    """Return rows of a spreadsheet in the reader's language."""
    text = io.StringIO()
    csv.writer(text, delimiter=_SEPARATORS[language]).writerows(rows)
    return text.getvalue()


@dataclass
class JsonFile(FileFormat):
    """JSON of the stored fields, like the API's answers: ``fields`` first, then all documents, one per line."""

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


class EnedisCsv(HourFile, FileFormat):
    """The file of a curve as Enedis' customer site wrote it."""


def find_asked_doctype(series: Series, by: Period) -> Doctype:
    """Return the doctype of a series by this period. Raises HttpRefusal 422 if the series has no such doctype."""
    if (doctype := find_doctype(series, by)) is None:
        known = ", ".join(periods_of(series))
        raise HttpRefusal(422, "invalid_request", f"series {series} has no documents by {by}: ask by {known}")
    return doctype


def check_days(first: date | None, last: date | None, today: date) -> DateWindow:
    """Return the window of days from ``first`` to ``last``, both included; by default from the beginning to today.

    Raises HttpRefusal 422 if the days are in the wrong order or out of range.
    """
    start, end = first or _FIRST_DAY, last or today
    if not _FIRST_DAY <= start <= end <= _LAST_DAY:
        raise HttpRefusal(
            422,
            "invalid_request",
            f"from {start} to {end}: the first day must not come after the last, "
            f"and both lie between {_FIRST_DAY} and {_LAST_DAY}",
        )
    return DateWindow(start, end + ONE_DAY)


def name_file(account_id: str, series: Series | None, by: Period, days: DateWindow) -> str:
    """Return the name of a file without its ending, such as ``releve-k9xgwnz9gvp2-daily-day-all-2024-07-25``."""
    first = "all" if days.start == _FIRST_DAY else days.start.isoformat()
    named = [series.value] if series else []
    return "-".join(["releve", account_id, *named, by.value, first, (days.end - ONE_DAY).isoformat()])


def stream_file(
    stored: StoredRange, file_format: FileFormat, name: str, check_still_sees: Callable[[], object]
) -> Response:
    """Return the answer that sends all documents of the range. Only one page at a time is in memory.

    ``check_still_sees`` raises if the caller may no longer read; it is called for each page before the page is sent.
    """
    parts = write_parts(stored, file_format, check_still_sees)
    return stream_parts(parts, stored.account_id, name + file_format.ending, file_format.content_type)


def write_parts(stored: StoredRange, file_format: FileFormat, check_still_sees: Callable[[], object]) -> Iterator[str]:
    """Yield the text of a file, page by page."""
    text, has_more = file_format.head(), True
    while has_more:
        documents, has_more = stored.read()
        text += file_format.rows(documents)
        check_still_sees()
        yield text
        text = ""
    yield file_format.tail()


def stream_parts(parts: Iterator[str | bytes], account_id: str | None, name: str, content_type: str) -> Response:
    """Return the answer that sends a file, and that is cut off if making one of its parts fails.

    The first part is made before the answer begins, so that a failure can be answered with its own status.
    """
    first = next(parts)

    def send_parts() -> Iterator[str | bytes]:
        yield first
        try:
            yield from parts
        except (WorkerError, HttpRefusal) as error:
            log.warning("download aborted", extra=fields(account_id=account_id, reason=str(error)))
            raise AbortedAnswer from None

    return StreamingResponse(send_parts(), headers=attachment_header(name), media_type=content_type)


def attachment_header(name: str) -> dict[str, str]:
    """Return the header that makes a browser save an answer as a file."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}
