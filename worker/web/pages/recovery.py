"""The page of a household's ways to regain access: its recovery code, and its mail address."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse
from starlette.background import BackgroundTask

from worker.accounts.household_access import CODE, LATER, MONTH_OFF_PATH, MONTH_TICKET
from worker.accounts.notice_services import is_mail_address
from worker.domain.audit_entry import AuditAction
from worker.domain.sessions import KEY_LIVES, KeyKind
from worker.runtime.web_access import WebAccess
from worker.stores.redis.locks import Rate
from worker.stores.registry.households import Household, MailAddress
from worker.web.dependencies import (
    AccessDep,
    EarlyAnswer,
    HouseholdDep,
    Visit,
    VisitDep,
    browser_form,
    load_accounts,
    require_household,
    session_form,
)
from worker.web.pages.sign_in import LONGEST_ADDRESS, link_page, refuse_link, require_mail
from worker.web.rendering import own_address, render, render_message, words_of

router = APIRouter()
PATH: Final = "/access"
_CONFIRM: Final = "/access/confirm"
_ADDRESSES: Final = Rate("address-links", calls=5, window_s=3600)
_PUT_OFF: Final = timedelta(days=7)
_OWN_FORM: Final = (Depends(require_household), session_form(PATH))


@router.get("/access")
def show_access(visit: VisitDep, household: HouseholdDep) -> Response:
    return _access_page(visit, household)


@router.post("/access/kept", dependencies=_OWN_FORM)
def keep_code(visit: VisitDep, household: HouseholdDep) -> Response:
    """Forget the text of the code, because the person has saved it."""
    details = visit.session.details
    if code := details.pop(CODE, ""):
        visit.access.ways_back.keep_code(household.id, code)
        visit.access.keys.set_details(visit.session.own_key, details)
    return RedirectResponse(f"{PATH}#code", 303)


@router.post("/access/later", dependencies=_OWN_FORM)
def put_notice_off(visit: VisitDep, back: Annotated[str, Form(max_length=2000)] = "") -> Response:
    """Show the notice about the ways back only after a week. ``back``: the page that has the form."""
    again_at = (datetime.now(UTC) + _PUT_OFF).isoformat()
    visit.access.keys.set_details(visit.session.own_key, {**visit.session.details, LATER: again_at})
    path, _, query = back.partition("?")
    return RedirectResponse(own_address(path, parse_qsl(query)), 303)


@router.post("/access/code", name=AuditAction.RECOVERY_CODE, dependencies=_OWN_FORM)
def make_code(visit: VisitDep, household: HouseholdDep) -> Response:
    """Make a new recovery code; the previous code stops working."""
    access, session = visit.access, visit.session
    code = access.ways_back.create_code(household.id)
    access.keys.set_details(session.own_key, {**session.details, CODE: code})
    address = access.ways_back.addresses.load(household.id)
    return _tell(RedirectResponse(f"{PATH}#code", 303), access, "new_code", address)


@router.post("/access/address", name=AuditAction.ADDRESS_GIVE, dependencies=[Depends(require_mail), *_OWN_FORM])
def give_address(
    visit: VisitDep, household: HouseholdDep, address: Annotated[str, Form(max_length=LONGEST_ADDRESS)] = ""
) -> Response:
    """Mail the link that confirms an address. The previous address stays in use until the new one is confirmed."""
    address = address.strip()
    if not is_mail_address(address):
        return _access_page(visit, household, 422, "sign_in.no_address", address)
    if visit.count_call(_ADDRESSES, household.id):
        return _access_page(visit, household, 429, "access.mail.slow", address)
    language = words_of(visit.request).language
    if fault := visit.access.mails.mail_confirmation(household.id, address, language):
        return _access_page(visit, household, 429 if fault == "slow" else 502, f"access.mail.{fault}", address)
    return RedirectResponse(f"{PATH}#mail", 303)


@router.post("/access/address/remove", name=AuditAction.ADDRESS_REMOVE, dependencies=_OWN_FORM)
def remove_address(access: AccessDep, household: HouseholdDep) -> Response:
    before = access.ways_back.remove_address(household.id)
    return _tell(RedirectResponse(f"{PATH}#mail", 303), access, "new_address", before)


@router.post("/access/notices", name=AuditAction.ADDRESS_NOTICES, dependencies=_OWN_FORM)
def choose_notices(access: AccessDep, household: HouseholdDep, wanted: Annotated[bool, Form()] = False) -> Response:
    """Switch the notices to the household's address on or off."""
    access.ways_back.addresses.set_notices(household.id, wanted=wanted)
    return RedirectResponse(f"{PATH}#mail", 303)


@router.post("/access/month", name=AuditAction.ADDRESS_MONTH, dependencies=_OWN_FORM)
def choose_month(visit: VisitDep, household: HouseholdDep, wanted: Annotated[bool, Form()] = False) -> Response:
    """Switch the figures of each month by mail on or off."""
    visit.access.ways_back.addresses.set_month(household.id, visit.registry.now() if wanted else None)
    return RedirectResponse(f"{PATH}#mail", 303)


def read_ticket(visit: VisitDep, ticket: str) -> str:
    """Return the id of the household in a mailed link. Raises EarlyAnswer if the link is invalid."""
    mails = MONTH_TICKET if visit.request.url.path.startswith(MONTH_OFF_PATH) else ""
    household_id = visit.access.signer.read_ticket(ticket, mails)
    if household_id is None:
        raise EarlyAnswer(refuse_link(visit, "access.notices_over", (PATH, "access.title")))
    return household_id


@router.get("/access/notices/off/{ticket}", dependencies=[Depends(read_ticket)])
def show_notices_off(request: Request) -> Response:
    """Show the button that switches notices off; loading the page, as mail programs do, must not switch them off."""
    return render(request, "notices_off.html", action=request.url.path, texts="access.notices_off")


@router.get("/access/month/off/{ticket}", dependencies=[Depends(read_ticket)])
def show_month_off(request: Request) -> Response:
    return render(request, "notices_off.html", action=request.url.path, texts="access.month_off")


@router.post("/access/notices/off/{ticket}", name=AuditAction.ADDRESS_NOTICES)
def switch_notices_off(visit: VisitDep, household_id: Annotated[str, Depends(read_ticket)]) -> Response:
    """Switch off the notices of a household by a mailed link, which grants no access and needs no session.

    Mail programs send the same request from an unsubscribe button of their own (RFC 8058).
    """
    visit.access.ways_back.addresses.set_notices(household_id, wanted=False)
    return render_message(visit.request, "access.notices_off_done", 200, ("/", "message.home"))


@router.post("/access/month/off/{ticket}", name=AuditAction.ADDRESS_MONTH)
def switch_month_off(visit: VisitDep, household_id: Annotated[str, Depends(read_ticket)]) -> Response:
    visit.access.ways_back.addresses.set_month(household_id, None)
    return render_message(visit.request, "access.month_off_done", 200, ("/", "message.home"))


@router.get("/access/confirm")
def show_confirm_form(request: Request) -> Response:
    """Show the button that confirms an address, in whichever browser the link is opened."""
    return link_page(request, "access.confirm", _CONFIRM)


@router.post("/access/confirm", name=AuditAction.ADDRESS_CONFIRM, dependencies=[browser_form(_CONFIRM)])
def confirm_address(visit: VisitDep, link: Annotated[str, Form(max_length=2000)] = "") -> Response:
    """Confirm the address to which the link was mailed. This opens no session."""
    is_valid, before = visit.access.ways_back.confirm_address(link)
    if not is_valid:
        return refuse_link(visit, "access.confirm_over", (PATH, "access.again"))
    next_page = PATH if visit.session.accounts else "/"
    page = render_message(visit.request, "access.confirmed", 200, (next_page, "access.go_on"))
    return _tell(page, visit.access, "new_address", before)


def _tell(response: Response, access: WebAccess, what: str, row: MailAddress | None) -> Response:
    """Return the answer; after it is sent, a mail tells the address in ``row`` what has changed."""
    if row is not None and access.mails.sends_mail:
        response.background = BackgroundTask(access.mails.mail_change, what, row)
    return response


def _access_page(visit: Visit, household: Household, status: int = 200, fault: str = "", address: str = "") -> Response:
    """Return the page. ``fault``: the key of what is wrong with the typed ``address``."""
    session, idle = visit.session, KEY_LIVES[KeyKind.HOUSEHOLD_SESSION].idle
    return render(
        visit.request,
        "access.html",
        status,
        has_meters=bool(load_accounts(visit.registry, session)),
        ways=visit.access.ways_back.find(household.id, session.details),
        ends_at=session.own_key.expires_at,
        idle_days=idle.days if idle else 0,
        sends_mail=visit.access.mails.sends_mail,
        fault=fault,
        address=address,
    )
