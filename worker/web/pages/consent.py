"""A household's consent: an invitation, the way to the supplier's page and back, and the proof by a meter reading.

The secret of an invitation comes in the fragment of its link, which no server and no log sees. A small script puts it
into the field; without scripts the person pastes it. Loading the page uses nothing up, because mail programs load links
too. The button binds the invitation to this browser and leads to the supplier's page.

Each consent that is begun keeps a key in Redis for a quarter of an hour, so starts are bounded. Strangers of one
address share a count. An invited person and a household have their own, so that no stranger of the same address shuts
them out; and what other sites' pages load on their own begins nothing.

Without another proof a person proves that it is their meter by typing what its display shows (P4). That page belongs to
the browser's last connection request and says nothing of its meter. What is typed is compared by a task.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from config.settings import Settings
from worker.clients.enedis import ENEDIS
from worker.domain.account import DEFAULT_TENANT, Account, AccountState
from worker.domain.clock import real_clock
from worker.domain.consents import parse_displayed
from worker.domain.invitation import Invitation, InvitationPurpose
from worker.domain.tariffs import DISPLAYED_PERIODS
from worker.runtime.consent_parts import Consent
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync
from worker.runtime.web_access import WebAccess
from worker.stores.redis.locks import Rate, RateLimiter
from worker.stores.redis.pending_consents import ConsentFlow, ConsentFlows
from worker.web.client_addresses import client_address
from worker.web.dependencies import (
    RIGHT_STATE,
    AccessDep,
    ConsentDep,
    Session,
    SessionDep,
    StoresDep,
    SyncDep,
    browser_form,
    gas_suffix,
    is_own_form,
)
from worker.web.error_pages import HttpRefusal
from worker.web.pages.consent_callback import (
    BrowserNames,
    answer_request,
    consent_page,
    open_accounts,
    read_browser_names,
    set_browser_names,
)
from worker.web.rendering import policy_with_form_to, refuse_form, render_with_form
from worker.web.request_audit import note_subject

router = APIRouter()
CONSENT_STARTS: Final = Rate("consent", calls=60)
# A secret of 256 bits can't be guessed; this keeps wrong ones from costing us. The right one is always heard.
WRONG_INVITATIONS: Final = Rate("invitation", calls=20)
_AN_HOUR_S: Final = 3600
REQUEST_TRIES: Final = Rate("reading-request", calls=5, window_s=_AN_HOUR_S)
ADDRESS_TRIES: Final = Rate("reading-address", calls=20, window_s=_AN_HOUR_S)
_REGISTER_FIELD: Final = "register_"
_OUTCOME: Final = "/connect/reading/outcome"
_PRETENDER: Final = "simulator"


@router.get("/invitation")
def show_invitation(request: Request, sync: SyncDep) -> Response:
    """Show the form. It says nothing of the invitation, which the server has not seen."""
    response = render_with_form(request, "invitation.html", several=gas_suffix(sync))
    response.headers["Content-Security-Policy"] = policy_with_form_to(sync.suppliers.main.endpoints.authorize_url)
    return response


@router.post("/invitation", dependencies=[browser_form("/invitation")])
def open_invitation(
    request: Request,
    stores: StoresDep,
    sync: SyncDep,
    consent: ConsentDep,
    access: AccessDep,
    session: SessionDep,
    invitation: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Bind the invitation to this browser, and go on: to the supplier's page, or to the history of a closed account."""
    secret = invitation.strip().rpartition("#")[2]  # The whole link may be pasted.
    names = read_browser_names(request)
    renamed = names.with_new()
    opened = stores.registry.invitations.open(secret, renamed.newest, names.hashes)
    if opened is not None:
        return _go_on(request, stores, sync, consent, access, session, opened, renamed)
    if again := _open_again(request, stores, consent, access, session, secret, names):
        return again
    wait_s = count_wrong_invitation(request, stores)
    return consent_page(request, "too_many", wait_s) if wait_s else consent_page(request, "invitation_over")


@router.get("/invitation/again")
def choose_again(
    request: Request, stores: StoresDep, sync: SyncDep, consent: ConsentDep, access: AccessDep, session: SessionDep
) -> Response:
    """Lead back to the supplier's page with the invitation whose consent named another meter."""
    if not is_visit(request):
        raise HttpRefusal(403, "refused", "a consent begins where a person goes to this page")
    names = read_browser_names(request)
    own = consent.requests.of_browser(names.hashes)
    invited = consent.connector.outcomes.find_invited(own) if own else None
    if invited is None or invited.invitation.used_at is not None:
        return consent_page(request, "invitation_over")
    return _go_on(request, stores, sync, consent, access, session, invited.invitation, names.with_new())


@router.post("/invitation/pretend")
def invite_to_pretend_home(
    request: Request,
    stores: StoresDep,
    sync: SyncDep,
    consent: ConsentDep,
    access: AccessDep,
    session: SessionDep,
    usage_point_id: Annotated[str, Form(pattern=r"^([0-9]{14})?$")] = "",
) -> Response:
    """Invite this browser to a home of the simulator, where the settings allow it (RELEVE_PRETEND_HOMES)."""
    if not stores.settings.pretend_homes:
        return consent_page(request, "unknown_supplier")
    renamed = read_browser_names(request).with_new()
    meter = usage_point_id or f"{10**13 + secrets.randbelow(9 * 10**13)}"
    account = stores.registry.accounts.find(ENEDIS.name, meter)
    if account is None:
        invited = stores.registry.invitations.create(
            InvitationPurpose.METER, ENEDIS.name, _PRETENDER, usage_point_id=meter
        )
    else:
        # Pretend homes are everybody's.
        invited = stores.registry.invitations.create(
            InvitationPurpose.ACCOUNT, ENEDIS.name, _PRETENDER, account_id=account.id
        )
    opened = stores.registry.invitations.open(invited[1], renamed.newest)
    if opened is None:
        return consent_page(request, "invitation_over")
    return _go_on(request, stores, sync, consent, access, session, opened, renamed)


def _go_on(
    request: Request,
    stores: Stores,
    sync: Sync,
    consent: Consent,
    access: WebAccess,
    session: Session,
    invitation: Invitation,
    renamed: BrowserNames,
) -> Response:
    account = stores.registry.accounts.account_of(invitation)
    note_subject(request, invitation.id, account_id=account.id if account else None, tenant=invitation.tenant)
    if invitation.account_id is not None and account is None:
        return consent_page(request, "invitation_over")
    if account is not None and account.state is AccountState.CLOSED:
        return _open_history(request, stores, consent, access, session, invitation, account)
    if invitation.supplier not in sync.suppliers:
        return consent_page(request, "unknown_supplier")
    if sync.suppliers[invitation.supplier].supplier.rights is not None:
        response = RedirectResponse(f"/invitation/{invitation.id}/right", 303)
        set_browser_names(request, response, renamed)
        return response
    meter = account.usage_point_id if account else invitation.usage_point_id
    return redirect_to_supplier(
        request, stores, sync, consent, session, invitation.supplier, meter, invitation=invitation, renamed=renamed
    )


def _open_history(
    request: Request,
    stores: Stores,
    consent: Consent,
    access: WebAccess,
    session: Session,
    invitation: Invitation,
    account: Account,
) -> Response:
    """Open a closed account, which needs no new consent: nothing is read for it any more."""
    with stores.registry.database.writing() as connection:
        used = stores.registry.invitations.use(connection, invitation.id)
    if not used:
        return consent_page(request, "invitation_over")
    note_subject(request, account_id=account.id)
    return open_accounts(request, stores, consent, access, session, [account], invitation.id)


def _open_again(
    request: Request,
    stores: Stores,
    consent: Consent,
    access: WebAccess,
    session: Session,
    secret: str,
    names: BrowserNames,
) -> Response | None:
    """Return the account to the browser that has used this invitation for it, once, and None to others.

    A crash may have kept the session from a browser whose consent is recorded. A session that was opened and has ended
    since is not opened again: the device may be lost.
    """
    invitation = stores.registry.invitations.find(secret)
    if invitation is None or invitation.used_at is None or invitation.browser not in names.hashes:
        return None
    mine = invitation.names_of_invited(names.hashes)
    account = stores.registry.accounts.account_of(invitation)
    if account is None and invitation.usage_point_id is not None:
        account = stores.registry.accounts.find(invitation.supplier, invitation.usage_point_id)
    name = stores.registry.consents.browser_of(account.id) if account else None
    if account and name and name in mine:
        got = consent.requests.find_session(name)
        open_keys = stores.registry.sessions.list_keys(stores.registry.sessions.households_of([account.id]))
        if got and got not in [key.id for key in open_keys] and not session.shows(account):
            return None
        return open_accounts(request, stores, consent, access, session, [account], invitation.id)
    if any(right.page for right in stores.registry.rights.of_browser(mine)):
        return RedirectResponse(RIGHT_STATE, 303)  # It was used for a right that waits for its holder.
    return None


# It comes before ``/connect/{supplier}``, which matches it too.
@router.get("/connect/reading")
def show_reading_form(request: Request, consent: ConsentDep) -> Response:
    """Show the form to the browser whose last request has no proof yet."""
    if consent.connector.find_unproven(read_browser_names(request).hashes) is None:
        return consent_page(request, "no_reading")
    return render_with_form(request, "reading.html", contracts=DISPLAYED_PERIODS, typed={}, unread=False)


@router.post("/connect/reading")
async def type_reading(request: Request, stores: StoresDep, consent: ConsentDep, session: SessionDep) -> Response:
    """Take what the display shows, whole kWh by tariff period; fields that are left empty count as not shown."""
    form = {name: str(text) for name, text in (await request.form()).items()}
    return await run_in_threadpool(_take_reading, request, stores, consent, session, form)


def _take_reading(
    request: Request, stores: StoresDep, consent: ConsentDep, session: Session, form: dict[str, str]
) -> Response:
    if not is_own_form(request, form.get("csrf", "")):
        return refuse_form(request, "/")
    registers = [name for periods in DISPLAYED_PERIODS.values() for name in periods]
    typed = {name: text for name in registers if (text := form.get(_REGISTER_FIELD + name, "").strip())}
    readings = {name: parse_displayed(text) for name, text in typed.items()}
    known = {name: kwh for name, kwh in readings.items() if kwh is not None}
    if not known or len(known) < len(readings):
        return render_with_form(request, "reading.html", 400, contracts=DISPLAYED_PERIODS, typed=typed, unread=True)
    names = read_browser_names(request)
    unproven = consent.connector.find_unproven(names.hashes)
    if unproven is None:
        return consent_page(request, "no_reading")
    limiter = RateLimiter(stores.redis)
    # A browser gets a new name with each try, so its tries are counted by what it tries to prove.
    tries = ((REQUEST_TRIES, unproven.id), (ADDRESS_TRIES, client_address(request)))
    if wait_s := max(limiter.count_call(rate, subject) for rate, subject in tries):
        return consent_page(request, "too_many", min(wait_s, _AN_HOUR_S))
    renamed = names.with_new()
    compared = consent.connector.compare_reading(names.hashes, known, browser=renamed.newest, session=session.accounts)
    if compared is None:
        return consent_page(request, "no_reading")
    response = RedirectResponse(_OUTCOME, 303)
    set_browser_names(request, response, renamed)
    return response


@router.get(_OUTCOME)
def show_outcome(
    request: Request, stores: StoresDep, consent: ConsentDep, access: AccessDep, session: SessionDep
) -> Response:
    """Show what came of it; the page loads itself again until there is an outcome."""
    own = consent.requests.of_browser(read_browser_names(request).hashes)
    return (
        consent_page(request, "no_reading")
        if own is None
        else answer_request(request, stores, consent, access, session, own)
    )


@router.get("/connect/{supplier}")
def start_consent(
    request: Request, supplier: str, stores: StoresDep, sync: SyncDep, consent: ConsentDep, session: SessionDep
) -> Response:
    """Redirect to the supplier's page. ``?usage_point_id=`` chooses a home of the simulator."""
    if supplier != sync.suppliers.main.supplier.name:
        return consent_page(request, "unknown_supplier")
    if not is_visit(request):
        raise HttpRefusal(403, "refused", "a consent begins where a person goes to this page")
    return redirect_to_supplier(
        request, stores, sync, consent, session, supplier, request.query_params.get("usage_point_id")
    )


def redirect_to_supplier(
    request: Request,
    stores: Stores,
    sync: Sync,
    consent: Consent,
    session: Session,
    supplier: str,
    usage_point_id: str | None,
    *,
    invitation: Invitation | None = None,
    renamed: BrowserNames | None = None,
    tenant: str = DEFAULT_TENANT,
) -> Response:
    """Store a flow of this browser and redirect to the supplier's page; only a simulator gets ``usage_point_id``.

    ``renamed``: the browser's names with a new one, where this answer has made one already. ``tenant``: to whom a new
    account will belong where there is no invitation.
    """
    names = read_browser_names(request)
    renamed = renamed or names.with_new()
    if wait_s := count_start(request, stores, session, names, invitation):
        response = consent_page(request, "too_many", wait_s)
    else:
        flow = ConsentFlow(
            supplier,
            renamed.newest,
            invitation=invitation.id if invitation else None,
            tenant=invitation.tenant if invitation else tenant,
        )
        response = begin_flow(request, stores, sync, consent, flow, f"/callback/{supplier}", usage_point_id)
    set_browser_names(request, response, renamed)
    return response


def begin_flow(
    request: Request,
    stores: Stores,
    sync: Sync,
    consent: Consent,
    flow: ConsentFlow,
    callback_path: str,
    usage_point_id: str | None,
) -> Response:
    """Store a flow that begins now, and redirect to the supplier's page; only a simulator gets ``usage_point_id``."""
    consents = consent.supplier_of(flow.supplier)
    hint = usage_point_id if usage_point_id and consents.is_meter(usage_point_id) else None
    today = consents.today()
    begun = replace(flow, begun_on=today.isoformat(), begun_at=real_clock().isoformat())
    try:
        return RedirectResponse(start_flow(stores, sync, consent, begun, callback_path, hint), 303)
    except ValueError:  # The customers of the sandbox have consented already.
        return consent_page(request, "no_consent_page")


def start_flow(
    stores: Stores,
    sync: Sync,
    consent: Consent,
    flow: ConsentFlow,
    callback_path: str,
    usage_point_id: str | None = None,
) -> str:
    """Store the flow and return the address of the supplier's consent page.

    Only a simulator gets ``callback_path`` and ``usage_point_id``: the supplier knows our callback address from our
    contract, and the holder chooses the meter on its page.

    Raises ValueError where the supplier has no consent page (the sandbox).
    """
    consents = consent.supplier_of(flow.supplier)
    consents.consent_page("")  # It raises the ValueError before anything is stored.
    page = consents.consent_page(ConsentFlows(stores.redis).start(flow))
    hints = {
        name: value
        for name, value in _hints(stores.settings, sync, flow, callback_path, usage_point_id).items()
        if value
    }
    return f"{page}&{urlencode(hints)}" if hints else page


def _hints(
    settings: Settings, sync: Sync, flow: ConsentFlow, callback_path: str, usage_point_id: str | None
) -> Mapping[str, str | None]:
    """Return what only a simulator is told in the address of its page; GRDF's has our callback in it already."""
    if flow.supplier == sync.suppliers.main.supplier.name:
        address = settings.public_url + callback_path
        hints = {"redirect_uri": address, "usage_point_id": usage_point_id}
        return hints if settings.speaks_to_simulator else {}
    return {"pce": usage_point_id} if settings.speaks_to_gas_simulator else {}


def is_visit(request: Request) -> bool:
    """Return whether a person goes to this page, and no page loads it as an image or a frame of its own.

    Browsers say so (Fetch Metadata, https://www.w3.org/TR/fetch-metadata/); what says nothing may be an old one.
    """
    headers = request.headers
    if headers.get("Sec-Fetch-Dest", "document") != "document":
        return False
    return headers.get("Sec-Fetch-Site") != "cross-site" or headers.get("Sec-Fetch-Mode", "navigate") == "navigate"


def count_start(
    request: Request, stores: Stores, session: Session, names: BrowserNames, invitation: Invitation | None
) -> int:
    """Count a start. Return 0 where it may go on, else the seconds until the next may.

    ``invitation``: the one that it begins with; without it, one that this browser has opened counts as well.
    """
    if session.household is not None and session.accounts:
        subject = f"household:{session.household.id}"
    elif opened := invitation or stores.registry.invitations.find_opened(names.hashes):
        subject = f"invitation:{opened.id}"
    else:
        subject = client_address(request)
    return RateLimiter(stores.redis).count_call(CONSENT_STARTS, subject)


def count_wrong_invitation(request: Request, stores: Stores) -> int:
    """Count an invitation that opens nothing. Return 0, or the seconds until the next is looked at."""
    return RateLimiter(stores.redis).count_call(WRONG_INVITATIONS, client_address(request))
