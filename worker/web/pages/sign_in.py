"""How households sign in without a supplier, by a recovery code or a mailed link, and the page of their sessions.

A right code or link is always heard; wrong ones are counted after they were checked. Nothing that a page says, nor when
it says so, tells whether a code or an address is known. Loading a page changes nothing: mail programs load links too.

The page of sessions shows which browsers see the household's meters, with forms that end them. ``others`` are browsers
of another household that sees one of the same accounts, such as one that connected the same meter by itself.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from starlette.background import BackgroundTask

from config.settings import Settings
from worker.accounts.household_access import CODE
from worker.accounts.notice_services import is_mail_address
from worker.domain.sessions import KeyKind
from worker.logs import fields
from worker.runtime.stores import Stores
from worker.runtime.web_access import WebAccess
from worker.stores.redis.locks import Rate, RateLimiter
from worker.stores.registry import Registry
from worker.stores.registry.access_keys import RecoveryTexts
from worker.stores.registry.households import Household
from worker.web.client_addresses import client_address, name_device
from worker.web.dependencies import (
    SESSION_COOKIE,
    AccessDep,
    Csrf,
    RegistryDep,
    Session,
    SessionDep,
    SettingsDep,
    StoresDep,
    browser_form,
    delete_cookie,
    is_own_form,
    is_session_form,
    note_household,
    replace_session,
    set_session_cookie,
)
from worker.web.error_pages import HttpRefusal
from worker.web.pages.consent_callback import BROWSER_COOKIE
from worker.web.rendering import refuse_form, render, render_message, render_with_form

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


@router.get("/sign-in")
def show_sign_in(request: Request, settings: SettingsDep, access: AccessDep) -> Response:
    return _sign_in_page(request, settings, access)


@router.post("/sign-in/code", dependencies=[browser_form(PATH)])
def sign_in_by_code(
    request: Request,
    stores: StoresDep,
    access: AccessDep,
    session: SessionDep,
    code: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Open a session of the household whose code this is; the page that it leads to shows the next code."""
    if stores.settings.is_home and (own := access.home.check_password(code)):
        response = RedirectResponse("/", 303)
        _enter(access, request, response, session, own, {})
        return response
    used = None if stores.settings.is_home else access.ways_back.use_code(code)
    if used is None:
        wait_s = _count_wrong_code(stores, request, code)
        fault = "own_home.wrong" if stores.settings.is_home else "sign_in.wrong"
        return _sign_in_page(request, stores.settings, access, fault=fault, wait_s=wait_s, code=code)
    household, new_code = used
    response = RedirectResponse("/access", 303)
    _enter(access, request, response, session, household, {CODE: new_code})
    return response


@router.post("/sign-in/mail")
def mail_sign_in_link(
    request: Request,
    stores: StoresDep,
    access: AccessDep,
    address: Annotated[str, Form(max_length=LONGEST_ADDRESS)] = "",
    csrf: Csrf = "",
) -> Response:
    """Answer the same for every address. Whether it is known is looked up after the answer has been sent."""
    if not access.mail_links.sends_mail:
        raise HttpRefusal(404, "not_found", "no mail service is set")
    if not is_own_form(request, csrf):
        return refuse_form(request, PATH)
    address = address.strip()
    if not is_mail_address(address):
        return _sign_in_page(request, stores.settings, access, 422, fault="sign_in.no_address", address=address)
    if wait_s := RateLimiter(stores.redis).count_call(_MAILS_OF_CLIENT, client_address(request)):
        return _sign_in_page(request, stores.settings, access, wait_s=wait_s, address=address)
    response = render_message(request, "sign_in.sent", 200, (PATH, "sign_in.back"))
    response.background = BackgroundTask(access.mail_links.mail_sign_in, address)
    return response


@router.get("/sign-in/link")
def show_link_form(request: Request) -> Response:
    """Show the button that uses a link; its secret stands in the fragment, which the server does not see."""
    return link_page(request, "sign_in.link", "/sign-in/link")


@router.post("/sign-in/link", dependencies=[browser_form(PATH)])
def sign_in_by_link(
    request: Request,
    stores: StoresDep,
    access: AccessDep,
    session: SessionDep,
    link: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Open a session of the household to which this link was mailed, in whichever browser it is used."""
    household = access.ways_back.use_sign_in_link(link)
    if household is None:
        return refuse_link(request, stores, "sign_in.link_over", (PATH, "sign_in.again"))
    is_same = session.household is not None and session.household.id == household.id
    details = session.key.details if session.key and is_same else {}  # A code that isn't kept yet stays shown.
    own = Session(household=household).own(stores.registry.accounts.get_many(list(household.accounts)))
    response = RedirectResponse(f"/accounts/{own[0].id}" if len(own) == 1 else "/", 303)
    _enter(access, request, response, session, household, details)
    return response


@router.get("/access/sessions")
def show_sessions(request: Request, stores: StoresDep, access: AccessDep, session: SessionDep) -> Response:
    """Show the browsers that see the household's meters; a browser without a session is sent to the first page."""
    if session.household is None:
        return RedirectResponse("/", 303)
    mine = stores.registry.sessions.list_keys([session.household.id], _HOUSEHOLD)
    others = stores.registry.sessions.list_keys(_other_households(stores.registry, access, session), _HOUSEHOLD)
    this = [key for key in mine if key.id == session.sid]
    own = [*this, *(key for key in mine if key.id != session.sid)]
    return render(request, "sessions.html", own=own, others=others, is_home=stores.settings.is_home)


@router.post("/access/sessions/{key_id}/end")
def end_session(
    request: Request, key_id: str, stores: StoresDep, access: AccessDep, session: SessionDep, csrf: Csrf = ""
) -> Response:
    """End one session of the household; one that has ended already is no error."""
    if not is_session_form(access, session, csrf) or session.household is None:
        return refuse_form(request, _SESSIONS)
    stores.registry.sessions.end(key_id, owners=[session.household.id])
    return _after_end(request, ended_own=key_id == session.sid)


@router.post("/access/sessions/end-others")
def end_other_sessions(
    request: Request, registry: RegistryDep, access: AccessDep, session: SessionDep, csrf: Csrf = ""
) -> Response:
    """End all sessions that see a meter of this household but this one, and what else lets other households see it."""
    if not is_session_form(access, session, csrf) or session.household is None:
        return refuse_form(request, _SESSIONS)
    access.households.remove_from_others(list(session.accounts), session.household.id)
    registry.sessions.end_of([session.household.id], _HOUSEHOLD, but=session.sid)
    return RedirectResponse(_SESSIONS, 303)


@router.post("/access/log-out")
def log_out(request: Request, stores: StoresDep, access: AccessDep, session: SessionDep, csrf: Csrf = "") -> Response:
    """End this browser's session."""
    if not is_session_form(access, session, csrf):
        return refuse_form(request, _SESSIONS)
    stores.registry.sessions.end(session.sid)
    return _after_end(request, ended_own=True)


def link_page(request: Request, name: str, action: str) -> Response:
    """Return a page with the button that uses a mailed link; its texts begin with ``name``."""
    return render_with_form(request, "link.html", form_life_s=_FORM_LIFE_S, texts=name, action=action)


def refuse_link(request: Request, stores: Stores, name: str, action: tuple[str, str]) -> Response:
    """Return the page of a link that isn't valid, counted by address."""
    if wait_s := RateLimiter(stores.redis).count_call(WRONG_OF_ADDRESS, client_address(request)):
        response = render_message(request, "sign_in.slow", 429, action, {"minutes": str(math.ceil(wait_s / 60))})
        response.headers["Retry-After"] = str(wait_s)
        return response
    return render_message(request, name, 410, action)


def _enter(
    access: WebAccess,
    request: Request,
    response: Response,
    session: Session,
    household: Household,
    details: Any,
) -> None:
    """Give the browser a new session of the household; the one that it had ends."""
    device = name_device(request.headers.get("User-Agent", ""))
    opened, text = replace_session(access, session, household, details, device)
    set_session_cookie(request, response, text)
    note_household(request, opened)


def _count_wrong_code(stores: Stores, request: Request, code: str) -> int:
    """Count a wrong code by the address, and by the address and the code that it names; return the wait beyond."""
    limiter, address = RateLimiter(stores.redis), client_address(request)
    code_id = RecoveryTexts().read_id(code)
    wait_s = limiter.count_call(WRONG_OF_ADDRESS, address)
    if not wait_s and code_id is not None:  # Beyond the first limit, made-up codes must not fill Redis.
        wait_s = limiter.count_call(_WRONG_OF_CODE, f"{address}/{code_id}")
    log.warning("recovery code refused", extra=fields(address=address, blocked=bool(wait_s)))
    return wait_s


def _sign_in_page(
    request: Request,
    settings: Settings,
    access: WebAccess,
    status: int = 200,
    *,
    fault: str = "",
    wait_s: int = 0,
    code: str = "",
    address: str = "",
) -> Response:
    """Return the page with its forms. ``fault``: the key of what is wrong; ``code`` and ``address``: as typed."""
    if wait_s:
        status, fault = 429, "sign_in.slow.text"
    elif fault and status == 200:
        status = 403
    response = render_with_form(
        request,
        "home_sign_in.html" if settings.is_home else "sign_in.html",
        status,
        form_life_s=_FORM_LIFE_S,
        fault=fault,
        minutes=math.ceil(wait_s / 60),
        code=code,
        address=address,
        sends_mail=access.mail_links.sends_mail,
    )
    if wait_s:
        response.headers["Retry-After"] = str(wait_s)
    return response


def _other_households(registry: Registry, access: WebAccess, session: Session) -> list[str]:
    """Return the other households that see an account of this one, under its present session number."""
    accounts = registry.accounts.get_many(list(session.accounts))
    numbers = {account.id: account.session_number for account in session.own(accounts)}
    ids = registry.sessions.households_of(numbers)
    own = session.household.id if session.household else ""
    return [id_ for id_ in ids if id_ != own and _sees_one(access, id_, numbers)]


def _sees_one(access: WebAccess, household_id: str, numbers: Mapping[str, int]) -> bool:
    household = access.households.load(household_id)
    return household is not None and any(numbers.get(id_) == number for id_, number in household.accounts.items())


def _after_end(request: Request, *, ended_own: bool) -> Response:
    if not ended_own:
        return RedirectResponse(_SESSIONS, 303)
    response = RedirectResponse("/", 303, {"Clear-Site-Data": '"cache", "storage"'})
    for cookie in (SESSION_COOKIE, BROWSER_COOKIE):  # The names of what it has begun may open an account again.
        delete_cookie(request, response, cookie)
    return response
