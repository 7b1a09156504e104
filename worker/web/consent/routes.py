"""Routes of the household's consent: to the supplier's page and back, with an invitation or without one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from worker.domain.account import DEFAULT_TENANT
from worker.domain.clock import real_clock
from worker.domain.invitation import Invitation
from worker.runtime.sync_parts import Runtime
from worker.stores.redis.pending_consents import ConsentFlow, ConsentFlows
from worker.web.consent.browser_names import BrowserNames, read_browser_names, set_browser_names
from worker.web.consent.callback import answer_callback, answer_request, consent_page
from worker.web.consent.starts import count_start, is_visit
from worker.web.context import RuntimeDep, SessionDep, is_own_form, publish_backfills
from worker.web.errors import HttpRefusal
from worker.web.render import refuse_form
from worker.web.sessions import Session

router = APIRouter(include_in_schema=False)
PORTAL_SUFFIX: Final = "_parent"  # Enedis' portal of 2026 sometimes appends it to the redirect address.


@router.get("/connect/{supplier}")
def start_consent(request: Request, supplier: str, runtime: RuntimeDep, session: SessionDep) -> Response:
    """Redirect to the supplier's page. ``?usage_point_id=`` chooses a home of the simulator."""
    if supplier != runtime.clients.supplier.name:
        return consent_page(request, "unknown_supplier")
    if not is_visit(request):
        raise HttpRefusal(403, "refused", "a consent begins where a person goes to this page")
    return redirect_to_supplier(request, runtime, session, supplier, request.query_params.get("usage_point_id"))


@router.get("/callback/{supplier}")
def receive_callback(request: Request, supplier: str, runtime: RuntimeDep, session: SessionDep) -> Response:
    """Receive a person who comes back from the supplier's page."""
    name = supplier.removesuffix(PORTAL_SUFFIX)
    if name not in runtime.suppliers:
        return consent_page(request, "unknown_supplier")
    return answer_callback(request, runtime, session, name)


@router.post("/connect/new-holder")
def confirm_new_holder(
    request: Request,
    runtime: RuntimeDep,
    session: SessionDep,
    connection: Annotated[str, Form(max_length=64)] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Go on with a proven request whose meter has another person's account, which is closed by it."""
    if not is_own_form(runtime, request, csrf):
        return refuse_form(request, "/")
    own = runtime.connector.choose_new_holder(connection, read_browser_names(runtime, request).hashes)
    if own is None:
        return consent_page(request, "unknown_state")
    publish_backfills(runtime, [account.id for account in own.accounts])
    return answer_request(request, runtime, session, own)


def redirect_to_supplier(
    request: Request,
    runtime: Runtime,
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
    names = read_browser_names(runtime, request)
    renamed = renamed or names.with_new()
    if wait_s := count_start(request, runtime, session, names, invitation):
        response = consent_page(request, "too_many", wait_s)
    else:
        flow = ConsentFlow(
            supplier,
            renamed.newest,
            invitation=invitation.id if invitation else None,
            tenant=invitation.tenant if invitation else tenant,
        )
        response = begin_flow(request, runtime, flow, f"/callback/{supplier}", usage_point_id)
    set_browser_names(runtime, response, renamed)
    return response


def begin_flow(
    request: Request, runtime: Runtime, flow: ConsentFlow, callback_path: str, usage_point_id: str | None
) -> Response:
    """Store a flow that begins now, and redirect to the supplier's page; only a simulator gets ``usage_point_id``."""
    consents = runtime.consents_of(flow.supplier)
    hint = usage_point_id if usage_point_id and consents.is_meter(usage_point_id) else None
    today = consents.today()
    begun = replace(flow, begun_on=today.isoformat(), begun_at=real_clock().isoformat())
    try:
        return RedirectResponse(start_flow(runtime, begun, callback_path, hint), 303)
    except ValueError:  # The customers of the sandbox have consented already.
        return consent_page(request, "no_consent_page")


def start_flow(runtime: Runtime, flow: ConsentFlow, callback_path: str, usage_point_id: str | None = None) -> str:
    """Store the flow and return the address of the supplier's consent page.

    Only a simulator gets ``callback_path`` and ``usage_point_id``: the supplier knows our callback address from our
    contract, and the holder chooses the meter on its page.

    Raises ValueError where the supplier has no consent page (the sandbox).
    """
    consents = runtime.consents_of(flow.supplier)
    consents.consent_page("")  # It raises the ValueError before anything is stored.
    page = consents.consent_page(ConsentFlows(runtime.redis).start(flow))
    hints = {name: value for name, value in _hints(runtime, flow, callback_path, usage_point_id).items() if value}
    return f"{page}&{urlencode(hints)}" if hints else page


def _hints(
    runtime: Runtime, flow: ConsentFlow, callback_path: str, usage_point_id: str | None
) -> Mapping[str, str | None]:
    """Return what only a simulator is told in the address of its page; GRDF's has our callback in it already."""
    if flow.supplier == runtime.clients.supplier.name:
        address = runtime.settings.public_url + callback_path
        hints = {"redirect_uri": address, "usage_point_id": usage_point_id}
        return hints if runtime.settings.speaks_to_simulator else {}
    return {"pce": usage_point_id} if runtime.settings.speaks_to_gas_simulator else {}
