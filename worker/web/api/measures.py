"""API routes of measures: read stored documents, in pages or as one CSV file, and costs; import files; list doctypes.

There is one JSON Schema per doctype, without data of any account.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import partial
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.formparsers import MultiPartException

from worker.accounts.cost_rows import RowsRefused, find_cost_columns, find_window, read_rows
from worker.accounts.prices import load_tariff
from worker.accounts.status import EXAMPLE_ID
from worker.domain.audit_entry import AuditAction
from worker.domain.documents import key_of
from worker.domain.exports import document_schema, to_public_fields
from worker.domain.files.cells import FileFault
from worker.domain.series import Doctype, Period, Series, daily_of, suppliers_of
from worker.domain.windows import ONE_DAY, DateWindow
from worker.errors import OperatorFault
from worker.runtime.sync_parts import Sync
from worker.stores.measures.stored_range import MOST_DOCUMENTS, find_stored_range
from worker.sync.file_import import FileComparison
from worker.web import file_formats
from worker.web.api.callers import MayImport, ReadMeasures
from worker.web.api.schemas import AccountId, CostPage, MeasurePage, SchemaList, error_responses
from worker.web.dependencies import AccessDep, Day, StoresDep, SyncDep, VisitDep
from worker.web.error_pages import HttpRefusal
from worker.web.file_uploads import FIELD, import_files, read_files

router = APIRouter()
_USUAL_DOCUMENTS: Final = 1000
_KEY: Final = r"^[0-9]{4}(-[0-9]{2}(-[0-9]{2}(T[0-9]{2}:[0-9]{2}Z)?)?)?$"
_SCHEMA: Final = "application/schema+json"
_FILES: Final = {"type": "array", "items": {"type": "string", "format": "binary"}}
_FORM: Final = {"schema": {"type": "object", "required": [FIELD], "properties": {FIELD: _FILES}}}
_BODY_WITH_FILES: Final = {"requestBody": {"required": True, "content": {"multipart/form-data": _FORM}}}


@router.get(
    "/accounts/{account_id}/measures",
    tags=["measures"],
    summary="Read measures",
    response_model=MeasurePage,
    responses={
        200: {
            "description": "JSON: a page. CSV: a file with the same fields, a column for each tariff period, and costs "
            "where prices are set; a Link header leads to the next page.",
            "content": {"text/csv": {"schema": {"type": "string"}, "example": "load,year,month,day,hour,minute,fold"}},
        },
        **error_responses(404, 422),
    },
)
def read_measures(
    account_id: AccountId,
    stores: StoresDep,
    sync: SyncDep,
    access: AccessDep,
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
        Day | None,
        Query(alias="from", description="First day (Europe/Paris). Default: everything.", examples=["2024-07-01"]),
    ] = None,
    last: Annotated[
        Day | None, Query(alias="to", description="Last day, included. Default: today.", examples=["2024-07-31"])
    ] = None,
    limit: Annotated[
        int | None, Query(ge=1, le=MOST_DOCUMENTS, description="Documents a page. Default: 1000 for JSON, all for CSV.")
    ] = None,
    after: Annotated[
        str | None, Query(pattern=_KEY, description="A document's key, as in the link to the next page.")
    ] = None,
    form: Annotated[file_formats.Form, Query(alias="format")] = file_formats.Form.JSON,
) -> Response:
    """Return documents as `releve show --format json` prints them, in time order.

    `load` is in kWh, or in kVA for powers. Periods are never cut: with `by=month`, `from=2024-07-15` returns all of
    July.
    """
    account = caller.load_account(stores.registry, account_id)
    usual = daily_of(supplier=account.supplier)
    doctype = file_formats.find_asked_doctype(series or usual, by)
    # Names of files and links about electricity name the series only if the call does, as in version 0.2.0.
    if usual is not daily_of():
        series = doctype.series
    days = file_formats.check_days(first, last, sync.history.today())
    stored = find_stored_range(stores.measures, account_id, doctype, days, after)
    name = file_formats.name_file(account_id, series, by, days)
    if form is file_formats.Form.CSV:
        costs = find_cost_columns(stores.registry, stores.measures, account, doctype)
        csv_format = file_formats.FieldsCsv.of(costs, stored.read_tariff_periods())
        if limit is None:
            return file_formats.stream_file(
                stored, csv_format, name, partial(caller.reload_account, stores.registry, access, account_id)
            )
    documents, more = stored.read(limit or _USUAL_DOCUMENTS)
    parameters = {"series": series, "by": by, "from": first, "to": last, "limit": limit, "format": form}
    link = f"/api/accounts/{account_id}/measures?{_query(parameters, key_of(documents[-1]))}" if more else None
    headers = {"Link": f'<{link}>; rel="next"'} if link else {}
    if form is file_formats.Form.CSV:
        text = csv_format.head() + csv_format.rows(documents)
        return Response(
            text, headers=headers | file_formats.attachment_header(f"{name}.csv"), media_type=file_formats.CSV_TYPE
        )
    bodies = [to_public_fields(document, doctype) for document in documents]
    page = {
        "account": account_id,
        "series": series or doctype.series,
        "by": by,
        "doctype": doctype.full_name,
        "unit": doctype.series.description.quantity.load_unit,
        "documents": bodies,
        "next": link,
    }
    # Without pydantic, because checking thousands of stored documents would take longer than reading them.
    return JSONResponse(page, headers=headers)


def _query(parameters: Mapping[str, object], after: str) -> str:
    return urlencode({name: value for name, value in parameters.items() if value is not None} | {"after": after})


@router.get(
    "/accounts/{account_id}/costs",
    tags=["measures"],
    summary="Read costs",
    response_model=CostPage,
    response_model_exclude_unset=True,
    responses=error_responses(404, 422),
)
def read_account_costs(
    account_id: AccountId,
    stores: StoresDep,
    caller: ReadMeasures,
    by: Literal["hour", "day", "month", "year"] = "day",
    first: Annotated[Day | None, Query(alias="from", description="First day (Europe/Paris).")] = None,
    last: Annotated[Day | None, Query(alias="to", description="Last day, included.")] = None,
) -> dict[str, Any]:
    """Return what the energy of each period costs, in time order: the rows that `releve cost --json` prints.

    Without `from` and `to` they are the last 7 days by hour, the last 31 days, this year's months, or three years. The
    first and the last row are cut at these days. The list is empty if no price is set. A page has at most 31 days by
    hour, one year by day or month, and three years by year. Gas has no hours, and gas that is billed by periods has no
    days: 422.
    """
    account, period = caller.load_account(stores.registry, account_id), Period(by)
    tariff = load_tariff(stores.registry, stores.measures, account)
    if not tariff.is_readable:
        raise OperatorFault("the prices of an account can't be decrypted: put their old key back")
    try:
        days = find_window(tariff.today, period, first, last)
        years = date(days.start.year + (3 if period is Period.YEAR else 1), 1, 1)
        page = DateWindow(days.start, min(days.end, days.start + 31 * ONE_DAY if period is Period.HOUR else years))
        rows = read_rows(stores.measures, account_id, tariff, page, period)[0] if tariff.is_set else []
    except RowsRefused as error:
        raise HttpRefusal(422, "invalid_request", str(error)) from None
    query = urlencode({"by": by, "from": page.end, "to": days.end - ONE_DAY})
    link = f"/api/accounts/{account_id}/costs?{query}" if rows and page.end < days.end else None
    return {"account": account_id, "by": by, "costs": rows, "next": link}


class ImportedSeries(BaseModel):
    """One series of an imported file, like a line of `releve import --json`."""

    file: str = Field(description="File name, with meter numbers shortened to their last digits.")
    format: str = Field(examples=["enedis-hour"])
    usage_point: str | None = Field(description="The last digits of the meter's number.", examples=["…0011"])
    series: Series
    first: date | None
    last: date | None
    days_new: int
    days_same: int
    days_different: int
    wh: float | None = Field(description="Energy in Wh; for registers, that of the days between two readings.")

    @classmethod
    def of(cls, found: FileComparison, digits: str | None) -> ImportedSeries:
        return cls(
            file=found.file.file,
            format=found.file.format,
            usage_point=digits,
            series=found.file.series,
            first=found.first,
            last=found.last,
            days_new=found.days_new,
            days_same=found.days_same,
            days_different=found.days_different,
            wh=found.watt_hours,
        )


class RefusedFile(BaseModel):
    file: str = Field(description="File name, and the wrong row if there is one.")
    why: FileFault
    message: str = Field(description="Text for people, one line.")


class ImportAnswer(BaseModel):
    account: str = Field(examples=[EXAMPLE_ID])
    dry_run: bool
    files: list[ImportedSeries] = Field(description="One for each series of a file, as found before it was stored.")
    refused: list[RefusedFile]


@router.post(
    "/accounts/{account_id}/import",
    name=AuditAction.ACCOUNT_IMPORT,
    tags=["accounts"],
    summary="Import files of measures",
    responses=error_responses(404, 411, 413, 422),
    openapi_extra=_BODY_WITH_FILES,
)
async def import_measures(
    account_id: AccountId,
    visit: VisitDep,
    caller: MayImport,
    dry_run: Annotated[bool, Query(description="Only show what is new in the files; store nothing.")] = False,
) -> ImportAnswer:
    """Store the readings of files that people have downloaded; each file is recognised by its content.

    Send one part `file` for each file, or a ZIP; at most 32 MB in all. Readings that were requested from the supplier
    after a file was made are kept, nothing is deleted, and a second import changes nothing. A file of another meter is
    refused, but the other files are imported. If all files are refused, the answer is 422 `file_refused`. A household's
    session must also send its page's CSRF value.
    """
    account = await run_in_threadpool(caller.load_account, visit.registry, account_id)
    try:
        form = await read_files(visit.request)
    except MultiPartException as error:
        raise HttpRefusal(422, "invalid_request", f"send the files as parts `{FIELD}`: {error.message}") from None
    try:
        report = await run_in_threadpool(import_files, visit, account, form, holder=caller.session, dry_run=dry_run)
    finally:
        await form.close()
    if not report.series:
        lines = "; ".join(f"{one.name}: {one.line}" for one in report.refused)
        raise HttpRefusal(422, "file_refused", lines or f"send at least one file, as a part `{FIELD}`")
    return ImportAnswer(
        account=account.id,
        dry_run=dry_run,
        files=[ImportedSeries.of(found, account.last_digits) for found in report.series],
        refused=[RefusedFile(file=one.name, why=one.why, message=one.line) for one in report.refused],
    )


@router.get(
    "/schemas", tags=["schemas"], summary="List the doctypes", response_model=SchemaList, responses=error_responses()
)
def list_schemas(sync: SyncDep) -> dict[str, Any]:
    """List the doctypes of stored documents, each with its series, its period and the path of its JSON Schema."""
    return {
        "schemas": [
            {
                "doctype": name,
                "series": doctype.series,
                "by": doctype.period,
                "unit": doctype.series.description.quantity.load_unit,
                "path": f"/api/schemas/{name}",
            }
            for name, doctype in _doctypes(sync).items()
        ]
    }


@router.get(
    "/schemas/{doctype}",
    tags=["schemas"],
    summary="Read the JSON Schema of a doctype",
    responses={
        200: {"description": "A JSON Schema, draft 2020-12.", "content": {_SCHEMA: {"schema": {"type": "object"}}}},
        **error_responses(404, 422),
    },
)
def read_schema(
    doctype: Annotated[
        str, Path(description="A full name, as in the list.", examples=["com.grandlyon.enedis.day"], max_length=80)
    ],
    sync: SyncDep,
) -> JSONResponse:
    """Return the JSON Schema of the documents of a doctype, as the measure store keeps them."""
    known = _doctypes(sync)
    if doctype not in known:
        raise HttpRefusal(404, "unknown_doctype", "no such doctype: GET /api/schemas lists them")
    return JSONResponse(document_schema(known[doctype]), media_type=_SCHEMA)


def _doctypes(sync: Sync) -> dict[str, Doctype]:
    """Return the doctypes of the suppliers that are set up, by full name."""
    return {one.full_name: one for one in Doctype if not sync.suppliers.keys().isdisjoint(suppliers_of(one.series))}
