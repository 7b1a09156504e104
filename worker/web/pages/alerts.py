"""The form on which a household sets the limits above which it is told of a day."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Final

from fastapi import APIRouter, Form, Query, Response
from fastapi.responses import RedirectResponse

from worker.accounts.alerts import find_subscribed, load_limits, save_limits
from worker.accounts.prices import load_tariff
from worker.accounts.series_choice import SeriesState
from worker.domain.account import Account
from worker.domain.alerts import AlertLimits
from worker.domain.audit_entry import AuditAction
from worker.domain.series import Series, SeriesSwitch, contract_series, peaks_of_power
from worker.runtime.consent_parts import build_series_chooser
from worker.stores.redis.locks import Rate
from worker.web.dependencies import Visit, VisitDep, account_form, switch_series, title_of_meter
from worker.web.pages.account_forms import Choosable
from worker.web.rendering import render, render_message, words_of
from worker.web.request_audit import note_refusal

router = APIRouter()
_AMOUNT: Final = re.compile(r"[0-9]{1,4}([.,][0-9]{1,2})?")
_CHANGES: Final = Rate("alerts", calls=20, window_s=3600)
_Typed = Annotated[str, Form(max_length=20)]


@router.get("/accounts/{account_id}/alerts")
def show_alerts(visit: VisitDep, account: Choosable, saved: Annotated[str, Query()] = "") -> Response:
    limits, sign = load_limits(visit.registry, account.id), "," if words_of(visit.request).language == "fr" else "."
    typed = {name: str(getattr(limits, name) or "").replace(".", sign) for name in ("energy", "cost")}
    return _render(visit, account, typed | {"power": "yes" if limits.power_since else ""}, saved=bool(saved))


@router.post("/accounts/{account_id}/alerts", name=AuditAction.ALERTS_SET, dependencies=[account_form("/alerts")])
def set_alerts(
    visit: VisitDep, account: Choosable, energy: _Typed = "", cost: _Typed = "", power: _Typed = ""
) -> Response:
    """Set the limits that the form says; without any, the account has no alerts."""
    page, typed = f"/accounts/{account.id}/alerts", {"energy": energy, "cost": cost, "power": power}
    amounts = {name: _read_amount(typed[name]) for name in ("energy", "cost")}
    if fault := next((name for name, amount in amounts.items() if typed[name].strip() and not amount), ""):
        note_refusal(visit.request, "alerts_refused")
        return _render(visit, account, typed, fault)
    if wait_s := visit.count_call(_CHANGES, account.id):
        return render_message(visit.request, "choose.too_many", 429, (page, "message.again"), wait_s=wait_s)
    since, offered, peaks = None, _load_series(visit, account), peaks_of_power()
    if power and peaks in offered:
        measures, tariff = visit.stores.measures, load_tariff(visit.registry, visit.stores.measures, account)
        since = load_limits(visit.registry, account.id).power_since or tariff.today
        # The contract tells the subscribed power, if nothing else does.
        needed = (peaks, *([] if find_subscribed(measures, account, tariff, [since])[since] else [contract_series()]))
        lacking = (one for one in needed if one in offered and not offered[one].collected)
        switch_series(visit.stores, account.id, dict.fromkeys(lacking, SeriesSwitch.ON))
    save_limits(visit.registry, account, AlertLimits(**amounts, power_since=since))
    return RedirectResponse(f"{page}?saved=yes", 303)


def _read_amount(text: str) -> Decimal | None:
    """Return an amount above zero as people write it; None for any other text."""
    text = text.strip()
    return (Decimal(text.replace(",", ".")) or None) if _AMOUNT.fullmatch(text) else None


def _load_series(visit: Visit, account: Account) -> dict[Series, SeriesState]:
    """Return the states of the series that the supplier offers."""
    states = build_series_chooser(visit.stores).load(account.id).series
    return {series: state for series, state in states.items() if state.offered}


def _render(
    visit: Visit, account: Account, typed: Mapping[str, str], fault: str = "", *, saved: bool = False
) -> Response:
    tariff = load_tariff(visit.registry, visit.stores.measures, account)
    return render(
        visit.request,
        "alerts.html",
        status=422 if fault else 200,
        account=account,
        title=title_of_meter(visit.registry, account, words_of(visit.request)),
        typed=typed,
        fault=fault,
        saved=saved,
        mail=_describe_mail(visit),
        has_cost=tariff.choice_on(tariff.today) or typed["cost"],
        has_power=peaks_of_power() in _load_series(visit, account),
        subscribed=find_subscribed(visit.stores.measures, account, tariff, [tariff.today])[tariff.today],
    )


def _describe_mail(visit: Visit) -> str:
    """Return whether the household is mailed: ``on``, ``off``, only with an ``address``, or ``none`` for never."""
    household = visit.session.household
    address = visit.access.ways_back.addresses.load(household.id) if household else None
    if not visit.access.mails.sends_mail or (visit.settings.is_home and address is None):
        return "none"
    if address is None:
        return "address"
    return "on" if address.notices else "off"
