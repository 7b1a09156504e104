"""The page on which a person proves that it is their meter: they type what its display shows (P4).

It belongs to the browser's last connection request and says nothing of its meter. What is typed is compared by a task.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from worker.domain.consent.meter_reading import DISPLAYED_PERIODS, parse_displayed
from worker.stores.redis.rate_limits import Rate, RateLimiter
from worker.web.addresses import client_address
from worker.web.consent.callback import answer_request, consent_page
from worker.web.context import RuntimeDep, SessionDep, hash_browser_id, read_browser_id, read_form_browser
from worker.web.render import refuse_form, render

router = APIRouter(include_in_schema=False)

_AN_HOUR_S: Final = 3600
BROWSER_TRIES: Final = Rate("reading-browser", calls=5, window_s=_AN_HOUR_S)
ADDRESS_TRIES: Final = Rate("reading-address", calls=20, window_s=_AN_HOUR_S)
_FIELD: Final = "register_"
_OUTCOME: Final = "/connect/reading/outcome"


@router.get("/connect/reading")
def show_reading_form(request: Request, runtime: RuntimeDep) -> Response:
    """Show the form to the browser whose last request has no proof yet."""
    browser_id = read_browser_id(runtime, request)
    if browser_id is None or runtime.connector.find_unproven(hash_browser_id(browser_id)) is None:
        return consent_page(request, "no_reading")
    csrf = runtime.web_access.signer.csrf_token(browser_id)
    return render(request, "reading.html", browser_csrf=csrf, contracts=DISPLAYED_PERIODS, typed={}, unread=False)


@router.post("/connect/reading")
async def type_reading(request: Request, runtime: RuntimeDep) -> Response:
    """Take what the display shows, whole kWh by tariff period; fields that are left empty count as not shown."""
    form = {name: str(text) for name, text in (await request.form()).items()}
    return await run_in_threadpool(_take, request, runtime, form)


def _take(request: Request, runtime: RuntimeDep, form: dict[str, str]) -> Response:
    if (browser_id := read_form_browser(runtime, request, form.get("csrf", ""))) is None:
        return refuse_form(request, "/")
    names = [name for periods in DISPLAYED_PERIODS.values() for name in periods]
    typed = {name: text for name in names if (text := form.get(_FIELD + name, "").strip())}
    readings = {name: parse_displayed(text) for name, text in typed.items()}
    known = {name: kwh for name, kwh in readings.items() if kwh is not None}
    if not known or len(known) < len(readings):
        csrf = runtime.web_access.signer.csrf_token(browser_id)
        values = {"browser_csrf": csrf, "contracts": DISPLAYED_PERIODS, "typed": typed, "unread": True}
        return render(request, "reading.html", 400, **values)
    limiter = RateLimiter(runtime.redis)
    tries = ((BROWSER_TRIES, hash_browser_id(browser_id)), (ADDRESS_TRIES, client_address(request)))
    if wait_s := max(limiter.count_call(rate, subject) for rate, subject in tries):
        return consent_page(request, "too_many", min(wait_s, _AN_HOUR_S))
    if runtime.connector.compare_reading(hash_browser_id(browser_id), known) is None:
        return consent_page(request, "no_reading")
    return RedirectResponse(_OUTCOME, 303)


@router.get(_OUTCOME)
def show_outcome(request: Request, runtime: RuntimeDep, session: SessionDep) -> Response:
    """Show what came of it; the page loads itself again until there is an outcome."""
    browser_id = read_browser_id(runtime, request)
    own = runtime.connection_requests.of_browser(hash_browser_id(browser_id)) if browser_id else None
    return consent_page(request, "no_reading") if own is None else answer_request(request, runtime, session, own)
