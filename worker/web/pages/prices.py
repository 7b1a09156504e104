"""The form on which a household says what it pays: the regulated tariff, or its own prices (TOML), typed or as a file.

Contract and registers fill the form in, but nothing counts before the household has sent it. A refused form is shown
again as it was sent, with one line that says what to change.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException

from worker.accounts.prices import BEGINNING, load_tariff, remove_prices, set_prices, suggest
from worker.domain.account import Account
from worker.domain.prices import Option, PricesRefused
from worker.domain.prices.choices import format_hours, read_hours
from worker.domain.prices.own_prices import MAX_BYTES, read_own_prices
from worker.domain.windows import DateWindow
from worker.web.dependencies import Visit, VisitDep, account_form, check_session_form
from worker.web.file_uploads import LARGEST_PRICES, read_upload
from worker.web.pages.account_forms import Choosable
from worker.web.pages.costs import describe_unpriced
from worker.web.rendering import render, words_of
from worker.web.request_audit import note_refusal

router = APIRouter()
_POWERS: Final = (3, 6, 9, 12, 15, 18, 24, 30, 36)  # Of homes, in kVA.
_FIELDS: Final = 8
_TOLD_DAYS: Final = timedelta(days=31)


class _Fault(Exception):
    """What is wrong with a form. ``field``: where, as its text's key ends; ``line``: more about it, in English."""

    def __init__(self, field: str, line: str = "") -> None:
        super().__init__(field)
        self.field, self.line = field, line


@router.get("/accounts/{account_id}/prices")
def show_prices(visit: VisitDep, account: Choosable, saved: Annotated[str, Query()] = "") -> Response:
    return _render(visit, account, {}, saved=bool(saved))


@router.post("/accounts/{account_id}/prices")
async def save_prices(visit: VisitDep, account: Choosable) -> Response:
    try:
        longest = 2 * MAX_BYTES  # What is too long by less is answered with a line.
        form = await read_upload(visit.request, LARGEST_PRICES, most_files=1, most_fields=_FIELDS, longest=longest)
    except MultiPartException:
        return await run_in_threadpool(_render, visit, account, {}, _Fault("own"))
    try:
        return await run_in_threadpool(_save, visit, account, form)
    finally:
        await form.close()


def _save(visit: Visit, account: Account, form: FormData) -> Response:
    page, typed = f"/accounts/{account.id}/prices", {name: str(form[name]) for name in form if name != "file"}
    check_session_form(visit.access, visit.session, typed.get("csrf", ""), page)
    try:
        _set(visit, account, form, typed)
    except _Fault as fault:
        return _render(visit, account, typed, fault)
    return RedirectResponse(f"{page}?saved=yes", 303)


def _set(visit: Visit, account: Account, form: FormData, typed: dict[str, str]) -> None:
    """Set what a form says; the text of a file takes the place of what was typed. Raises _Fault."""
    field, wanted, file = "own", dict[str, Any](), form.get("file")
    try:
        if "own" in typed:
            if isinstance(file, UploadFile) and file.filename:
                typed["own"] = file.file.read().decode("utf-8")
            wanted["own"] = read_own_prices(typed["own"].replace("\r\n", "\n"))
        else:
            field = "option"
            option = Option(typed.get("option", ""))
            field = "power"
            wanted["regulated"] = option, _POWERS[_POWERS.index(int(typed.get("power", "")))]
            field = "hours"
            if option is Option.HPHC and typed.get("hours", "").strip():
                wanted["hours"] = read_hours(typed["hours"])
            field = "from"
            wanted["first"] = date.fromisoformat(typed["from"]) if typed.get("from") else None
        set_prices(visit.registry, account, **wanted)
    except UnicodeDecodeError:
        raise _Fault(field, "not a text in UTF-8") from None
    except (PricesRefused, ValueError) as error:
        raise _Fault(field, str(error) if isinstance(error, PricesRefused) else "") from None


@router.post("/accounts/{account_id}/prices/remove", dependencies=[account_form("/prices")])
def forget_prices(visit: VisitDep, account: Choosable) -> Response:
    remove_prices(visit.registry, account)
    return RedirectResponse(f"/accounts/{account.id}/prices", 303)


def _render(
    visit: Visit, account: Account, typed: Mapping[str, str], fault: _Fault | None = None, *, saved: bool = False
) -> Response:
    if fault:
        note_refusal(visit.request, "prices_refused")
    tariff, words = load_tariff(visit.registry, visit.stores.measures, account), words_of(visit.request)
    found = suggest(visit.stores.measures, account)
    suggested = {"option": found.option or "", "power": str(found.power or ""), "hours": format_hours(found.hours)}
    last_month = DateWindow(tariff.today - _TOLD_DAYS, tariff.today)
    unpriced = tariff.list_unpriced(last_month) if tariff.is_set else ()
    return render(
        visit.request,
        "prices.html",
        status=422 if fault else 200,
        account=account,
        tariff=tariff,
        beginning=BEGINNING,
        saved=saved,
        notes=[describe_unpriced(tariff, *one, words) for one in unpriced],
        options=list(Option),
        powers=_POWERS,
        format_hours=format_hours,
        suggested=any(suggested.values()) and not typed,
        typed={**suggested, "from": "", "own": "", **typed},
        fault=fault,
    )
