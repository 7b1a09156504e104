"""Files of an account's measures: the page and the files to download, and the import of a household's own files.

The page of downloads has links to a file of each doctype, and a form for a range of days. The form offers only
energies, which have documents of several periods. Any other series has at most one document a day, so it has a single
small file. Each file has all documents of its range, for a spreadsheet in the reader's language or for programs. The
page of imports shows the contents of the files, and the result.

The file for programs that compare offers has a form of its own. It is sent by POST, because a meter's number must not
be in an address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException

from worker.accounts.cost_rows import find_cost_columns
from worker.domain.account import Account
from worker.domain.audit_entry import AuditAction
from worker.domain.documents import ALL_KEYS, to_reading
from worker.domain.exports import spreadsheet_headings
from worker.domain.files.hour_file import hide_digits
from worker.domain.series import (
    Doctype,
    Period,
    Series,
    dailies_of,
    daily_of,
    find_doctype,
    grid_operator_of,
    periods_of,
    with_days,
)
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.measures.stored_range import StoredRange, find_stored_range
from worker.sync.file_import import FileComparison
from worker.web import file_formats
from worker.web.api.callers import count_household
from worker.web.dependencies import Day, OwnAccount, Visit, VisitDep, account_form, check_session_form
from worker.web.error_pages import HttpRefusal
from worker.web.file_uploads import FIELD, LARGEST_IMPORT, ImportReport, import_files, read_files
from worker.web.pages.account_forms import Choosable
from worker.web.pages.account_head import load_meter, render_section
from worker.web.rendering import render, render_message, words_of
from worker.web.texts import Words, language_of

router = APIRouter()
_LOOK: Final = "look"  # The button that only previews the files.
_METER: Final = re.compile(r"[0-9]{14}")
_MEGABYTE: Final = 1024 * 1024
FirstDays = dict[Doctype, date | None]


@dataclass(frozen=True, slots=True)
class FileGroup:
    """Files under one heading. ``title``: the key of the heading.

    ``files``: the key of each file's name, and the file's query without its format.
    """

    title: str
    files: list[tuple[str, str]]


class Columns(StrEnum):
    """The columns of a CSV file: for a spreadsheet, or the stored fields for programs."""

    TIMES = "times"
    FIELDS = "fields"


@dataclass(frozen=True, slots=True)
class Found:
    """A series that was found in a file, for the page. ``facts``: a label's text key, and the value to show."""

    file: str
    facts: tuple[tuple[str, str], ...]


@router.get("/accounts/{account_id}/download")
def show_download(visit: VisitDep, account: OwnAccount) -> Response:
    known = with_days(visit.registry.outcomes.known(account.id))
    first = first_days(visit.stores.measures, account.id, known)
    energies = {daily: found for daily in dailies_of(account.supplier) if (found := _periods_of(daily, first))}
    groups = [_energy_files(daily, periods) for daily, periods in energies.items()]
    operator = grid_operator_of(account.supplier)
    if others := [series for series in known if len(periods_of(series)) == 1 and series.inputs in first]:
        files = [(f"series.{series}.name", f"series={series}&by={series.inputs.period}") for series in others]
        groups.append(FileGroup(f"download.others.{operator}", files))
    return render_section(
        visit,
        load_meter(visit, account),
        "downloads",
        "download.html",
        groups=groups,
        directions=[(daily, daily.description.direction) for daily in energies],
        units=f"download.units.{operator}",
        has_curve=Period.MINUTE in energies.get(daily_of(supplier=account.supplier), ()),
        periods=[period for period in Period if any(period in found for found in energies.values())],
        first=min(filter(None, first.values()), default=None),
        today=visit.sync.history.today(),
    )


def first_days(measures: MeasureStore, account_id: str, known: list[Series]) -> FirstDays:
    """Return the first day of each doctype of which the account has documents; None for a doctype that isn't daily."""
    wanted = [doctype for series in known for doctype in series.doctypes]
    stored = measures.read(account_id, dict.fromkeys(wanted, ALL_KEYS), limit=1)
    return {
        doctype: to_reading(documents[0], doctype).start.date() if doctype.period is Period.DAY else None
        for doctype, documents in stored.items()
        if documents
    }


def _periods_of(daily: Series, first: FirstDays) -> list[Period]:
    return [period for period in Period if find_doctype(daily, period) in first]


def _energy_files(daily: Series, periods: list[Period]) -> FileGroup:
    """Return the files of the energy in one direction."""
    files = [(f"download.{period}", f"series={daily}&by={period}") for period in periods]
    return FileGroup(f"direction.{daily.description.direction}", files)


@router.get("/accounts/{account_id}/download/file")
def download_file(
    visit: VisitDep,
    account: OwnAccount,
    series: Series | None = None,
    by: Period = Period.DAY,
    first: Annotated[Day | None, Query(alias="from")] = None,
    last: Annotated[Day | None, Query(alias="to")] = None,
    form: Annotated[file_formats.Form, Query(alias="format")] = file_formats.Form.CSV,
    columns: Columns = Columns.TIMES,
) -> Response:
    caller = count_household(visit)
    series = series or daily_of(supplier=account.supplier)
    doctype = file_formats.find_asked_doctype(series, by)
    days = file_formats.check_days(first, last, visit.sync.history.today())
    stored = find_stored_range(visit.stores.measures, account.id, doctype, days)
    name = file_formats.name_file(account.id, series, by, days)
    file_format: file_formats.FileFormat
    if form is file_formats.Form.JSON:
        file_format = json_file(account, series, doctype)
    elif columns is Columns.FIELDS:
        costs = find_cost_columns(visit.registry, visit.stores.measures, account, doctype)
        file_format, name = file_formats.FieldsCsv.of(costs, stored.read_tariff_periods()), f"{name}-fields"
    else:
        file_format = spreadsheet(visit, account, stored)
    check = partial(caller.reload_account, visit.registry, visit.access, account.id)
    return file_formats.stream_file(stored, file_format, name, check)


@router.post("/accounts/{account_id}/download/enedis", dependencies=[account_form("/download")])
def download_for_comparators(
    visit: VisitDep,
    account: OwnAccount,
    first: Annotated[Day | None, Form(alias="from")] = None,
    last: Annotated[Day | None, Form(alias="to")] = None,
    meter: Annotated[str, Form(max_length=30)] = "",
) -> Response:
    """Send the curve as Enedis' site wrote it; a meter's number that the household types is in the file alone."""
    caller, today = count_household(visit), visit.sync.history.today()
    back = (f"/accounts/{account.id}/download", "message.again")
    meter, digits = "".join(meter.split()), account.usage_point_id or ""
    if meter and not (_METER.fullmatch(meter) and meter.endswith(digits[-4:])):
        words = {"digits": account.last_digits or "…"}
        return render_message(visit.request, "download.other_meter", 422, back, words)
    doctype = find_doctype(daily_of(supplier=account.supplier), Period.MINUTE)
    days = file_formats.check_days(first, last, today)
    stored = find_stored_range(visit.stores.measures, account.id, doctype, days) if doctype else None
    if stored is None or (begin := stored.read_first_day()) is None:
        return render_message(visit.request, "download.no_curve", 404, back)
    file = file_formats.EnedisCsv(meter or hide_digits(digits), stored.doctype, begin, min(days.end, today))
    check = partial(caller.reload_account, visit.registry, visit.access, account.id)
    return file_formats.stream_file(stored, file, file.name, check)


def json_file(account: Account, series: Series, doctype: Doctype) -> file_formats.JsonFile:
    """Return the format of a JSON file, whose first fields say what it contains, named as in the API's answers."""
    unit = series.description.quantity.load_unit
    named = {"account": account.id, "series": series, "doctype": doctype.full_name, "unit": unit, "by": doctype.period}
    return file_formats.JsonFile(doctype, named)


def spreadsheet(visit: Visit, account: Account, stored: StoredRange) -> file_formats.SpreadsheetCsv:
    """Return the format of a CSV in the reader's language."""
    headings = spreadsheet_headings(stored.doctype, stored.read_tariff_periods())
    costs = find_cost_columns(visit.registry, visit.stores.measures, account, stored.doctype)
    return file_formats.SpreadsheetCsv(costs, headings, language_of(visit.request))


@router.get("/accounts/{account_id}/import")
def show_import_form(request: Request, account: Choosable) -> Response:
    return _import_page(request, account)


@router.post("/accounts/{account_id}/import", name=AuditAction.ACCOUNT_IMPORT)
async def import_into_account(visit: VisitDep, account: OwnAccount) -> Response:
    """Accept files, but only from our own form, and show what was found in them."""
    try:
        form = await read_files(visit.request)
    except MultiPartException:
        return await run_in_threadpool(_refuse_import, visit.request, account, "too_many")
    try:
        return await run_in_threadpool(_take_files, visit, account, form)
    finally:
        await form.close()


def _take_files(visit: Visit, account: Account, form: FormData) -> Response:
    check_session_form(visit.access, visit.session, str(form.get("csrf", "")), f"/accounts/{account.id}/import")
    if not account.may_choose_series:
        return RedirectResponse(f"/accounts/{account.id}", 303)
    looks = _LOOK in form
    try:
        report = import_files(visit, account, form, holder=visit.session, dry_run=looks)
    except HttpRefusal as refusal:
        if refusal.code not in ("too_many_requests", "busy"):
            raise
        answer = _refuse_import(visit.request, account, refusal.code, refusal.status)
        answer.headers.update(refusal.headers)
        return answer
    if not report.series and not report.refused:
        return _refuse_import(visit.request, account, "none")
    return _import_page(visit.request, account, report, looks=looks)


def _import_page(
    request: Request, account: Account, report: ImportReport | None = None, *, looks: bool = False
) -> Response:
    words = words_of(request)
    return render(
        request,
        "import.html",
        status=200 if report is None or report.series else 422,
        account=account,
        part=FIELD,
        look=_LOOK,
        is_gas=daily_of(supplier=account.supplier).is_gas,
        most=LARGEST_IMPORT // _MEGABYTE,
        looked=looks,
        found=[_to_found(one, words) for one in report.series] if report else [],
        refused=report.refused if report else [],
    )


def _to_found(found: FileComparison, words: Words) -> Found:
    first, last = found.first, found.last
    steps = " · ".join(f"{minutes} min" for minutes in found.file.step_minutes)
    facts = {
        "import.series": words(f"series.{found.file.series}.name"),
        "import.step": steps,
        "import.span": words("import.from_to", first=words.day(first), last=words.day(last)) if first and last else "",
        "import.energy": "" if found.amount is None else words.energy(found.amount),
        "import.new": words.number(found.days_new),
        "import.same": words.number(found.days_same),
        "import.different": words.number(found.days_different),
        "import.differing": words.number(found.file.differing) if found.file.differing else "",
        "import.left_out": words.number(found.unusable) if found.unusable else "",
    }
    return Found(found.file.file, tuple((name, value) for name, value in facts.items() if value))


def _refuse_import(request: Request, account: Account, fault: str, status: int = 422) -> Response:
    return render_message(request, f"import.{fault}", status, (f"/accounts/{account.id}/import", "message.again"))
