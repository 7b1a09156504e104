"""The first page: connect a meter, or open one that is connected in this browser."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from worker.domain.series import Series
from worker.domain.windows import history_length
from worker.runtime.supplier_settings import is_offered
from worker.web.dependencies import ConsentDep, SessionDep, StoresDep, SyncDep, gas_suffix, needs_invitation
from worker.web.pages.account import KINDS
from worker.web.rendering import policy_with_form_to, render, words_of
from worker.web.texts import Words

router = APIRouter()
ACCOUNTS_A_PAGE: Final = 20


@router.get("/")
def show_home(
    request: Request,
    stores: StoresDep,
    sync: SyncDep,
    consent: ConsentDep,
    session: SessionDep,
    page: Annotated[int, Query(ge=1, le=100)] = 1,
) -> Response:
    settings, words = stores.settings, words_of(request)
    # One query; a cookie may be older than the registry.
    accounts = [
        account
        for account in session.own(stores.registry.accounts.get_many(list(session.accounts)))
        if account.state in KINDS
    ]
    first = (page - 1) * ACCOUNTS_A_PAGE
    collected = stores.registry.outcomes.fleet
    response = render(
        request,
        "home.html",
        suppliers={name: needs_invitation(sync, name) for name in consent.suppliers},
        several=gas_suffix(sync),
        accounts=accounts[first : first + ACCOUNTS_A_PAGE],
        previous_page=page - 1,
        next_page=page + 1 if len(accounts) > first + ACCOUNTS_A_PAGE else 0,
        needs_invitation=needs_invitation(sync, sync.suppliers.main.supplier.name),
        pretend=settings.pretend_homes,
        kinds=KINDS,
        duration=words.duration(settings.consent_duration or sync.suppliers.main.endpoints.preset.consent_duration),
        read={series: _past_of(series, settings.history_load_days, words) for series in collected},
        on_request=[
            words(f"series.{series}.name")
            for series in Series
            if series not in collected and is_offered(stores.settings, series)
        ],
    )
    if settings.pretend_homes:  # Its form leads to the supplier's page.
        response.headers["Content-Security-Policy"] = policy_with_form_to(sync.suppliers.main.endpoints.authorize_url)
    return response


def _past_of(series: Series, curve_days: int, words: Words) -> str:
    """Return how much of the past of a series is read: days of a curve, months of the others."""
    days = history_length(series, curve_days)
    return words.duration(f"P{days}D" if series.description.history_days is None else f"P{days * 12 // 365}M")
