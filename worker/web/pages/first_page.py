"""The first page: the figures of the household's meters, or how to connect one, which has an address of its own too."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from worker.domain.series import Series
from worker.domain.windows import history_length
from worker.runtime.supplier_settings import is_offered
from worker.web.dependencies import VisitDep, gas_suffix, load_accounts, needs_invitation
from worker.web.pages.account_head import KINDS
from worker.web.pages.meter_cards import describe_meters
from worker.web.rendering import render, words_of
from worker.web.texts import Words

router = APIRouter()
ACCOUNTS_A_PAGE: Final = 20


@router.get("/")
def show_home(visit: VisitDep, page: Annotated[int, Query(ge=1, le=100)] = 1) -> Response:
    accounts = [account for account in load_accounts(visit.registry, visit.session) if account.state in KINDS]
    if not accounts:
        return show_offer(visit)
    first = (page - 1) * ACCOUNTS_A_PAGE
    return render(
        visit.request,
        "home.html",
        previous_page=page - 1,
        next_page=page + 1 if len(accounts) > first + ACCOUNTS_A_PAGE else 0,
        **describe_meters(visit, accounts, first, ACCOUNTS_A_PAGE),
    )


@router.get("/connect")
def show_offer(visit: VisitDep) -> Response:
    """Show which meters can be connected, and what a household agrees to."""
    settings, sync, words = visit.settings, visit.sync, words_of(visit.request)
    main, collected = sync.suppliers.main, visit.registry.outcomes.fleet
    on_request = [series for series in Series if series not in collected and is_offered(settings, series)]
    return render(
        visit.request,
        "connect.html",
        # The form for pretend homes leads to the supplier's page.
        form_to=[main.endpoints.authorize_url] if settings.pretend_homes else (),
        suppliers={name: needs_invitation(sync, name) for name in visit.consent.suppliers},
        several=gas_suffix(sync),
        has_meters=any(account.state in KINDS for account in load_accounts(visit.registry, visit.session)),
        needs_invitation=needs_invitation(sync, main.supplier.name),
        pretend=settings.pretend_homes,
        duration=words.duration(settings.consent_duration or main.endpoints.preset.consent_duration),
        read={series: _past_of(series, settings.history_load_days, words) for series in collected},
        on_request=[words(f"series.{series}.name") for series in on_request],
    )


def _past_of(series: Series, curve_days: int, words: Words) -> str:
    """Return how far back a series is read: in days for a curve, in months for others."""
    days = history_length(series, curve_days)
    return words.duration(f"P{days}D" if series.description.history_days is None else f"P{days * 12 // 365}M")
