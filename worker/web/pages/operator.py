"""The operator's page, behind a password: state of the fleet in numbers, and the open invitations.

It shows no measure, and no account id but those of open invitations.
"""

from __future__ import annotations

import hmac
import logging
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from worker.app import queue_lengths
from worker.domain.consent.audit import ActorKind
from worker.domain.consent.tenants import DEFAULT_TENANT
from worker.domain.measures.readings import ONE_DAY
from worker.domain.measures.series import Series
from worker.domain.measures.windows import newest_wanted_day
from worker.errors import StoreUnavailable
from worker.logs import fields
from worker.runtime.process import Runtime
from worker.runtime.supplier import ledger_of
from worker.stores.redis.rate_limits import Rate, RateLimiter
from worker.stores.registry.completeness import HourFreshness
from worker.stores.registry.overview import Overview
from worker.web.addresses import client_address
from worker.web.audit import note_actor, note_refusal
from worker.web.context import RuntimeDep, delete_cookie, read_cookie, set_cookie
from worker.web.render import refuse_form, render, render_message
from worker.web.sessions import OPERATOR_COOKIE, OPERATOR_LIFE

log = logging.getLogger("releve.web")

router = APIRouter(prefix="/operator", include_in_schema=False)

MOST_INVITATIONS: Final = 20
_KIND: Final = "operator"
PATH: Final = "/operator"
_TRIES_BY_ADDRESS: Final = Rate("operator-login", calls=5, window_s=300)
_TRIES_IN_ALL: Final = Rate("operator-login-all", calls=50, window_s=300)  # An attacker may use many addresses.


@dataclass(frozen=True, slots=True)
class OperatorSession:
    """Session of the operator's browser. ``sid`` is new after the login, against session fixation."""

    sid: str
    logged_in: bool = False


@dataclass(frozen=True, slots=True)
class SupplierQuota:
    """The quota and gate of one supplier. ``used``: permits by API, within a day where ``by_day``, else an hour."""

    supplier: str
    preset: str
    used: Mapping[str, int]
    limit: int | None
    by_day: bool
    gate_s: int


@router.get("")
def show_operator(request: Request, runtime: RuntimeDep) -> Response:
    if runtime.settings.operator_password is None:
        return render_message(request, "operator.closed", 404)
    session = _read_session(request, runtime)
    if not session.logged_in:
        return _login_page(request, runtime, session)
    return operator_page(request, runtime)


@router.post("/login")
def log_in(
    request: Request,
    runtime: RuntimeDep,
    password: Annotated[str, Form()] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Log the operator in.

    A try counts before its password is checked, so that many at once can't get around the limit. A try that the limit
    refuses doesn't count.
    """
    password_setting = runtime.settings.operator_password
    session = _read_session(request, runtime)
    if password_setting is None or not runtime.web_access.signer.is_valid_csrf_token(session.sid, csrf):
        return _login_page(request, runtime, session, 403, "csrf.text")
    limiter, address = RateLimiter(runtime.redis), client_address(request)
    if wait_s := limiter.count_call(_TRIES_BY_ADDRESS, address) or limiter.count_call(_TRIES_IN_ALL, "all"):
        response = _login_page(request, runtime, session, 429, "operator.slow", wait_s=wait_s)
        response.headers["Retry-After"] = str(wait_s)
        return response
    if not hmac.compare_digest(password.encode(), password_setting.get_secret_value().encode()):
        log.warning("operator login refused", extra=fields(address=address))
        return _login_page(request, runtime, session, 403, "operator.wrong")
    entered = RedirectResponse(PATH, 303)
    session = OperatorSession(_new_sid(), logged_in=True)
    note_actor(request, ActorKind.OPERATOR, session.sid)
    _set_cookie(runtime, entered, session)
    return entered


@router.post("/logout")
def log_out(request: Request, runtime: RuntimeDep, csrf: Annotated[str, Form()] = "") -> Response:
    if not runtime.web_access.signer.is_valid_csrf_token(_read_session(request, runtime).sid, csrf):
        return refuse_form(request, PATH)
    response = RedirectResponse(PATH, 303)
    delete_cookie(runtime, response, OPERATOR_COOKIE)
    return response


def operator_page(request: Request, runtime: Runtime, status: int = 200, **invite: Any) -> Response:
    """Return the page for an operator who is logged in. ``invite``: what the form of an invitation shows again."""
    csrf = runtime.web_access.signer.csrf_token(_read_session(request, runtime).sid)
    form: dict[str, Any] = {"whom": "", "new_holder": False, "address": "", "tenant": DEFAULT_TENANT}
    form["energy"] = runtime.clients.supplier.name
    form |= {"invite_fault": None, "invite_account": "", "invite_tenant": ""} | invite
    values = {**_page_values(runtime), **_invitations(runtime), **form}
    return render(request, "operator.html", status, operator_csrf=csrf, **values)


def is_logged_in(request: Request, runtime: Runtime) -> bool:
    """Return whether the browser is that of an operator who is logged in."""
    return runtime.settings.operator_password is not None and _read_session(request, runtime).logged_in


def may_change(request: Request, runtime: Runtime, csrf: str) -> bool:
    """Return whether a form comes from the page of an operator who is logged in."""
    sid = _read_session(request, runtime).sid
    return is_logged_in(request, runtime) and runtime.web_access.signer.is_valid_csrf_token(sid, csrf)


def _read_session(request: Request, runtime: Runtime) -> OperatorSession:
    claims = runtime.web_access.signer.read(_KIND, read_cookie(runtime, request, OPERATOR_COOKIE))
    session = OperatorSession(str(claims["sid"]), bool(claims["inside"])) if claims else OperatorSession(_new_sid())
    if session.logged_in:
        note_actor(request, ActorKind.OPERATOR, session.sid)
    return session


def _login_page(
    request: Request,
    runtime: Runtime,
    session: OperatorSession,
    status: int = 200,
    fault: str | None = None,
    wait_s: int = 0,
) -> Response:
    """Return the login form, with the cookie that its hidden CSRF field belongs to."""
    session = OperatorSession(session.sid)
    if fault:
        note_refusal(request, fault)
    response = render(
        request,
        "operator_login.html",
        status,
        operator_csrf=runtime.web_access.signer.csrf_token(session.sid),
        fault=fault,
        wait_s=wait_s,
    )
    _set_cookie(runtime, response, session)
    return response


def _set_cookie(runtime: Runtime, response: Response, session: OperatorSession) -> None:
    token = runtime.web_access.signer.sign(_KIND, {"sid": session.sid, "inside": session.logged_in}, OPERATOR_LIFE)
    set_cookie(runtime, response, OPERATOR_COOKIE, token, int(OPERATOR_LIFE.total_seconds()))


def _page_values(runtime: Runtime) -> dict[str, Any]:
    overview = Overview(runtime.registry.database)
    completeness, yesterday = runtime.registry.completeness, runtime.history.today() - ONE_DAY
    # Those that are asked for once a week are rarely of yesterday.
    nightly = [series for series in runtime.registry.outcomes.list_in_use() if series.is_nightly]
    days = {series: newest_wanted_day(runtime.history.today(), series) for series in nightly}
    return {
        "states": overview.count_accounts_by_state(),
        "freshness": {series: completeness.count_complete_since(series, days[series]) for series in nightly},
        "fresh_days": days,
        "fresh_hours": _fresh_hours(runtime, nightly),
        "yesterday": yesterday,
        "quotas": {api: sum(runtime.ledger.used_by_lane(api).values()) for api in runtime.endpoints.preset.quota_names},
        "quota_limit": runtime.calls_per_hour,
        "gate_s": math.ceil(runtime.ledger.closed_for_s()),
        "further_quotas": _further_quotas(runtime),
        "held_requests": len(runtime.connection_requests.list_held()),
        "incidents": runtime.incidents.list_open(),
        "preset": runtime.endpoints.preset.name,
        "proofs": runtime.proof_uploads.list_awaited() if runtime.has_rights else [],
        "errors": overview.list_last_errors(),
        "queues": _queues(runtime),
        "now": runtime.now(),
    }


def _further_quotas(runtime: Runtime) -> list[SupplierQuota]:
    """Return the quota of each supplier beside the first one, by day where it has a limit a day; none where none is."""
    quotas = []
    for name, clients in runtime.suppliers.items():
        if name == runtime.clients.supplier.name:
            continue
        preset = clients.endpoints.preset
        ledger = ledger_of(preset, runtime.settings, runtime.redis)
        used = {
            api: ledger.used_in_a_day(api) if ledger.per_day else sum(ledger.used_by_lane(api).values())
            for api in preset.quota_names
        }
        limit, gate_s = ledger.per_day or ledger.per_hour, math.ceil(ledger.closed_for_s())
        quotas.append(SupplierQuota(name, preset.name, used, limit, bool(ledger.per_day), gate_s))
    return quotas


def _invitations(runtime: Runtime) -> dict[str, Any]:
    """Return the newest open invitations, whether there are more, and the tenants' titles if there are several."""
    newest = runtime.invitations.list(open_only=True, limit=MOST_INVITATIONS + 1)
    tenants = {tenant.id: tenant.title or tenant.id for tenant in runtime.tenants.list()}
    return {
        "tenants": tenants if len(tenants) > 1 else {},
        "energies": list(runtime.suppliers_consents) if len(runtime.suppliers_consents) > 1 else [],
        "invitations": newest[:MOST_INVITATIONS],
        "more_invitations": len(newest) > MOST_INVITATIONS,
        "sends_mail": runtime.inviter.sends_mail,
    }


def _fresh_hours(runtime: Runtime, nightly: Sequence[Series]) -> dict[datetime, dict[Series, HourFreshness | None]]:
    """Return how many active accounts had a complete yesterday, at each stored hour of the last day."""
    rows = runtime.registry.completeness.list_freshness_since(runtime.now() - timedelta(hours=24))
    hours: dict[datetime, dict[Series, HourFreshness | None]] = {}
    for row in rows:
        if row.series in nightly:
            hours.setdefault(row.hour, dict.fromkeys(nightly))[row.series] = row
    return hours


def _queues(runtime: Runtime) -> dict[str, int] | None:
    """Return the length of each queue, or None where the broker doesn't answer: the rest of the page is needed then."""
    try:
        return queue_lengths(runtime.broker_url)
    except StoreUnavailable as error:
        log.warning("queues can't be read", extra=fields(reason=str(error)))
        return None


def _new_sid() -> str:
    return secrets.token_urlsafe(18)
