"""API route of measures: the stored documents, in pages or as one CSV file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import StrEnum
from functools import partial
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from worker.domain.documents import key_of
from worker.domain.exports import to_public_fields
from worker.domain.series import Period, Series, daily_of
from worker.web.api.auth import ReadMeasures
from worker.web.api.schemas import AccountId, MeasurePage, error_responses
from worker.web.context import RuntimeDep
from worker.web.files.formats import CSV_TYPE, FieldsCsv
from worker.web.files.stored_range import MOST_DOCUMENTS, check_days, find_asked_doctype, find_stored_range, name_file
from worker.web.files.stream import attachment_header, stream_file

router = APIRouter(tags=["measures"])
_USUAL_DOCUMENTS: Final = 1000
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
        Query(description="Series. Default: consumption. Daily values and load curve are returned together."),
    ] = None,
    by: Annotated[
        Period,
        Query(description="Period of the documents; `minute` is one step of a load curve. Some series only have days."),
    ] = Period.DAY,
    first: Annotated[
        date | None,
        Query(alias="from", description="First day (Europe/Paris). Default: everything.", examples=["2024-07-01"]),
    ] = None,
    last: Annotated[
        date | None, Query(alias="to", description="Last day, **included**. Default: today.", examples=["2024-07-31"])
    ] = None,
    limit: Annotated[
        int | None,
        Query(ge=1, le=MOST_DOCUMENTS, description="Documents a page. Default: 1000 for JSON, all for CSV."),
    ] = None,
    after: Annotated[
        str | None, Query(pattern=_KEY, description="A document's key, as in the link to the next page.")
    ] = None,
    form: Annotated[Form, Query(alias="format")] = Form.JSON,
) -> Response:
    """Documents as `releve show --format json` prints them, in time order; `load` is in kWh, of powers in kVA.

    What the period `from` or `to` lies in counts as a whole: by month, `from=2024-07-15` gives all of July.
    """
    usual = daily_of(supplier=caller.load_account(runtime, account_id).supplier)
    doctype = find_asked_doctype(series or usual, by)
    if usual is not daily_of():
        series = doctype.series  # An answer of electricity without a series names none: its readers are older.
    days = check_days(first, last, runtime.history.today())
    stored = find_stored_range(runtime.measures, account_id, doctype, days, after)
    name = name_file(account_id, series, by, days)
    if form is Form.CSV:
        csv_format = FieldsCsv.of(doctype, stored.read_tariff_periods())
        if limit is None:
            return stream_file(stored, csv_format, name, partial(caller.reload_account, runtime, account_id))
    documents, more = stored.read(limit or _USUAL_DOCUMENTS)
    parameters = {"series": series, "by": by, "from": first, "to": last, "limit": limit, "format": form}
    link = f"/api/accounts/{account_id}/measures?{_query(parameters, key_of(documents[-1]))}" if more else None
    headers = {"Link": f'<{link}>; rel="next"'} if link else {}
    if form is Form.CSV:
        text = csv_format.head() + csv_format.rows(documents)
        return Response(text, headers=headers | attachment_header(f"{name}.csv"), media_type=CSV_TYPE)
    bodies = [to_public_fields(document, doctype) for document in documents]
    unit = doctype.series.description.quantity.load_unit
    named = {"series": series, "doctype": doctype.full_name, "unit": unit} if series else {}
    # Without pydantic: to check thousands of stored documents would take longer than to read them.
    return JSONResponse({"account": account_id, **named, "by": by, "documents": bodies, "next": link}, headers=headers)


def _query(parameters: Mapping[str, object], after: str) -> str:
    return urlencode({name: value for name, value in parameters.items() if value is not None} | {"after": after})
