"""The page on which a household imports files of measures: what is in them, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException

from worker.domain.account import Account
from worker.domain.series import daily_of
from worker.runtime.sync_parts import Runtime
from worker.sync.file_import import FileComparison
from worker.web.context import RuntimeDep, SessionDep, is_session_form
from worker.web.errors import LARGEST_IMPORT, HttpRefusal
from worker.web.files.imports import FIELD, ImportReport, import_files, read_files
from worker.web.pages.own_account import OwnAccount
from worker.web.render import refuse_form, render, render_message, words_of
from worker.web.sessions import Session
from worker.web.texts import Words

router = APIRouter()
_LOOK: Final = "look"  # The button that only looks.
_MEGABYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """A series of a file as the page shows it: ``facts`` are the keys of names, with values."""

    file: str
    facts: tuple[tuple[str, str], ...]


@router.get("/accounts/{account_id}/import")
def show_import_form(request: Request, account: OwnAccount) -> Response:
    """Show the form; an account that another person has taken over is shown as it is."""
    if not account.may_choose_series:
        return RedirectResponse(f"/accounts/{account.id}", 303)
    return _render(request, account)


@router.post("/accounts/{account_id}/import")
async def import_into_account(
    request: Request, runtime: RuntimeDep, session: SessionDep, account: OwnAccount
) -> Response:
    """Take files, only from our own form, and show what was found in them."""
    try:
        form = await read_files(request)
    except MultiPartException:
        return await run_in_threadpool(_refuse, request, account, "too_many")
    try:
        return await run_in_threadpool(_take, request, runtime, session, account, form)
    finally:
        await form.close()


def _take(request: Request, runtime: Runtime, session: Session, account: Account, form: FormData) -> Response:
    page = f"/accounts/{account.id}/import"
    if not is_session_form(runtime, session, str(form.get("csrf", ""))):
        return refuse_form(request, page)
    if not account.may_choose_series:
        return RedirectResponse(f"/accounts/{account.id}", 303)
    looks = _LOOK in form
    try:
        report = import_files(request, runtime, account, form, dry_run=looks)
    except HttpRefusal as refusal:
        if refusal.code not in ("too_many_requests", "busy"):
            raise
        answer = _refuse(request, account, refusal.code, refusal.status)
        answer.headers.update(refusal.headers)
        return answer
    if not report.series and not report.refused:
        return _refuse(request, account, "none")
    return _render(request, account, report, looks=looks)


def _render(request: Request, account: Account, report: ImportReport | None = None, *, looks: bool = False) -> Response:
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
    }
    return Found(found.file.file, tuple((name, value) for name, value in facts.items() if value))


def _refuse(request: Request, account: Account, fault: str, status: int = 422) -> Response:
    return render_message(request, f"import.{fault}", status, (f"/accounts/{account.id}/import", "message.again"))
