"""The form on which a household says what it pays: the regulated tariff, or its own prices (TOML).

Contract and registers fill the form in, but nothing counts before the household has sent it. A refused form is shown
again as it was sent, with one line that says what to change. A page of its own compares the options.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import date, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from worker.accounts.price_comparison import compare_options, power_of
from worker.accounts.prices import (
    BEGINNING,
    follows_contract,
    load_choices,
    load_tariff,
    remove_prices,
    set_prices,
    suggest,
)
from worker.domain.account import Account
from worker.domain.audit_entry import AuditAction
from worker.domain.prices import Option, Price, PricesRefused
from worker.domain.prices.choices import TariffChoices, format_hours, read_hours
from worker.domain.prices.own_prices import read_own_prices
from worker.domain.usage import SUBSCRIPTIONS
from worker.domain.windows import DateWindow
from worker.web.dependencies import Visit, VisitDep, account_form, check_session_form, title_of_meter
from worker.web.pages.account_forms import Choosable
from worker.web.rendering import render, words_of
from worker.web.request_audit import note_refusal

router = APIRouter()
_TOLD_DAYS: Final = timedelta(days=31)


@router.get("/accounts/{account_id}/prices")
def show_prices(visit: VisitDep, account: Choosable, saved: Annotated[str, Query()] = "") -> Response:
    return _render(visit, account, {}, saved=bool(saved))


@router.post("/accounts/{account_id}/prices", name=AuditAction.PRICES_SET)
async def save_prices(visit: VisitDep, account: Choosable) -> Response:
    """Set what the form says. The form, which may be long, is read only from a browser that sees the account."""
    typed = {name: str(text) for name, text in (await visit.request.form()).items()}
    return await run_in_threadpool(_save, visit, account, typed)


def _save(visit: Visit, account: Account, typed: Mapping[str, str]) -> Response:
    check_session_form(visit.access, visit.session, typed.get("csrf", ""), f"/accounts/{account.id}/prices")
    # ``field``: where a fault is, as its text's key ends.
    field, wanted = "own", dict[str, Any]()
    try:
        if "own" in typed:
            wanted["own"] = read_own_prices(typed["own"].replace("\r\n", "\n"))
        else:
            text, choices = typed.get("hours", "").strip(), load_choices(visit.registry, account) or TariffChoices()
            option = typed.get("option", "")
            field = "from"
            wanted["first"] = first = date.fromisoformat(typed["from"]) if typed.get("from") else None
            # Without an option, a household with own prices gives its hours alone.
            if option or not text or not any(isinstance(one, Price) for one in choices.electricity):
                field = "option"
                regulated = Option(option)
                field = "power"
                wanted["regulated"] = regulated, SUBSCRIPTIONS[SUBSCRIPTIONS.index(int(typed.get("power", "")))]
            field = "hours"
            if text and option in ("", Option.HPHC):
                hours = read_hours(text)
                # The contract's own hours are followed, also when they change.
                if choices.hours or not follows_contract(visit.stores.measures, account, hours, first):
                    wanted["hours"] = hours
            field = "from"
        set_prices(visit.registry, account, **wanted)
    except (PricesRefused, ValueError) as error:
        note_refusal(visit.request, "prices_refused")
        fault = {"field": field, "line": str(error) if isinstance(error, PricesRefused) else ""}
        return _render(visit, account, typed, fault)
    return RedirectResponse(f"/accounts/{account.id}/prices?saved=yes", 303)


@router.post(
    "/accounts/{account_id}/prices/remove", name=AuditAction.PRICES_REMOVE, dependencies=[account_form("/prices")]
)
def forget_prices(visit: VisitDep, account: Choosable) -> Response:
    remove_prices(visit.registry, account)
    return RedirectResponse(f"/accounts/{account.id}/prices", 303)


@router.get("/accounts/{account_id}/prices/compare")
def compare_prices(
    visit: VisitDep, account: Choosable, power: Annotated[str, Query()] = "", hours: Annotated[str, Query()] = ""
) -> Response:
    """Show what each option costs; ``power`` and ``hours``, if given, replace those that are known."""
    measures, found, fault = visit.stores.measures, None, ""
    tariff = load_tariff(visit.registry, measures, account, Option)
    if tariff.kind == "gas":
        return RedirectResponse(f"/accounts/{account.id}/prices", 303)
    kva = power_of(tariff)
    with suppress(ValueError):
        kva = SUBSCRIPTIONS[SUBSCRIPTIONS.index(int(power))]
    try:
        if kva:
            found = compare_options(measures, account.id, tariff, kva, hours, words_of(visit.request).language)
    except PricesRefused as refused:
        fault = str(refused)
    return render(
        visit.request,
        "price_comparison.html",
        status=422 if fault else 200,
        account=account,
        found=found,
        power=kva,
        powers=SUBSCRIPTIONS,
        hours=hours,
        fault=fault,
    )


def _render(
    visit: Visit,
    account: Account,
    typed: Mapping[str, str],
    fault: Mapping[str, str] | None = None,
    *,
    saved: bool = False,
) -> Response:
    tariff, language = load_tariff(visit.registry, visit.stores.measures, account), words_of(visit.request).language
    suggested = suggest(visit.stores.measures, account)
    told_days = DateWindow(tariff.today - _TOLD_DAYS, tariff.today).dates() if tariff.is_set else ()
    return render(
        visit.request,
        "prices.html",
        status=422 if fault else 200,
        account=account,
        title=title_of_meter(visit.registry, account, words_of(visit.request)),
        tariff=tariff,
        beginning=BEGINNING,
        saved=saved,
        notes=[reason for _, reason in tariff.explain_unpriced(told_days, language)],
        options=list(Option),
        powers=SUBSCRIPTIONS,
        format_hours=format_hours,
        suggested=any(suggested.values()) and not typed,
        typed={**suggested, "from": "", "own": "", **typed},
        fault=fault,
    )
