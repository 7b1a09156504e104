"""The files of the download page: whole, for a spreadsheet in the reader's language, or for programs."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from worker.domain.account import Account
from worker.domain.series import Doctype, Period, Series, daily_of
from worker.web.api.auth import count_household
from worker.web.context import RuntimeDep, SessionDep
from worker.web.files.formats import FieldsCsv, FileFormat, JsonFile, SpreadsheetCsv
from worker.web.files.stored_range import check_days, find_asked_doctype, find_stored_range, name_file
from worker.web.files.stream import stream_file
from worker.web.pages.own_account import OwnAccount
from worker.web.texts import language_of

router = APIRouter()


class FileForm(StrEnum):
    CSV = "csv"
    JSON = "json"


class Columns(StrEnum):
    """Columns of CSV: those of a spreadsheet, or the stored fields for programs."""

    TIMES = "times"
    FIELDS = "fields"


@router.get("/accounts/{account_id}/download/file")
def download_file(
    request: Request,
    runtime: RuntimeDep,
    session: SessionDep,
    account: OwnAccount,
    series: Series | None = None,
    by: Period = Period.DAY,
    first: Annotated[date | None, Query(alias="from")] = None,
    last: Annotated[date | None, Query(alias="to")] = None,
    form: Annotated[FileForm, Query(alias="format")] = FileForm.CSV,
    columns: Columns = Columns.TIMES,
) -> Response:
    caller = count_household(runtime, session)
    series = series or daily_of(supplier=account.supplier)
    doctype = find_asked_doctype(series, by)
    days = check_days(first, last, runtime.history.today())
    stored = find_stored_range(runtime.measures, account.id, doctype, days)
    name = name_file(account.id, series, by, days)
    file_format: FileFormat
    if form is FileForm.JSON:
        file_format = JsonFile(doctype, _name_fields(account, series, by, doctype))
    elif columns is Columns.FIELDS:
        file_format, name = FieldsCsv.of(doctype, stored.read_tariff_periods()), f"{name}-fields"
    else:
        file_format = SpreadsheetCsv(doctype, stored.read_tariff_periods(), language_of(request))
    return stream_file(stored, file_format, name, partial(caller.reload_account, runtime, account.id))


def _name_fields(account: Account, series: Series, by: Period, doctype: Doctype) -> dict[str, str]:
    """Return what the file is of, under the names of the API's answers."""
    unit = doctype.series.description.quantity.load_unit
    return {"account": account.id, "series": series, "doctype": doctype.full_name, "unit": unit, "by": by}
