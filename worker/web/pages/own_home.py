"""The first page of a home: its meters, a form for a gateway's token, a password for other devices.

A home is reached without TLS and, on its own computer, without a password. So a page on the internet may try two ways
in: it makes its own host name lead to this address (DNS rebinding), which shows in ``Host``; or it sends a form here
from its own address, which shows in ``Origin`` and ``Sec-Fetch-Site``. ``refuse_foreign`` refuses both, for all pages
of a home.
"""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from worker.accounts.asserted_accounts import MeterConnected, MeterErased
from worker.domain.audit_entry import AuditAction
from worker.domain.evidence import HOUSEHOLD
from worker.domain.networks import is_public_host
from worker.runtime.sync_parts import build_inline
from worker.web.dependencies import (
    Visit,
    VisitDep,
    load_accounts,
    publish_backfills,
    require_household,
    session_form,
)
from worker.web.error_pages import HttpRefusal
from worker.web.pages.account_head import KINDS
from worker.web.pages.meter_cards import describe_meters
from worker.web.rendering import render
from worker.web.request_audit import note_subject

router = APIRouter()
# The Referrer-Policy of a home's pages. With ``no-referrer``, a browser would hide the origin of our own forms too.
OWN_PAGES: Final = "same-origin"
_SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
_FOREIGN_SITES: Final = ("cross-site", "same-site")  # "same-site": another port or subdomain of the same domain.
_OWN_FORM: Final = (Depends(require_household), session_form("/"))
_LONGEST_TOKEN: Final = 8000


# A browser on another machine is asked for the password first.
@router.get("/", dependencies=[Depends(require_household)])
def show_own_home(visit: VisitDep) -> Response:
    return _page(visit)


@router.post("/home/token", name=AuditAction.ACCOUNT_TOKEN, dependencies=_OWN_FORM)
def add_token(
    visit: VisitDep,
    token: Annotated[str, Form(max_length=_LONGEST_TOKEN)] = "",
    usage_point: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    """Add the accounts of a gateway's token, or give the token to existing accounts, as `releve home add` does."""
    meter = usage_point.replace(" ", "")
    if meter and not (len(meter) == 14 and meter.isdecimal() and meter.isascii()):
        return _page(visit, 422, fault="own_home.token.meter")
    try:
        added = visit.consent.assertion.add_by_token(token, HOUSEHOLD, [meter] if meter else [])
    except ValueError:  # The error's text is for the command line; the page says what is expected of the token.
        return _page(visit, 422, fault="own_home.token.bad")
    except MeterErased:
        return _page(visit, 409, fault="own_home.token.erased")
    except MeterConnected:
        return _page(visit, 409, fault="own_home.token.connected")
    visit.access.home.ensure_household()
    ids = [one.account.id for one in added]
    note_subject(visit.request, account_id=ids[0])
    # The result is ignored here: the account's page shows it.
    build_inline(visit.stores, visit.sync, print_line=lambda line: None).ask_once(ids[0])
    publish_backfills(visit.stores, ids)
    return RedirectResponse(f"/accounts/{ids[0]}" if len(ids) == 1 else "/", 303)


@router.post("/home/password", name=AuditAction.RECOVERY_CODE, dependencies=_OWN_FORM)
def make_password(visit: VisitDep) -> Response:
    """Make the home's password and show it once; the previous password stops working."""
    return _page(visit, password=visit.access.home.create_password())


def _page(visit: Visit, status: int = 200, *, fault: str = "", password: str = "") -> Response:
    """Return the page. ``fault``: the key of what is wrong with the token. ``password``: a new password to be saved."""
    accounts = [account for account in load_accounts(visit.registry, visit.session) if account.state in KINDS]
    return render(
        visit.request,
        "own_home.html",
        status,
        accounts=accounts,
        fault=fault,
        password=password,
        has_password=bool(password) or visit.access.home.has_password(),
        **describe_meters(visit, accounts),
    )


def refuse_foreign(request: Request, public_url: str) -> HttpRefusal | None:
    """Return why a request is refused: a foreign host name, or a form or script from another site; None if accepted."""
    public, host = urlsplit(public_url), _host_of(request)
    if not host or (is_public_host(host) and host != public.hostname):
        return HttpRefusal(421, "foreign_host", "this host name is not allowed: set RELEVE_PUBLIC_URL to it")
    if request.method in _SAFE_METHODS:
        return None
    own = {f"{request.url.scheme}://{request.url.netloc}", f"{public.scheme}://{public.netloc}"}
    origin = request.headers.get("Origin")
    is_foreign = origin.lower() not in own if origin else request.headers.get("Sec-Fetch-Site") in _FOREIGN_SITES
    return HttpRefusal(403, "foreign_origin", "this request came from a page of another site") if is_foreign else None


def _host_of(request: Request) -> str:
    """Return the host that the browser asked for, in lower case and without a final dot; empty if there is none."""
    header = request.headers.get("Host", "")
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""
