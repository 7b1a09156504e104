"""Declaring a right of access to gas data: the form, the supplier's own page instead of it, and what becomes of it.

A form opens with an invitation of this browser, or from an account of its session; nobody else declares a meter. What
is typed is kept until it is declared: without an invitation, until the operator has accepted it. The supplier is asked
by a task, so the page of the state loads itself again, as other pages that wait do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from config.settings import Settings
from worker.clients.grdf import GRDF
from worker.domain.access_right import HouseholdDeclaration, Right
from worker.domain.account import Account, AccountState
from worker.domain.clock import real_clock
from worker.domain.connection_request import ConnectionRequest, RequestState
from worker.domain.invitation import Invitation
from worker.domain.series import daily_of, intervals_of
from worker.domain.windows import civil_date
from worker.errors import UnknownAccount
from worker.runtime.consent_parts import Consent
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync
from worker.runtime.web_access import WebAccess
from worker.stores.database import new_id
from worker.stores.redis.locks import Rate, RateLimiter
from worker.web.client_addresses import client_address
from worker.web.dependencies import (
    RIGHT_STATE,
    AccessDep,
    ConsentDep,
    Csrf,
    Session,
    SessionDep,
    StoresDep,
    SyncDep,
    is_own_form,
    load_own_account,
    name_service,
)
from worker.web.pages.consent import redirect_to_supplier
from worker.web.pages.consent_callback import (
    BrowserNames,
    answer_request,
    consent_page,
    open_accounts,
    read_browser_names,
    set_browser_names,
)
from worker.web.rendering import policy_with_form_to, refuse_form, render_with_form, words_of

router = APIRouter()
AGAIN: Final = "/connect/right/again"
# Each declaration takes a call of the supplier's quota, which all households share.
DECLARATIONS: Final = Rate("right-declared", calls=20, window_s=3600)
_WAITS: Final = {"right_pending": 60, "right_proof": 60, "right_to_check": 300}  # Seconds until a page loads again.
_LONGEST: Final = 254  # Of an e-mail address; the other fields are shorter.


@dataclass(frozen=True, slots=True, kw_only=True)
class FormPlace:
    """Where a form stands, and what is known there.

    ``path``: its own address. ``meter``: the meter that it is for, where that is fixed. ``invitation``: the one that
    the browser has opened; ``account``: the session's, without one. ``tenant``: whose service will read the data.
    """

    path: str
    tenant: str
    meter: str | None = field(default=None, repr=False)
    invitation: Invitation | None = None
    account: Account | None = None

    @property
    def digits(self) -> str:
        """The last digits of a fixed meter; empty where the person types its number."""
        return f"…{self.meter[-4:]}" if self.meter else ""


@dataclass(frozen=True, slots=True)
class TypedRight:
    """What a person has typed, without blanks around it."""

    pce: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    company: str = field(default="", repr=False)
    postcode: str = field(default="", repr=False)
    email: str = field(default="", repr=False)
    consent: bool = False

    def to_declaration(self, meter: str | None) -> HouseholdDeclaration:
        """Return the declaration of a fixed meter, or of the one that was typed."""
        typed = self.pce.replace(" ", "").upper()
        return HouseholdDeclaration(
            meter=meter or typed,
            postcode=self.postcode.replace(" ", ""),
            email=self.email,
            name=self.name or None,
            company=self.company or None,
        )


def read_typed(
    pce: Annotated[str, Form(max_length=_LONGEST)] = "",
    name: Annotated[str, Form(max_length=_LONGEST)] = "",
    company: Annotated[str, Form(max_length=_LONGEST)] = "",
    postcode: Annotated[str, Form(max_length=_LONGEST)] = "",
    email: Annotated[str, Form(max_length=_LONGEST)] = "",
    consent: Annotated[str, Form(max_length=_LONGEST)] = "",
) -> TypedRight:
    """Return the fields of a form that was sent."""
    return TypedRight(
        pce=pce.strip(),
        name=name.strip(),
        company=company.strip(),
        postcode=postcode.strip(),
        email=email.strip(),
        consent=bool(consent),
    )


def find_place(
    request: Request,
    stores: StoresDep,
    sync: SyncDep,
    session: SessionDep,
    invitation_id: str = "",
    account_id: str = "",
) -> FormPlace | None:
    """Return what is known at the address of a form; None where its invitation is not this browser's any more.

    Raises UnknownAccount for an account that the session does not show.
    """
    if GRDF.name not in sync.suppliers:
        raise UnknownAccount("there is no gas here")
    if account_id:
        account = load_own_account(account_id, stores.registry, session)
        if account.state is AccountState.CLOSED:
            raise UnknownAccount("this account is closed")
        meter = account.usage_point_id if account.supplier == GRDF.name else None
        return FormPlace(path=f"/accounts/{account_id}/gas", tenant=account.tenant, meter=meter, account=account)
    invitation = stores.registry.invitations.get(invitation_id)
    if invitation is None or invitation.supplier != GRDF.name:
        return None
    if not invitation.is_usable(real_clock(), read_browser_names(request).hashes):
        return None
    meter = stores.registry.accounts.meter_of(invitation)
    path = f"/invitation/{invitation_id}/right"
    return FormPlace(path=path, tenant=invitation.tenant, meter=meter, invitation=invitation)


PlaceDep = Annotated[FormPlace | None, Depends(find_place)]
TypedDep = Annotated[TypedRight, Depends(read_typed)]


@router.get("/invitation/{invitation_id}/right")
@router.get("/accounts/{account_id}/gas")
def show_form(request: Request, stores: StoresDep, sync: SyncDep, place: PlaceDep) -> Response:
    if place is None:
        return consent_page(request, "invitation_over")
    return render_form(request, stores, sync, place)


@router.post("/invitation/{invitation_id}/right")
@router.post("/accounts/{account_id}/gas")
def declare(
    request: Request,
    stores: StoresDep,
    sync: SyncDep,
    consent: ConsentDep,
    session: SessionDep,
    place: PlaceDep,
    typed: TypedDep,
    csrf: Csrf = "",
) -> Response:
    """Take a declaration, which a task makes at the supplier; a form with faults comes back with them."""
    if place is None:
        return consent_page(request, "invitation_over")
    if not is_own_form(request, csrf):
        return refuse_form(request, place.path)
    declaration = typed.to_declaration(place.meter)
    if faults := find_faults(typed, declaration):
        return render_form(request, stores, sync, place, typed, faults)
    if wait_s := RateLimiter(stores.redis).count_call(DECLARATIONS, client_address(request)):
        return consent_page(request, "too_many", wait_s)
    names = read_browser_names(request)
    renamed, now = names.with_new(), real_clock()
    consent.connector.declarations.begin(
        ConnectionRequest(
            id=new_id(),
            supplier=GRDF.name,
            browser=renamed.newest,
            known_as=names.hashes,
            begun_on=civil_date(stores.now()),
            created_at=now,
            begun_at=now,
            address=client_address(request),
            invitation_id=place.invitation.id if place.invitation else None,
            tenant=place.tenant,
            session=session.accounts,
            declaration=declaration,
        )
    )
    response = RedirectResponse(RIGHT_STATE, 303)
    set_browser_names(request, response, renamed)
    return response


@router.post("/invitation/{invitation_id}/right/page")
@router.post("/accounts/{account_id}/gas/page")
def go_to_supplier(
    request: Request,
    stores: StoresDep,
    sync: SyncDep,
    consent: ConsentDep,
    session: SessionDep,
    place: PlaceDep,
    csrf: Csrf = "",
) -> Response:
    """Lead to the supplier's own page (Client Connect), where it is offered."""
    if place is None:
        return consent_page(request, "invitation_over")
    if not is_own_form(request, csrf):
        return refuse_form(request, place.path)
    if not offers_consent_page(stores.settings):
        return consent_page(request, "no_consent_page")
    return redirect_to_supplier(
        request,
        stores,
        sync,
        consent,
        session,
        GRDF.name,
        place.meter,
        invitation=place.invitation,
        tenant=place.tenant,
    )


@router.get(RIGHT_STATE)
def show_state(
    request: Request, stores: StoresDep, sync: SyncDep, consent: ConsentDep, access: AccessDep, session: SessionDep
) -> Response:
    """Show what has become of the browser's newest declaration; the page loads itself again until it is decided."""
    if GRDF.name not in sync.suppliers:
        return consent_page(request, "no_right")
    names = read_browser_names(request)
    own = consent.requests.of_browser(names.hashes)
    right = None
    if own is not None and own.supplier == GRDF.name:
        if own.state is not RequestState.DECLARED:
            return answer_request(request, stores, consent, access, session, own)
        right = stores.registry.rights.of_request(own.id)
    right = right or next(iter(stores.registry.rights.of_browser(names.hashes)), None)
    return (
        consent_page(request, "no_right")
        if right is None
        else _show_right(request, stores, consent, access, session, names, right)
    )


@router.get(AGAIN)
def show_form_again(request: Request, stores: StoresDep, consent: ConsentDep, session: SessionDep) -> Response:
    """Lead back to the form from which the browser's last declaration came."""
    own = consent.requests.of_browser(read_browser_names(request).hashes)
    if own is not None and own.supplier == GRDF.name and own.invitation_id is not None:
        return RedirectResponse(f"/invitation/{own.invitation_id}/right", 303)
    accounts = session.own(stores.registry.accounts.get_many(list(session.accounts)))
    usable = [account for account in accounts if account.may_choose_series]
    return RedirectResponse(f"/accounts/{usable[0].id}/gas" if usable else "/invitation", 303)


def find_faults(typed: TypedRight, declaration: HouseholdDeclaration) -> tuple[str, ...]:
    """Return the names of the fields with a fault, in the form's order."""
    return (*declaration.faults(), *(() if typed.consent else ("consent",)))


def render_form(
    request: Request,
    stores: Stores,
    sync: Sync,
    place: FormPlace,
    typed: TypedRight | None = None,
    faults: tuple[str, ...] = (),
) -> Response:
    """Return the page of the form, with what was typed and its faults where there are some."""
    words, clients = words_of(request), sync.suppliers[GRDF.name]
    response = render_with_form(
        request,
        "right.html",
        422 if faults else 200,
        place=place,
        typed=typed or TypedRight(),
        faults=faults,
        offers_page=offers_consent_page(stores.settings),
        service=name_service(stores, place.tenant, words),
        duration=words.duration(clients.endpoints.preset.consent_duration),
        days_back=words.duration(f"P{daily_of(supplier=GRDF.name).description.history_days}D"),
        periods_back=words.duration(f"P{intervals_of(GRDF.name).description.history_days}D"),
    )
    if offers_consent_page(stores.settings):
        response.headers["Content-Security-Policy"] = policy_with_form_to(clients.endpoints.authorize_url)
    return response


def offers_consent_page(settings: Settings) -> bool:
    """Return whether people may consent on the supplier's own page instead (Client Connect).

    In production that takes a contract for it, so the operator says so by setting RELEVE_GRDF_AUTHORIZE_URL.
    """
    return settings.grdf_authorize_url is not None or settings.speaks_to_gas_simulator


def _show_right(
    request: Request,
    stores: Stores,
    consent: Consent,
    access: WebAccess,
    session: Session,
    names: BrowserNames,
    right: Right,
) -> Response:
    if right.page:
        words = words_of(request)
        until = words.day(right.proof_until) if right.proof_until else "…"
        return consent_page(request, right.page, _WAITS.get(right.page, 0), digits=right.last_digits, until=until)
    account = stores.registry.accounts.get_many([right.account_id or ""]).get(right.account_id or "")
    if account is None or account.state is AccountState.DELETED:
        return consent_page(request, "right_withdrawn", digits=right.last_digits)
    if not session.shows(account) and stores.registry.consents.browser_of(account.id) not in names.hashes:
        return consent_page(request, "right_elsewhere", digits=right.last_digits)
    return open_accounts(request, stores, consent, access, session, [account], right.browser or right.id)
