"""The page of a household's ways back in: its recovery code, and its mail address."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from starlette.background import BackgroundTask

from worker.accounts.household_access import CODE
from worker.accounts.notice_services import is_mail_address
from worker.domain.sessions import KEY_LIVES, AccessKey, KeyKind
from worker.runtime.web_access import WebAccess
from worker.stores.redis.locks import Rate, RateLimiter
from worker.stores.registry import Registry
from worker.stores.registry.households import Household, MailAddress
from worker.web.dependencies import (
    AccessDep,
    Csrf,
    RegistryDep,
    Session,
    SessionDep,
    StoresDep,
    browser_form,
    is_session_form,
)
from worker.web.error_pages import HttpRefusal
from worker.web.pages.sign_in import LONGEST_ADDRESS, link_page, refuse_link
from worker.web.pages.sign_in import PATH as SIGN_IN
from worker.web.rendering import refuse_form, render, render_message, words_of

router = APIRouter()
PATH: Final = "/access"
_CONFIRM: Final = "/access/confirm"
_ADDRESSES: Final = Rate("address-links", calls=5, window_s=3600)


@router.get("/access")
def show_access(request: Request, registry: RegistryDep, access: AccessDep, session: SessionDep) -> Response:
    if session.key is None or session.household is None:
        return RedirectResponse(SIGN_IN, 303)
    return _access_page(request, registry, access, session)


@router.post("/access/kept")
def keep_code(request: Request, access: AccessDep, session: SessionDep, csrf: Csrf = "") -> Response:
    """Forget the text of the code, which its person has kept."""
    if (opened := _own(access, session, csrf)) is None:
        return _turn_away(request, session)
    key, household = opened
    details = dict(key.details)
    if code := details.pop(CODE, ""):
        access.ways_back.keep_code(household.id, code)
        access.keys.set_details(key, details)
    return RedirectResponse(f"{PATH}#code", 303)


@router.post("/access/code")
def make_code(request: Request, access: AccessDep, session: SessionDep, csrf: Csrf = "") -> Response:
    """Make a new code; the one before ends."""
    if (opened := _own(access, session, csrf)) is None:
        return _turn_away(request, session)
    key, household = opened
    code = access.ways_back.create_code(household.id)
    access.keys.set_details(key, {**key.details, CODE: code})
    address = access.ways_back.addresses.load(household.id)
    return _tell(RedirectResponse(f"{PATH}#code", 303), access, "new_code", address)


@router.post("/access/address")
def give_address(
    request: Request,
    stores: StoresDep,
    access: AccessDep,
    session: SessionDep,
    address: Annotated[str, Form(max_length=LONGEST_ADDRESS)] = "",
    csrf: Csrf = "",
) -> Response:
    """Mail the link that confirms an address. The address before stays in use until then."""
    if not access.mail_links.sends_mail:
        raise HttpRefusal(404, "not_found", "no mail service is set")
    if (opened := _own(access, session, csrf)) is None:
        return _turn_away(request, session)
    household, address = opened[1], address.strip()
    if not is_mail_address(address):
        return _access_page(request, stores.registry, access, session, 422, "sign_in.no_address", address)
    if RateLimiter(stores.redis).count_call(_ADDRESSES, household.id):
        return _access_page(request, stores.registry, access, session, 429, "access.mail.slow", address)
    language = words_of(request).language
    if fault := access.mail_links.mail_confirmation(household.id, address, language):
        status = 429 if fault == "slow" else 502
        return _access_page(request, stores.registry, access, session, status, f"access.mail.{fault}", address)
    return RedirectResponse(f"{PATH}#mail", 303)


@router.post("/access/address/remove")
def remove_address(request: Request, access: AccessDep, session: SessionDep, csrf: Csrf = "") -> Response:
    if (opened := _own(access, session, csrf)) is None:
        return _turn_away(request, session)
    before = access.ways_back.remove_address(opened[1].id)
    return _tell(RedirectResponse(f"{PATH}#mail", 303), access, "new_address", before)


@router.post("/access/notices")
def choose_notices(
    request: Request, access: AccessDep, session: SessionDep, wanted: Annotated[bool, Form()] = False, csrf: Csrf = ""
) -> Response:
    """Switch the notices to the household's address on or off."""
    if (opened := _own(access, session, csrf)) is None:
        return _turn_away(request, session)
    access.ways_back.set_notices(opened[1].id, wanted=wanted)
    return RedirectResponse(f"{PATH}#mail", 303)


@router.get("/access/notices/off/{ticket}")
def show_notices_off(request: Request, stores: StoresDep, access: AccessDep, ticket: str) -> Response:
    """Show the button that switches notices off; what follows the links of mails must not."""
    if access.signer.read_ticket(ticket) is None:
        return refuse_link(request, stores, "access.notices_over", (PATH, "access.title"))
    return render(request, "notices_off.html", action=request.url.path)


@router.post("/access/notices/off/{ticket}")
def switch_notices_off(request: Request, stores: StoresDep, access: AccessDep, ticket: str) -> Response:
    """Switch the notices of a household off by the link of a mail, which opens nothing and needs no session.

    Mail programs send the same by themselves (RFC 8058).
    """
    household_id = access.signer.read_ticket(ticket)
    if household_id is None:
        return refuse_link(request, stores, "access.notices_over", (PATH, "access.title"))
    access.ways_back.set_notices(household_id, wanted=False)
    return render_message(request, "access.notices_off_done", 200, ("/", "message.home"))


@router.get("/access/confirm")
def show_confirm_form(request: Request) -> Response:
    """Show the button that confirms an address, in whichever browser the link is opened."""
    return link_page(request, "access.confirm", _CONFIRM)


@router.post("/access/confirm", dependencies=[browser_form(_CONFIRM)])
def confirm_address(
    request: Request,
    stores: StoresDep,
    access: AccessDep,
    session: SessionDep,
    link: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Confirm the address to which the link was mailed. It opens no session."""
    is_valid, before = access.ways_back.confirm_address(link)
    if not is_valid:
        return refuse_link(request, stores, "access.confirm_over", (PATH, "access.again"))
    page = render_message(request, "access.confirmed", 200, (PATH if session.accounts else "/", "access.go_on"))
    return _tell(page, access, "new_address", before)


def _tell(response: Response, access: WebAccess, what: str, row: MailAddress | None) -> Response:
    """Return the answer, after which the address is told what has changed."""
    if row is not None and access.mail_links.sends_mail:
        response.background = BackgroundTask(access.mail_links.mail_change, what, row)
    return response


def _own(access: WebAccess, session: Session, csrf: str) -> tuple[AccessKey, Household] | None:
    """Return the session's key and household, where a form of its own page was sent."""
    if session.key is None or session.household is None or not is_session_form(access, session, csrf):
        return None
    return session.key, session.household


def _turn_away(request: Request, session: Session) -> Response:
    """Refuse a form that isn't of this session's page; without a session, lead to signing in."""
    return RedirectResponse(SIGN_IN, 303) if session.household is None else refuse_form(request, PATH)


def _access_page(
    request: Request,
    registry: Registry,
    access: WebAccess,
    session: Session,
    status: int = 200,
    fault: str = "",
    address: str = "",
) -> Response:
    """Return the page. ``fault``: the key of what is wrong with ``address``, which was typed."""
    assert session.key is not None and session.household is not None  # noqa: S101 - the callers have checked it
    idle = KEY_LIVES[KeyKind.HOUSEHOLD_SESSION].idle
    return render(
        request,
        "access.html",
        status,
        has_meters=bool(session.own(registry.accounts.get_many(list(session.accounts)))),
        ways=access.ways_back.find(session.household.id, session.key.details),
        ends_at=session.key.expires_at,
        idle_days=idle.days if idle else 0,
        sends_mail=access.mail_links.sends_mail,
        fault=fault,
        address=address,
    )
