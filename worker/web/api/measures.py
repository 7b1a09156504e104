"""API route of measures: the stored documents, in pages or as one CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse

from worker.domain.exports.public_documents import (
    csv_columns,
    csv_varies,
    find_tariff_periods,
    to_csv_fields,
    to_public_fields,
)
from worker.domain.measures.documents import Document, key_of, key_range
from worker.domain.measures.readings import ONE_DAY, DateWindow
from worker.domain.measures.series import Doctype, Period, Series, daily_of, find_doctype, periods_of
from worker.stores.measures.base import MeasureStore
from worker.web.api.auth import ReadMeasures
from worker.web.api.schemas import AccountId, MeasurePage, error_responses
from worker.web.context import RuntimeDep
from worker.web.errors import HttpRefusal

router = APIRouter(tags=["measures"])

MOST_DOCUMENTS: Final = 5000
_USUAL_DOCUMENTS: Final = 1000
_CSV: Final = "text/csv; charset=utf-8"
_FIRST_DAY, _LAST_DAY = date(2000, 1, 1), date(2099, 12, 31)  # Between these, keys sort by time.
_KEY: Final = r"^[0-9]{4}(-[0-9]{2}(-[0-9]{2}(T[0-9]{2}:[0-9]{2}Z)?)?)?$"


class Form(StrEnum):
    JSON = "json"
    CSV = "csv"


@router.get(
    "/accounts/{account_id}/measures",
    summary="Read measures",
    response_model=MeasurePage,
    responses={
        200: {
            "description": "JSON: a page. CSV: a file with the same fields, a column for each tariff period; a Link "
            "header leads to the next page.",
            "content": {"text/csv": {"schema": {"type": "string"}, "example": "load,year,month,day,hour,minute,fold"}},
        },
        **error_responses(404, 422),
    },
)
def read_measures(
    account_id: AccountId,
    runtime: RuntimeDep,
    caller: ReadMeasures,
    series: Annotated[
        Series | None,
        Query(description="Which series; the consumption without it. Days and curve of one direction go together."),
    ] = None,
    by: Annotated[
        Period,
        Query(description="Which documents; `minute` is one step of a curve. Some series have days alone."),
    ] = Period.DAY,
    first: Annotated[
        date | None,
        Query(alias="from", description="First day, Europe/Paris; all there is without it.", examples=["2024-07-01"]),
    ] = None,
    last: Annotated[
        date | None, Query(alias="to", description="Last day, **included**; today without it.", examples=["2024-07-31"])
    ] = None,
    limit: Annotated[
        int | None,
        Query(
            ge=1, le=MOST_DOCUMENTS, description="Documents a page: 1000 as JSON without it, while a CSV is whole then."
        ),
    ] = None,
    after: Annotated[
        str | None, Query(pattern=_KEY, description="As the link to the next page says it: a document's key.")
    ] = None,
    form: Annotated[Form, Query(alias="format")] = Form.JSON,
) -> Response:
    """Documents as `releve show --format json` prints them, in time order; `load` is in kWh, of powers in kVA.

    What the period `from` or `to` lies in counts as a whole: by month, `from=2024-07-15` gives all of July.
    """
    usual = daily_of(supplier=caller.load_account(runtime, account_id).supplier)
    doctype = _find_doctype(series or usual, by)
    if usual is not daily_of():
        series = doctype.series  # An answer of electricity without a series names none: its readers are older.
    window = _window(first, last, runtime.history.today())
    pages = _PageReader(runtime.measures, account_id, doctype, *key_range(window, doctype), after)
    days = f"{window.start if first else 'all'}-{window.end - ONE_DAY}"
    name = "-".join(["releve", account_id, *([series.value] if series else []), by.value, days]) + ".csv"
    if form is Form.CSV and limit is None:
        return _stream_csv(pages, name)
    documents, more = pages.read(limit or _USUAL_DOCUMENTS)
    parameters = {"series": series, "by": by, "from": first, "to": last, "limit": limit, "format": form}
    link = f"/api/accounts/{account_id}/measures?{_query(parameters, key_of(documents[-1]))}" if more else None
    headers = {"Link": f'<{link}>; rel="next"'} if link else {}
    if form is Form.CSV:
        text = _to_csv(documents, doctype, pages.csv_columns(), head=True)
        return Response(text, headers=headers | _attachment_header(name), media_type=_CSV)
    bodies = [to_public_fields(document, doctype) for document in documents]
    unit = doctype.series.description.quantity.load_unit
    named = {"series": series, "doctype": doctype.full_name, "unit": unit} if series else {}
    # Without pydantic: to check thousands of stored documents would take longer than to read them.
    return JSONResponse({"account": account_id, **named, "by": by, "documents": bodies, "next": link}, headers=headers)


def _find_doctype(series: Series, by: Period) -> Doctype:
    """Return the documents of a series by this period. Raises HttpRefusal 422 where it has none."""
    if (doctype := find_doctype(series, by)) is None:
        known = ", ".join(periods_of(series))
        raise HttpRefusal(422, "invalid_request", f"series {series} has no documents by {by}: ask by {known}")
    return doctype


@dataclass
class _PageReader:
    """Reader of a range of documents, page by page: from the key ``first``, or behind the key ``after``."""

    measures: MeasureStore
    account_id: str
    doctype: Doctype
    first: str
    end: str
    after: str | None

    def read(self, limit: int) -> tuple[list[Document], bool]:
        """Return the next documents, and whether there are more."""
        start = max(self.first, self.after or "")
        # Two more than asked for: one may be ``after`` itself, one tells whether there are more.
        ranges = {self.doctype: (start, self.end)}
        documents = self.measures.read(self.account_id, ranges, limit + 2)[self.doctype]
        unread = [document for document in documents if self.after is None or key_of(document) > self.after]
        page = unread[:limit]
        if page:
            self.after = key_of(page[-1])
        return page, len(unread) > limit

    def csv_columns(self) -> list[str]:
        """Return the columns of the whole range, so that each of its pages has the same."""
        if not csv_varies(self.doctype):
            return csv_columns(self.doctype)
        pages, periods, more = replace(self, after=None), set[str](), True
        while more:
            documents, more = pages.read(MOST_DOCUMENTS)
            periods |= find_tariff_periods(documents, self.doctype)
        return csv_columns(self.doctype, periods)


def _stream_csv(pages: _PageReader, name: str) -> Response:
    """Stream all documents as one CSV file, with flat memory. The first page is read at once: an outage gives a 503."""
    columns = pages.csv_columns()
    documents, more = pages.read(MOST_DOCUMENTS)

    def csv_parts() -> Iterator[str]:
        yield _to_csv(documents, pages.doctype, columns, head=True)
        has_more = more
        while has_more:
            page, has_more = pages.read(MOST_DOCUMENTS)
            yield _to_csv(page, pages.doctype, columns, head=False)

    return StreamingResponse(csv_parts(), headers=_attachment_header(name), media_type=_CSV)


def _to_csv(documents: list[Document], doctype: Doctype, columns: list[str], *, head: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if head:
        writer.writeheader()
    writer.writerows(to_csv_fields(document, doctype) for document in documents)
    return text.getvalue()


def _attachment_header(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _query(parameters: Mapping[str, object], after: str) -> str:
    return urlencode({name: value for name, value in parameters.items() if value is not None} | {"after": after})


def _window(first: date | None, last: date | None, today: date) -> DateWindow:
    start, end = first or _FIRST_DAY, last or today
    if not _FIRST_DAY <= start <= end <= _LAST_DAY:
        raise HttpRefusal(
            422,
            "invalid_request",
            f"from {start} to {end}: the first day must not come after the last, "
            f"and both lie between {_FIRST_DAY} and {_LAST_DAY}",
        )
    return DateWindow(start, end + ONE_DAY)
