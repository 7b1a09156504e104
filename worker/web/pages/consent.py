"""A household's consent: an invitation, the way to the supplier's page, and the proof by a meter reading.

The secret of an invitation is in the fragment of its link, which no server and no log sees. A small script puts the
secret into the form; without scripts the person pastes the link. Loading the page doesn't use the invitation up,
because mail programs load links too. The button binds the invitation to this browser and leads to the supplier's page.
The link in a campaign's mail has a ticket instead of a secret: the first press of its button makes an invitation and
opens it in this browser, and a further press continues with the same invitation.

Each start of a consent keeps a key in Redis for a quarter of an hour, so the number of starts is limited. Strangers at
one address share a count. An invited person and a household have counts of their own, so that no stranger at the same
address locks them out. No consent begins if another site's page loads one of these pages without a person's action.

People who have no other proof that a meter is theirs can type in what the meter's display shows. The page for this
concerns the browser's last connection request, and shows nothing about the meter. A task compares the typed reading
with the supplier's values.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from worker.accounts.campaigns import CAMPAIGN_TICKET, RENEW_PATH
from worker.clients.enedis import ENEDIS
from worker.domain.account import DEFAULT_TENANT, Account, AccountState
from worker.domain.audit_entry import AuditAction
from worker.domain.campaign import AddressSource, Recipient, RecipientState
from worker.domain.clock import real_clock
from worker.domain.consents import parse_displayed
from worker.domain.evidence import HOUSEHOLD
from worker.domain.invitation import Invitation, InvitationPurpose
from worker.domain.tariffs import DISPLAYED_PERIODS
from worker.stores.redis.locks import Rate
from worker.stores.redis.pending_consents import ConsentFlow, ConsentFlows
from worker.web.dependencies import (
    RIGHT_STATE,
    EarlyAnswer,
    OwnAccount,
    VisitDep,
    account_form,
    browser_form,
    gas_suffix,
    may_renew,
    title_of_meter,
)
from worker.web.error_pages import HttpRefusal
from worker.web.pages.consent_callback import (
    ConsentVisit,
    ConsentVisitDep,
    answer_request,
    open_accounts,
    publish_request,
)
from worker.web.rendering import render, render_message, render_with_form, words_of
from worker.web.request_audit import note_subject

router = APIRouter()
CONSENT_STARTS: Final = Rate("consent", calls=60)
# A secret of 256 bits can't be guessed, and the right secret is always accepted. This limit only makes wrong secrets
# cheap to refuse.
WRONG_INVITATIONS: Final = Rate("invitation", calls=20)
_AN_HOUR_S: Final = 3600
RENEWALS: Final = Rate("renewal", calls=10, window_s=_AN_HOUR_S)  # Each is an invitation, which takes a row.
REQUEST_TRIES: Final = Rate("reading-request", calls=5, window_s=_AN_HOUR_S)
ADDRESS_TRIES: Final = Rate("reading-address", calls=20, window_s=_AN_HOUR_S)
_LINK_STEP_S: Final = 30.0
_REGISTER_FIELD: Final = "register_"
_OUTCOME: Final = "/connect/reading/outcome"
_PRETENDER: Final = "simulator"


def require_person(request: Request) -> None:
    """Refuse a request by which another site's page loads our page as an image or frame, without a person's action.

    Browsers show by headers how a page is loaded (Fetch Metadata, https://www.w3.org/TR/fetch-metadata/). A browser
    that sends no such header may be old, and is accepted.
    """
    headers = request.headers
    is_foreign, mode = headers.get("Sec-Fetch-Site") == "cross-site", headers.get("Sec-Fetch-Mode", "navigate")
    if headers.get("Sec-Fetch-Dest", "document") != "document" or (is_foreign and mode != "navigate"):
        raise HttpRefusal(403, "refused", "a consent begins where a person goes to this page")


@router.get("/invitation")
@router.get(RENEW_PATH)
def show_invitation(visit: ConsentVisitDep) -> Response:
    """Show the form. It shows nothing about the invitation, because the server has not seen the secret yet."""
    form_to = [visit.sync.suppliers.main.endpoints.authorize_url]
    path, several = visit.request.url.path, gas_suffix(visit.sync)
    return render_with_form(visit.request, "invitation.html", form_to=form_to, path=path, several=several)


@router.post("/invitation", name=AuditAction.INVITATION_OPEN, dependencies=[browser_form("/invitation")])
def open_invitation(visit: ConsentVisitDep, invitation: Annotated[str, Form(max_length=2000)] = "") -> Response:
    """Bind the invitation to this browser, and continue to the supplier's page, or to a closed account's history."""
    secret = invitation.strip().rpartition("#")[2]  # The whole link may be pasted.
    opened = visit.registry.invitations.open(secret, visit.renamed.newest, visit.names.hashes)
    if opened is not None:
        return _go_on(visit, opened)
    known = visit.registry.invitations.find(secret)
    return (known and _open_again(visit, known)) or refuse_invitation(visit)


@router.post(RENEW_PATH, name=AuditAction.CAMPAIGN_ANSWER, dependencies=[browser_form(RENEW_PATH)])
def answer_mail(
    visit: ConsentVisitDep,
    answer: Annotated[str, Form(pattern="^(yes|no)$")],
    invitation: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    campaigns, ticket = visit.registry.campaigns, invitation.strip().rpartition("#")[2]
    recipient = campaigns.find(visit.access.signer.read_ticket(ticket, CAMPAIGN_TICKET) or "")
    if recipient is None:
        return refuse_invitation(visit)
    account = visit.registry.accounts.get_many([recipient.account_id])[recipient.account_id]
    follow = _refuse if answer == "no" else _consent
    response = None if account.usage_point_id is None else follow(visit, recipient, account)  # None: closed or removed.
    note_subject(visit.request, recipient.campaign_id, account_id=account.id, tenant=account.tenant)
    return response or visit.page("invitation_over")


def _refuse(visit: ConsentVisit, recipient: Recipient, account: Account) -> Response | None:
    is_new = visit.registry.campaigns.note_refused(recipient_id=recipient.id)
    is_noted = is_new or recipient.state is RecipientState.REFUSED
    return render_message(visit.request, "campaign_link.refused", 200, ("/", "connect.home")) if is_noted else None


def _consent(visit: ConsentVisit, recipient: Recipient, account: Account) -> Response | None:
    """Continue to the supplier's page, or where a further press of the button belongs; None if the link is over."""
    # Of two presses at once, the second waits here for the invitation that the first one makes.
    with visit.consent.connector.locks.lock(f"campaign_link:{recipient.id}", _LINK_STEP_S):
        pressed = visit.registry.campaigns.find(recipient.id)
        if pressed is None or pressed.invitation_id is None:
            return _begin(visit, recipient, account)
    invitation, own = visit.registry.invitations.get(pressed.invitation_id), visit.find_request()
    if invitation is None:
        return None
    if invitation.is_usable(real_clock(), visit.names.hashes):
        return _go_on(visit, invitation)
    is_asked = own is not None and own.invitation_id == invitation.id
    return RedirectResponse(_OUTCOME, 303) if is_asked else _open_again(visit, invitation)


def _begin(visit: ConsentVisit, recipient: Recipient, account: Account) -> Response | None:
    """Make the link's invitation, open it in this browser, and continue to the supplier's page.

    An address of a list may be somebody else's. So its invitation names only the meter: it proves a consent, but opens
    nothing of the account's past (``Invitation.is_listed``). A confirmed address must still be confirmed.
    """
    registry, is_listed = visit.registry, recipient.source is AddressSource.LIST
    if not recipient.is_link_open(registry.now()) or not (is_listed or _is_still_theirs(visit, recipient, account)):
        return None
    made, text = registry.invitations.create(
        InvitationPurpose.METER if is_listed else InvitationPurpose.ACCOUNT,
        account.supplier,
        recipient.voucher,
        account_id=None if is_listed else account.id,
        usage_point_id=account.usage_point_id if is_listed else None,
        tenant=account.tenant,
    )
    if registry.campaigns.bind(recipient.id, made.id) != made.id:
        return None  # The account was erased, or the campaign removed, meanwhile.
    opened = registry.invitations.open(text, visit.renamed.newest, visit.names.hashes)
    return _go_on(visit, opened) if opened else None


def _is_still_theirs(visit: ConsentVisit, recipient: Recipient, account: Account) -> bool:
    """Return whether the recipient's household still has an address and sees the account."""
    mails, household_id = visit.access.mails, recipient.household_id or ""
    return mails.addresses.load(household_id) is not None and account in mails.list_accounts(household_id)


@router.get("/invitation/again", dependencies=[Depends(require_person)])
def choose_again(visit: ConsentVisitDep) -> Response:
    """Redirect to the supplier's page again, as no consent was given there, or one for another meter than invited."""
    invitation = visit.find_invitation(visit.find_request())
    if invitation is None:
        return visit.page("invitation_over")
    account = visit.registry.accounts.account_of(invitation)
    if account is not None and account.state is AccountState.CLOSED:
        return RedirectResponse("/invitation", 303)  # The form there opens the account's history.
    return _go_on(visit, invitation)


def load_renewable(visit: VisitDep, account: OwnAccount) -> Account:
    if not may_renew(visit, account):
        raise EarlyAnswer(RedirectResponse(f"/accounts/{account.id}", 303))
    return account


Renewable = Annotated[Account, Depends(load_renewable)]


@router.get("/accounts/{account_id}/renew")
def show_renewal(visit: VisitDep, account: Renewable) -> Response:
    form_to = [visit.sync.suppliers.main.endpoints.authorize_url]
    title = title_of_meter(visit.registry, account, words_of(visit.request))
    return render(visit.request, "renew.html", form_to=form_to, account=account, title=title)


@router.post("/accounts/{account_id}/renew", name=AuditAction.CONSENT_BEGIN, dependencies=[account_form("/renew")])
def renew_consent(visit: ConsentVisitDep, account: Renewable) -> Response:
    """Invite the session's household to consent again for its account, and continue to the supplier's page.

    The invitation counts only while the browser's session shows the account (``ProvenRequests.find_invited``). Its
    secret text isn't sent to anybody.
    """
    if wait_s := visit.count_call(RENEWALS, account.id):
        return visit.page("too_many", wait_s)
    invitations = visit.registry.invitations
    _, text = invitations.create(InvitationPurpose.ACCOUNT, account.supplier, HOUSEHOLD, account_id=account.id)
    opened = invitations.open(text, visit.renamed.newest)
    return visit.page("invitation_over") if opened is None else _go_on(visit, opened)


@router.post("/invitation/pretend", name=AuditAction.INVITATION_OPEN)
def invite_to_pretend_home(
    visit: ConsentVisitDep, usage_point_id: Annotated[str, Form(pattern=r"^([0-9]{14})?$")] = ""
) -> Response:
    """Invite this browser to a home of the simulator, if the settings allow it (RELEVE_PRETEND_HOMES)."""
    if not visit.settings.pretend_homes:
        return visit.page("unknown_supplier")
    invitations, meter = visit.registry.invitations, usage_point_id or f"{10**13 + secrets.randbelow(9 * 10**13)}"
    account = visit.registry.accounts.find(ENEDIS.name, meter)
    if account is None:
        made = invitations.create(InvitationPurpose.METER, ENEDIS.name, _PRETENDER, usage_point_id=meter)
    else:
        # Pretend homes belong to everybody, so anybody may be invited to an existing account.
        made = invitations.create(InvitationPurpose.ACCOUNT, ENEDIS.name, _PRETENDER, account_id=account.id)
    opened = invitations.open(made[1], visit.renamed.newest)
    return visit.page("invitation_over") if opened is None else _go_on(visit, opened)


def _go_on(visit: ConsentVisit, invitation: Invitation) -> Response:
    account = visit.registry.accounts.account_of(invitation)
    account_id = account.id if account else None
    note_subject(visit.request, invitation.id, account_id=account_id, tenant=invitation.tenant)
    if invitation.account_id is not None and account is None:
        return visit.page("invitation_over")
    if account is not None and account.state is AccountState.CLOSED:
        # A closed account needs no new consent, because nothing is requested for it any more.
        with visit.registry.database.writing() as connection:
            used = visit.registry.invitations.use(connection, invitation.id)
        return open_accounts(visit, [account], invitation.id) if used else visit.page("invitation_over")
    if invitation.supplier not in visit.sync.suppliers:
        return visit.page("unknown_supplier")
    if visit.sync.suppliers[invitation.supplier].supplier.rights is not None:
        return visit.rename(RedirectResponse(f"/invitation/{invitation.id}/right", 303))
    meter = account.usage_point_id if account else invitation.usage_point_id
    return redirect_to_supplier(visit, invitation.supplier, meter, invitation=invitation)


def _open_again(visit: ConsentVisit, invitation: Invitation) -> Response | None:
    """Open the account again for the browser that has used this invitation; None if nothing may be opened.

    This is for a browser that got no session, because of a crash after its consent was recorded. A browser whose
    session has ended gets no new session, because the device may have been lost.
    """
    registry = visit.registry
    if invitation.used_at is None or invitation.browser not in visit.names.hashes:
        return None
    mine = invitation.names_of_invited(visit.names.hashes)
    account = registry.accounts.account_of(invitation)
    if account is None and invitation.usage_point_id is not None:
        account = registry.accounts.find(invitation.supplier, invitation.usage_point_id)
    name = registry.consents.browser_of(account.id) if account else None
    if account and name and name in mine:
        got = visit.consent.requests.find_session(name)
        open_keys = registry.sessions.list_keys(registry.sessions.households_of([account.id]))
        if got and got not in [key.id for key in open_keys] and not visit.session.shows(account):
            return None
        return open_accounts(visit, [account], invitation.id)
    if any(right.page for right in registry.rights.of_browser(mine)):
        return RedirectResponse(RIGHT_STATE, 303)  # The invitation was used to declare a right.
    return None


# Declared before ``/connect/{supplier}``, which would match this path too.
@router.get("/connect/reading")
def show_reading_form(visit: ConsentVisitDep) -> Response:
    """Show the form for a meter reading, if a reading can prove the browser's last connection request."""
    if visit.consent.connector.find_unproven(visit.names.hashes) is None:
        return visit.page("no_reading")
    return render_with_form(visit.request, "reading.html", contracts=DISPLAYED_PERIODS, typed={}, unread=False)


async def read_registers(request: Request) -> dict[str, str]:
    """Return the typed register values, by tariff period, without those left empty because the display lacks them."""
    form = await request.form()
    registers = [name for periods in DISPLAYED_PERIODS.values() for name in periods]
    return {name: text for name in registers if (text := str(form.get(_REGISTER_FIELD + name, "")).strip())}


@router.post("/connect/reading", name=AuditAction.READING_TRY, dependencies=[browser_form("/")])
def type_reading(visit: ConsentVisitDep, typed: Annotated[dict[str, str], Depends(read_registers)]) -> Response:
    """Accept the register values (whole kWh) read on the display, and let a task compare them with the supplier's."""
    readings = {name: parse_displayed(text) for name, text in typed.items()}
    known = {name: kwh for name, kwh in readings.items() if kwh is not None}
    if not known or len(known) < len(readings):
        return render_with_form(
            visit.request, "reading.html", 400, contracts=DISPLAYED_PERIODS, typed=typed, unread=True
        )
    names, connector = visit.names.hashes, visit.consent.connector
    unproven = connector.find_unproven(names)
    if unproven is None:
        return visit.page("no_reading")
    # A browser gets a new name with each try, so tries are counted by the request that they try to prove.
    tries = ((REQUEST_TRIES, unproven.id), (ADDRESS_TRIES, visit.address))
    if wait_s := max(visit.count_call(rate, subject) for rate, subject in tries):
        return visit.page("too_many", min(wait_s, _AN_HOUR_S))
    newest, accounts = visit.renamed.newest, visit.session.accounts
    own = connector.compare_reading(names, known, browser=newest, session=accounts)
    if own is None:
        return visit.page("no_reading")
    publish_request(visit.stores, own)
    return visit.rename(RedirectResponse(_OUTCOME, 303))


@router.get(_OUTCOME)
@router.post(_OUTCOME, dependencies=[browser_form(_OUTCOME)])
def show_outcome(visit: ConsentVisitDep) -> Response:
    """Show the outcome of the reading; the page reloads itself until there is an outcome.

    A button on the page opens the account.
    """
    own = visit.find_request()
    return visit.page("no_reading") if own is None else answer_request(visit, own, opens=visit.is_form)


@router.get("/connect/{supplier}")
def start_consent(supplier: str, visit: ConsentVisitDep, usage_point_id: str | None = None) -> Response:
    """Redirect to the supplier's page. ``?usage_point_id=`` chooses a home of the simulator."""
    if supplier != visit.sync.suppliers.main.supplier.name:
        return visit.page("unknown_supplier")
    require_person(visit.request)
    return redirect_to_supplier(visit, supplier, usage_point_id)


def redirect_to_supplier(
    visit: ConsentVisit,
    supplier: str,
    usage_point_id: str | None,
    *,
    invitation: Invitation | None = None,
    tenant: str = DEFAULT_TENANT,
) -> Response:
    """Store the consent flow that this browser begins, and redirect to the supplier's page.

    Only a simulator gets ``usage_point_id``. ``tenant``: the owner of a new account if there is no invitation.
    """
    if wait_s := count_start(visit, invitation):
        return visit.rename(visit.page("too_many", wait_s))
    if invitation is not None:
        tenant = invitation.tenant
    invitation_id = invitation.id if invitation else None
    flow = ConsentFlow(supplier, visit.renamed.newest, invitation=invitation_id, tenant=tenant)
    return begin_flow(visit, flow, f"/callback/{supplier}", usage_point_id)


def begin_flow(visit: ConsentVisit, flow: ConsentFlow, callback_path: str, usage_point_id: str | None) -> Response:
    """Store a consent flow that begins now, and redirect to the supplier's page.

    The response also sets the cookie with the browser's new name. Only a simulator gets ``callback_path`` and
    ``usage_point_id``. A real supplier knows our callback address from our contract, and lets the holder choose the
    meter on its page.
    """
    consents = visit.consent.supplier_of(flow.supplier)
    hint = usage_point_id if usage_point_id and consents.is_meter(usage_point_id) else None
    begun = replace(flow, begun_on=consents.today().isoformat(), begun_at=real_clock().isoformat())
    try:
        consents.consent_page("")  # Called here only to raise an error before anything is stored.
    except ValueError:  # The sandbox has no page: its customers have already consented.
        return visit.rename(visit.page("no_consent_page"))
    page = consents.consent_page(ConsentFlows(visit.stores.redis).start(begun))
    hints = {name: value for name, value in _hints(visit, flow, callback_path, hint).items() if value}
    return visit.rename(RedirectResponse(f"{page}&{urlencode(hints)}" if hints else page, 303))


def _hints(
    visit: ConsentVisit, flow: ConsentFlow, callback_path: str, usage_point_id: str | None
) -> Mapping[str, str | None]:
    """Return the parameters that only a simulator gets.

    For gas they lack our callback, because the address of GRDF's page already has it.
    """
    settings = visit.settings
    if flow.supplier == visit.sync.suppliers.main.supplier.name:
        hints = {"redirect_uri": settings.public_url + callback_path, "usage_point_id": usage_point_id}
        return hints if settings.speaks_to_simulator else {}
    return {"pce": usage_point_id} if settings.speaks_to_gas_simulator else {}


def count_start(visit: ConsentVisit, invitation: Invitation | None) -> int:
    """Count a start of a consent. Return 0 if it is within the rate, else the seconds until the next start is allowed.

    The start is counted by the session's household. Without a household, it is counted by ``invitation``, or else by an
    invitation that this browser has opened. Without an invitation, it is counted by address.
    """
    session = visit.session
    if session.household is not None and session.accounts:
        subject = f"household:{session.household.id}"
    elif opened := invitation or visit.registry.invitations.find_opened(visit.names.hashes):
        subject = f"invitation:{opened.id}"
    else:
        subject = visit.address
    return visit.count_call(CONSENT_STARTS, subject)


def refuse_invitation(visit: ConsentVisit) -> Response:
    """Count an attempt with an invalid invitation, and return the page that says that the invitation is over.

    After too many attempts from this address, return the page that asks the visitor to wait.
    """
    wait_s = visit.count_call(WRONG_INVITATIONS, visit.address)
    return visit.page("too_many", wait_s) if wait_s else visit.page("invitation_over")
