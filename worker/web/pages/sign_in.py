"""How households sign in without a supplier, by a recovery code or a mailed link, and the page of their sessions.

A code or link is checked before its limits, and only wrong ones count, so a valid one is always accepted. Neither the
text of a page nor its timing reveals whether a code or an address is known. Loading a page changes nothing, because
mail programs load links too.

The page of sessions shows which browsers see the household's meters, with forms that end their sessions. It also shows
the browsers of other households that see one of these accounts, for example because they connected the same meter.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse
from starlette.background import BackgroundTask

from worker.accounts.household_access import CODE
from worker.accounts.notice_services import is_mail_address
from worker.domain.audit_entry import AuditAction
from worker.domain.sessions import KeyKind
from worker.logs import fields
from worker.stores.redis.locks import Rate
from worker.stores.registry.access_keys import RecoveryTexts
from worker.stores.registry.households import Household
from worker.web.dependencies import (
    SESSION_COOKIE,
    AccessDep,
    HouseholdDep,
    Session,
    Visit,
    VisitDep,
    browser_form,
    delete_cookie,
    load_accounts,
    note_household,
    replace_session,
    session_form,
    set_session_cookie,
)
from worker.web.error_pages import HttpRefusal
from worker.web.pages.consent_callback import BROWSER_COOKIE
from worker.web.rendering import render, render_message, render_with_form

log = logging.getLogger("releve.access")
router = APIRouter()
PATH: Final = "/sign-in"
_SESSIONS: Final = "/access/sessions"
_HOUSEHOLD: Final = (KeyKind.HOUSEHOLD_SESSION,)
_FORM_LIFE_S: Final = 24 * 3600
LONGEST_ADDRESS: Final = 254  # RFC 5321, 4.5.3.1.3
WRONG_OF_ADDRESS: Final = Rate("sign-in", calls=20, window_s=300)
_WRONG_OF_CODE: Final = Rate("sign-in-code", calls=5, window_s=300)
_MAILS_OF_CLIENT: Final = Rate("sign-in-mail", calls=10, window_s=3600)


def require_mail(access: AccessDep) -> None:
    """Check that this service can send mails. Raises HttpRefusal 404."""
    if not access.mails.sends_mail:
        raise HttpRefusal(404, "not_found", "no mail service is set")


@router.get("/sign-in")
def show_sign_in(visit: VisitDep) -> Response:
    return _sign_in_page(visit, 200)


@router.post("/sign-in/code", name=AuditAction.SESSION_OPEN, dependencies=[browser_form(PATH)])
def sign_in_by_code(visit: VisitDep, code: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Open a session of the household that has this recovery code. The next page shows a new code."""
    if visit.settings.is_home:
        own = visit.access.home.check_password(code)
        return _enter(visit, own, {}, "/") if own else _refuse_code(visit, code, "own_home.wrong")
    used = visit.access.ways_back.use_code(code)
    if used is None:
        return _refuse_code(visit, code, "sign_in.wrong")
    household, new_code = used
    return _enter(visit, household, {CODE: new_code}, "/access")


@router.post("/sign-in/mail", name=AuditAction.SIGN_IN_MAIL, dependencies=[Depends(require_mail), browser_form(PATH)])
def mail_sign_in_link(visit: VisitDep, address: Annotated[str, Form(max_length=LONGEST_ADDRESS)] = "") -> Response:
    """Answer every address alike. After the answer is sent, the address is looked up; a known address gets a link."""
    address = address.strip()
    if not is_mail_address(address):
        return _sign_in_page(visit, 422, "sign_in.no_address", address=address)
    if wait_s := visit.count_call(_MAILS_OF_CLIENT, visit.address):
        return _sign_in_page(visit, wait_s=wait_s, address=address)
    response = render_message(visit.request, "sign_in.sent", 200, (PATH, "sign_in.back"))
    response.background = BackgroundTask(visit.access.mails.mail_sign_in, address)
    return response


@router.get("/sign-in/link")
def show_link_form(request: Request) -> Response:
    """Show the button that uses a mailed link; the link's secret is in the fragment, which the server does not see."""
    return link_page(request, "sign_in.link", "/sign-in/link")


@router.post("/sign-in/link", name=AuditAction.SESSION_OPEN, dependencies=[browser_form(PATH)])
def sign_in_by_link(visit: VisitDep, link: Annotated[str, Form(max_length=2000)] = "") -> Response:
    """Open a session of the household to which this link was mailed, in whichever browser it is used."""
    household, session = visit.access.ways_back.use_sign_in_link(link), visit.session
    if household is None:
        return refuse_link(visit, "sign_in.link_over", (PATH, "sign_in.again"))
    is_same = session.household is not None and session.household.id == household.id
    # The new session keeps showing a recovery code that the person hasn't saved yet.
    details = session.key.details if session.key and is_same else {}
    own = load_accounts(visit.registry, Session(household=household))
    return _enter(visit, household, details, f"/accounts/{own[0].id}" if len(own) == 1 else "/")


@router.get("/access/sessions")
def show_sessions(visit: VisitDep) -> Response:
    """Show the browsers that see the household's meters; send a browser without a session to the first page."""
    session, list_keys = visit.session, visit.registry.sessions.list_keys
    if session.household is None:
        return RedirectResponse("/", 303)
    mine = sorted(list_keys([session.household.id], _HOUSEHOLD), key=lambda key: key.id != session.sid)
    others = list_keys(_other_households(visit, session.household), _HOUSEHOLD)
    return render(visit.request, "sessions.html", own=mine, others=others, is_home=visit.settings.is_home)


@router.post("/access/sessions/{key_id}/end", name=AuditAction.SESSION_END, dependencies=[session_form(_SESSIONS)])
def end_session(visit: VisitDep, household: HouseholdDep, key_id: str) -> Response:
    """End one session of the household; no error if it has already ended."""
    visit.registry.sessions.end(key_id, owners=[household.id])
    return _after_end(visit) if key_id == visit.session.sid else RedirectResponse(_SESSIONS, 303)


@router.post("/access/sessions/end-others", name=AuditAction.SESSION_END_OTHERS, dependencies=[session_form(_SESSIONS)])
def end_other_sessions(visit: VisitDep, household: HouseholdDep) -> Response:
    """End the household's other sessions, and take its accounts away from all other households."""
    visit.access.households.remove_from_others(list(visit.session.accounts), household.id)
    visit.registry.sessions.end_of([household.id], _HOUSEHOLD, but=visit.session.sid)
    return RedirectResponse(_SESSIONS, 303)


@router.post("/access/log-out", name=AuditAction.SESSION_END, dependencies=[session_form(_SESSIONS)])
def log_out(visit: VisitDep) -> Response:
    visit.registry.sessions.end(visit.session.sid)
    return _after_end(visit)


def link_page(request: Request, name: str, action: str) -> Response:
    """Return the page on which a person confirms a mailed link. ``name``: the prefix of the page's text keys."""
    return render_with_form(request, "link.html", form_life_s=_FORM_LIFE_S, texts=name, action=action)


def refuse_link(visit: Visit, name: str, action: tuple[str, str]) -> Response:
    """Return the page of an invalid link, and count the attempt by the client's address."""
    if wait_s := visit.count_call(WRONG_OF_ADDRESS, visit.address):
        minutes = {"minutes": str(math.ceil(wait_s / 60))}
        return render_message(visit.request, "sign_in.slow", 429, action, minutes, wait_s=wait_s)
    return render_message(visit.request, name, 410, action)


def _enter(visit: Visit, household: Household, details: Mapping[str, str], to: str) -> Response:
    """Give the browser a new session of the household; its previous session ends."""
    response = RedirectResponse(to, 303)
    opened, text = replace_session(visit.access, visit.session, household, details, visit.device)
    set_session_cookie(visit.request, response, SESSION_COOKIE, text)
    note_household(visit.request, opened)
    return response


def _refuse_code(visit: Visit, code: str, fault: str) -> Response:
    """Return the page of a wrong code. Count it for the client's address, and for this address with the code's id."""
    code_id = RecoveryTexts().read_id(code)
    wait_s = visit.count_call(WRONG_OF_ADDRESS, visit.address)
    if not wait_s and code_id is not None:  # An address over its limit can't fill Redis with made-up ids.
        wait_s = visit.count_call(_WRONG_OF_CODE, f"{visit.address}/{code_id}")
    log.warning("recovery code refused", extra=fields(address=visit.address, blocked=bool(wait_s)))
    return _sign_in_page(visit, 403, fault, wait_s=wait_s, code=code)


def _sign_in_page(
    visit: Visit, status: int = 429, fault: str = "", *, wait_s: int = 0, code: str = "", address: str = ""
) -> Response:
    """Return the page of forms. ``fault``: the key of an error text. ``code`` and ``address``: the typed texts."""
    if wait_s:
        status, fault = 429, "sign_in.slow.text"
    return render_with_form(
        visit.request,
        "home_sign_in.html" if visit.settings.is_home else "sign_in.html",
        status,
        form_life_s=_FORM_LIFE_S,
        fault=fault,
        wait_s=wait_s,
        minutes=math.ceil(wait_s / 60),
        code=code,
        address=address,
        sends_mail=visit.access.mails.sends_mail,
    )


def _other_households(visit: Visit, own: Household) -> list[str]:
    """Return the ids of the other households that also see one of the accounts that this household sees now."""
    numbers = {account.id: account.session_number for account in load_accounts(visit.registry, visit.session)}
    ids = visit.registry.sessions.households_of(numbers)
    others = (visit.access.households.load(id_) for id_ in ids if id_ != own.id)
    return [one.id for one in others if one and numbers.items() & one.accounts.items()]


def _after_end(visit: Visit) -> Response:
    """Return the answer to a browser that has ended its own session. The answer deletes what the browser has stored."""
    response = RedirectResponse("/", 303, {"Clear-Site-Data": '"cache", "storage"'})
    # ``BROWSER_COOKIE`` is deleted too, because it could open an account again.
    for cookie in (SESSION_COOKIE, BROWSER_COOKIE):
        delete_cookie(visit.request, response, cookie)
    return response
