"""Declaring a right of access to gas data: the form, the way to the supplier's own page, and the right's state.

A form opens only with an invitation that this browser has opened, or from an account of the browser's session. The
typed data are kept only until the right is declared. A declaration without an invitation waits for the operator's
approval. A task asks the supplier, so the page with the state reloads itself, like other pages that wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field, StringConstraints

from config.settings import Settings
from worker.clients.grdf import GRDF
from worker.domain.access_right import HouseholdDeclaration, Right
from worker.domain.account import Account, AccountState
from worker.domain.audit_entry import AuditAction
from worker.domain.clock import real_clock
from worker.domain.connection_request import ConnectionRequest, RequestState
from worker.domain.invitation import Invitation
from worker.domain.series import daily_of, intervals_of
from worker.domain.windows import civil_date
from worker.errors import UnknownAccount
from worker.stores.database import new_id
from worker.stores.redis.locks import Rate
from worker.web.dependencies import (
    RIGHT_STATE,
    Csrf,
    EarlyAnswer,
    browser_form,
    check_own_form,
    load_accounts,
    load_own_account,
    name_service,
)
from worker.web.pages.consent import redirect_to_supplier
from worker.web.pages.consent_callback import (
    ConsentVisit,
    ConsentVisitDep,
    answer_request,
    lead_to_accounts,
    publish_request,
)
from worker.web.rendering import render_with_form, words_of

router = APIRouter()
AGAIN: Final = "/connect/right/again"
# Each declaration takes a call from the supplier's quota, which all households share.
DECLARATIONS: Final = Rate("right-declared", calls=20, window_s=3600)
_WAITS: Final = {"right_pending": 60, "right_proof": 60, "right_to_check": 300}  # Seconds until a page reloads.
_LONGEST: Final = 254  # For an e-mail address; the other fields are shorter.


@dataclass(frozen=True, slots=True, kw_only=True)
class FormPlace:
    """Where a form is, and what is known there.

    ``path``: the form's own address. ``meter``: the meter of the form; None if the person types its number.
    ``invitation``: the invitation that the browser has opened. ``account``: the session's account to which the form
    belongs, if there is no invitation. ``tenant``: the owner of the service that will read the data.
    """

    path: str
    tenant: str
    meter: str | None = field(default=None, repr=False)
    invitation: Invitation | None = None
    account: Account | None = None

    @property
    def digits(self) -> str:
        """The last digits of the form's meter; empty if the person types its number."""
        return f"…{self.meter[-4:]}" if self.meter else ""


Typed = Annotated[str, StringConstraints(strip_whitespace=True, max_length=_LONGEST)]


class TypedRight(BaseModel):
    """What a person has typed, without surrounding blanks."""

    pce: Typed = Field(default="", repr=False)
    name: Typed = Field(default="", repr=False)
    company: Typed = Field(default="", repr=False)
    postcode: Typed = Field(default="", repr=False)
    email: Typed = Field(default="", repr=False)
    consent: Typed = ""
    csrf: str = Field(default="", repr=False)

    def to_declaration(self, meter: str | None) -> HouseholdDeclaration:
        """Return the declaration for the meter of the form, or else for the typed meter."""
        typed = self.pce.replace(" ", "").upper()
        return HouseholdDeclaration(
            meter=meter or typed,
            postcode=self.postcode.replace(" ", ""),
            email=self.email,
            name=self.name or None,
            company=self.company or None,
        )


def find_place(visit: ConsentVisitDep, invitation_id: str = "", account_id: str = "") -> FormPlace:
    """Return what is known at the address of a form.

    Raises EarlyAnswer if the invitation can't be used in this browser now, and UnknownAccount for an account that the
    session does not show.
    """
    registry = visit.registry
    if GRDF.name not in visit.sync.suppliers:
        raise UnknownAccount("there is no gas here")
    if account_id:
        account = load_own_account(account_id, registry, visit.session)
        if account.state is AccountState.CLOSED:
            raise UnknownAccount("this account is closed")
        meter = account.usage_point_id if account.supplier == GRDF.name else None
        return FormPlace(path=f"/accounts/{account_id}/gas", tenant=account.tenant, meter=meter, account=account)
    invitation = registry.invitations.get(invitation_id)
    if invitation is None or invitation.supplier != GRDF.name:
        raise EarlyAnswer(visit.page("invitation_over"))
    if not invitation.is_usable(real_clock(), visit.names.hashes):
        raise EarlyAnswer(visit.page("invitation_over"))
    # The mail of a listed invitation may be another household's, so the person types the number.
    meter = None if invitation.is_listed else registry.accounts.meter_of(invitation)
    path = f"/invitation/{invitation_id}/right"
    return FormPlace(path=path, tenant=invitation.tenant, meter=meter, invitation=invitation)


PlaceDep = Annotated[FormPlace, Depends(find_place)]


@router.get("/invitation/{invitation_id}/right")
@router.get("/accounts/{account_id}/gas")
def show_form(visit: ConsentVisitDep, place: PlaceDep) -> Response:
    return render_form(visit, place, TypedRight())


@router.post("/invitation/{invitation_id}/right", name=AuditAction.RIGHT_DECLARE)
@router.post("/accounts/{account_id}/gas", name=AuditAction.RIGHT_DECLARE)
def declare(visit: ConsentVisitDep, place: PlaceDep, typed: Annotated[TypedRight, Form()]) -> Response:
    """Accept a declaration, which a task then sends to the supplier; a form with faults is shown again."""
    check_own_form(visit.request, typed.csrf, place.path)
    declaration = typed.to_declaration(place.meter)
    # The faults are in the order of the form's fields.
    if faults := (*declaration.faults(), *(() if typed.consent else ("consent",))):
        return render_form(visit, place, typed, faults)
    if wait_s := visit.count_call(DECLARATIONS, visit.address):
        return visit.page("too_many", wait_s)
    now = real_clock()
    own = visit.consent.connector.declarations.begin(
        ConnectionRequest(
            id=new_id(),
            supplier=GRDF.name,
            browser=visit.renamed.newest,
            known_as=visit.names.hashes,
            begun_on=civil_date(visit.stores.now()),
            created_at=now,
            begun_at=now,
            address=visit.address,
            invitation_id=place.invitation.id if place.invitation else None,
            tenant=place.tenant,
            session=visit.session.accounts,
            declaration=declaration,
        )
    )
    if place.invitation is not None:
        visit.registry.campaigns.note_asked(place.invitation.id)
    if own.asks_supplier:
        publish_request(visit.stores, own)
    return visit.rename(RedirectResponse(RIGHT_STATE, 303))


@router.post("/invitation/{invitation_id}/right/page", name=AuditAction.RIGHT_DECLARE)
@router.post("/accounts/{account_id}/gas/page", name=AuditAction.RIGHT_DECLARE)
def go_to_supplier(visit: ConsentVisitDep, place: PlaceDep, csrf: Csrf = "") -> Response:
    """Redirect to the supplier's own page (Client Connect), if people may consent there."""
    check_own_form(visit.request, csrf, place.path)
    if not offers_consent_page(visit.settings):
        return visit.page("no_consent_page")
    return redirect_to_supplier(visit, GRDF.name, place.meter, invitation=place.invitation, tenant=place.tenant)


@router.get(RIGHT_STATE)
@router.post(RIGHT_STATE, dependencies=[browser_form(RIGHT_STATE)])
def show_state(visit: ConsentVisitDep) -> Response:
    """Show the state of the browser's newest declaration; the page reloads itself until there is a decision.

    A button on the page opens the account that the right has opened or renewed.
    """
    if GRDF.name not in visit.sync.suppliers:
        return visit.page("no_right")
    own, right, rights = visit.find_request(), None, visit.registry.rights
    if own is not None and own.supplier == GRDF.name:
        if own.state is not RequestState.DECLARED:
            return answer_request(visit, own, opens=visit.is_form)
        right = rights.of_request(own.id)
    right = right or next(iter(rights.of_browser(visit.names.hashes)), None)
    return visit.page("no_right") if right is None else _show_right(visit, right)


@router.get(AGAIN)
def show_form_again(visit: ConsentVisitDep) -> Response:
    """Redirect to a form for another declaration.

    If the browser's last request is for gas and used an invitation, the form is the invitation's. Otherwise it is that
    of the session's first open account; without one, redirect to the page for invitations.
    """
    own = visit.find_request()
    if own is not None and own.supplier == GRDF.name and own.invitation_id is not None:
        return RedirectResponse(f"/invitation/{own.invitation_id}/right", 303)
    usable = [account for account in load_accounts(visit.registry, visit.session) if account.may_choose_series]
    return RedirectResponse(f"/accounts/{usable[0].id}/gas" if usable else "/invitation", 303)


def render_form(visit: ConsentVisit, place: FormPlace, typed: TypedRight, faults: tuple[str, ...] = ()) -> Response:
    """Return the page of the form, with what was typed, and with the faults if there are any."""
    words, endpoints = words_of(visit.request), visit.sync.suppliers[GRDF.name].endpoints
    offers_page = offers_consent_page(visit.settings)
    return render_with_form(
        visit.request,
        "right.html",
        422 if faults else 200,
        form_to=[endpoints.authorize_url] if offers_page else (),
        place=place,
        typed=typed,
        faults=faults,
        offers_page=offers_page,
        service=name_service(visit.stores, place.tenant, words),
        duration=words.duration(endpoints.preset.consent_duration),
        days_back=words.duration(f"P{daily_of(supplier=GRDF.name).description.history_days}D"),
        periods_back=words.duration(f"P{intervals_of(GRDF.name).description.history_days}D"),
    )


def offers_consent_page(settings: Settings) -> bool:
    """Return whether people may consent on the supplier's own page instead (Client Connect).

    In production this page requires a contract, so the operator enables it by setting RELEVE_GRDF_AUTHORIZE_URL.
    """
    return settings.grdf_authorize_url is not None or settings.speaks_to_gas_simulator


def _show_right(visit: ConsentVisit, right: Right) -> Response:
    if right.page:
        until = words_of(visit.request).day(right.proof_until) if right.proof_until else "…"
        return visit.page(right.page, _WAITS.get(right.page, 0), digits=right.last_digits, until=until)
    account = visit.registry.accounts.find_existing(right.account_id or "")
    if account is None:
        return visit.page("right_withdrawn", digits=right.last_digits)
    is_mine = visit.registry.consents.browser_of(account.id) in visit.names.hashes
    if not is_mine and not visit.session.shows(account):
        return visit.page("right_elsewhere", digits=right.last_digits)
    return lead_to_accounts(visit, [account], right.browser or right.id, opens=visit.is_form)
