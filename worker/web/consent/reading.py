"""The page on which a person proves that it is their meter: they type what its display shows (P4).

It belongs to the browser's last connection request and says nothing of its meter. What is typed is compared by a task.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from worker.domain.consents import DISPLAYED_PERIODS, parse_displayed
from worker.stores.redis.locks import Rate, RateLimiter
from worker.web.addresses import client_address
from worker.web.consent.browser_names import read_browser_names, set_browser_names
from worker.web.consent.callback import answer_request, consent_page
from worker.web.context import RuntimeDep, SessionDep, is_own_form
from worker.web.render import refuse_form, render_with_form
from worker.web.sessions import Session

router = APIRouter(include_in_schema=False)
_AN_HOUR_S: Final = 3600
REQUEST_TRIES: Final = Rate("reading-request", calls=5, window_s=_AN_HOUR_S)
ADDRESS_TRIES: Final = Rate("reading-address", calls=20, window_s=_AN_HOUR_S)
_FIELD: Final = "register_"
_OUTCOME: Final = "/connect/reading/outcome"


@router.get("/connect/reading")
def show_reading_form(request: Request, runtime: RuntimeDep) -> Response:
    """Show the form to the browser whose last request has no proof yet."""
    if runtime.connector.find_unproven(read_browser_names(runtime, request).hashes) is None:
        return consent_page(request, "no_reading")
    return render_with_form(request, "reading.html", contracts=DISPLAYED_PERIODS, typed={}, unread=False)


@router.post("/connect/reading")
async def type_reading(request: Request, runtime: RuntimeDep, session: SessionDep) -> Response:
    """Take what the display shows, whole kWh by tariff period; fields that are left empty count as not shown."""
    form = {name: str(text) for name, text in (await request.form()).items()}
    return await run_in_threadpool(_take, request, runtime, session, form)


def _take(request: Request, runtime: RuntimeDep, session: Session, form: dict[str, str]) -> Response:
    if not is_own_form(runtime, request, form.get("csrf", "")):
        return refuse_form(request, "/")
    registers = [name for periods in DISPLAYED_PERIODS.values() for name in periods]
    typed = {name: text for name in registers if (text := form.get(_FIELD + name, "").strip())}
    readings = {name: parse_displayed(text) for name, text in typed.items()}
    known = {name: kwh for name, kwh in readings.items() if kwh is not None}
    if not known or len(known) < len(readings):
        return render_with_form(request, "reading.html", 400, contracts=DISPLAYED_PERIODS, typed=typed, unread=True)
    names = read_browser_names(runtime, request)
    unproven = runtime.connector.find_unproven(names.hashes)
    if unproven is None:
        return consent_page(request, "no_reading")
    limiter = RateLimiter(runtime.redis)
    # A browser gets a new name with each try, so its tries are counted by what it tries to prove.
    tries = ((REQUEST_TRIES, unproven.id), (ADDRESS_TRIES, client_address(request)))
    if wait_s := max(limiter.count_call(rate, subject) for rate, subject in tries):
        return consent_page(request, "too_many", min(wait_s, _AN_HOUR_S))
    renamed = names.with_new()
    compared = runtime.connector.compare_reading(names.hashes, known, browser=renamed.newest, session=session.accounts)
    if compared is None:
        return consent_page(request, "no_reading")
    response = RedirectResponse(_OUTCOME, 303)
    set_browser_names(runtime, response, renamed)
    return response


@router.get(_OUTCOME)
def show_outcome(request: Request, runtime: RuntimeDep, session: SessionDep) -> Response:
    """Show what came of it; the page loads itself again until there is an outcome."""
    own = runtime.connection_requests.of_browser(read_browser_names(runtime, request).hashes)
    return consent_page(request, "no_reading") if own is None else answer_request(request, runtime, session, own)
