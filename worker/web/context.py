"""What every route may ask for: the runtime, the browser's session, and its cookies.

``app.state.runtime`` holds the runtime. Routes get it by ``RuntimeDep``, and the session by ``SessionDep``.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response

from worker.app import enqueue_backfill, enqueue_revocation, enqueue_withdrawal
from worker.clients.suppliers import GRDF
from worker.domain.account import Account
from worker.domain.audit_entry import ActorKind, AuditAction
from worker.domain.connection_request import ConnectedAccount
from worker.domain.series import Series, SeriesSwitch
from worker.domain.sessions import KEY_LIVES, KeyKind
from worker.errors import StoreUnavailable
from worker.logs import fields
from worker.runtime.sync_parts import Runtime
from worker.web.audit import note_actor, note_event
from worker.web.devices import name_device
from worker.web.home.local_session import LocalSession, is_local
from worker.web.sessions import SESSION_COOKIE, Session, load_session, open_session
from worker.web.texts import Words

log = logging.getLogger("releve.web")
FORM_COOKIE: Final = "releve_form"
RIGHT_STATE: Final = "/connect/right/state"  # Where a browser sees what has become of the right that it declared.


def get_runtime(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


def get_session(request: Request) -> Session:
    """Return the session of the browser, loaded once a request."""
    session = getattr(request.state, "session", None)
    if session is None:
        runtime = get_runtime(request)
        cookie = read_cookie(runtime, request, SESSION_COOKIE)
        session = load_session(runtime.web_access, cookie)
        if runtime.settings.is_home:
            session = _session_of_home(request, runtime, session)
        request.state.session = session
        note_household(request, session)
    return session


def _session_of_home(request: Request, runtime: Runtime, session: Session) -> Session:
    """Return a session of a home, which shows every account that there is now; its own computer needs no cookie."""
    local: LocalSession = request.app.state.local_session
    if session.key is None and local.is_open and is_local(request):
        session = local.load()
    return session if session.key is None else replace(session, household=runtime.web_access.home.household())


RuntimeDep = Annotated[Runtime, Depends(get_runtime)]
SessionDep = Annotated[Session, Depends(get_session)]


def note_household(request: Request, session: Session) -> None:
    """Note for the audit trail that a household acts."""
    if session.key is not None:
        note_actor(request, ActorKind.HOUSEHOLD, session.key.id)


def set_cookie(runtime: Runtime, response: Response, name: str, value: str, max_age_s: int) -> None:
    """Set a cookie that scripts can't read and that other sites send along with a plain link alone.

    Where browsers come over https it insists on that, and its name has the prefix ``__Host-``: no other host and no
    plain connection can plant one.
    """
    response.set_cookie(
        cookie_name(runtime, name),
        value,
        max_age=max_age_s,
        secure=_has_https(runtime),
        httponly=True,
        samesite="lax",
    )


def delete_cookie(runtime: Runtime, response: Response, name: str) -> None:
    response.delete_cookie(cookie_name(runtime, name), secure=_has_https(runtime), httponly=True, samesite="lax")


def read_cookie(runtime: Runtime, request: Request, name: str) -> str | None:
    return request.cookies.get(cookie_name(runtime, name))


def cookie_name(runtime: Runtime, name: str) -> str:
    """Return the name under which browsers know one of our cookies."""
    return f"__Host-{name}" if _has_https(runtime) else name


def _has_https(runtime: Runtime) -> bool:
    return runtime.settings.public_url.startswith("https://")


def show_accounts(
    runtime: Runtime,
    request: Request,
    response: Response,
    session: Session,
    accounts: Iterable[Account | ConnectedAccount],
) -> None:
    """Let the browser see these accounts from now on, beside those of its session.

    Without https a cookie can be planted, so that they join no household that was there before.
    """
    device = name_device(request.headers.get("User-Agent", ""))
    opened, text = open_session(runtime.web_access, session, accounts, device, joins=_has_https(runtime))
    set_session_cookie(runtime, response, text)
    note_household(request, opened)
    note_event(request, AuditAction.SESSION_OPEN)


def set_session_cookie(runtime: Runtime, response: Response, text: str) -> None:
    """Give a browser the cookie of a session; it lives as long as the session may at most."""
    longest = KEY_LIVES[KeyKind.HOUSEHOLD_SESSION].longest
    assert longest is not None  # noqa: S101 - each session has an end
    set_cookie(runtime, response, SESSION_COOKIE, text, int(longest.total_seconds()))


def new_form(runtime: Runtime, request: Request) -> tuple[str, str]:
    """Return the value of the cookie and of the hidden field of a form for a browser that has no session.

    The page sets the cookie (``FORM_COOKIE``), and what the form leads to asks ``is_own_form``.
    """
    value = read_cookie(runtime, request, FORM_COOKIE) or secrets.token_urlsafe(18)
    return value, runtime.web_access.signer.csrf_token(value)


def is_session_form(runtime: Runtime, session: Session, csrf: str | None) -> bool:
    """Return whether a form, or a script's header, is of a page of this session."""
    return session.key is not None and runtime.web_access.signer.is_valid_csrf_token(session.sid, csrf)


def is_own_form(runtime: Runtime, request: Request, csrf: str) -> bool:
    """Return whether a form without a session is one that this browser has loaded from us."""
    value = read_cookie(runtime, request, FORM_COOKIE)
    return value is not None and runtime.web_access.signer.is_valid_csrf_token(value, csrf)


def name_service(runtime: Runtime, tenant: str, words: Words) -> str:
    """Return the title of a tenant's service; without one, the host of our address, where that is a name."""
    if title := runtime.tenants.title_of(tenant):
        return title
    host = urlsplit(runtime.settings.public_url).hostname or ""
    is_name = "." in host and not host.replace(".", "").isdigit()
    return host if is_name else words("account.reader.this_service")


def needs_invitation(runtime: Runtime, supplier: str) -> bool:
    """Return whether nobody connects a meter of this supplier without an invitation."""
    clients = runtime.suppliers.get(supplier)
    return clients is None or not clients.account_tokens


def gas_suffix(runtime: Runtime) -> str:
    """Return the end of the keys of texts that speak of gas as well; nothing where there is no gas."""
    return ".both" if GRDF.name in runtime.suppliers else ""


def has_shares(runtime: Runtime, supplier: str) -> bool:
    """Return whether a consent is a share that its holder deletes at the supplier before giving a new one."""
    clients = runtime.suppliers.get(supplier)
    return clients is not None and clients.endpoints.preset.consent_style == "autorisation"


def publish_backfills(runtime: Runtime, account_ids: Iterable[str]) -> None:
    """Publish the backfills after the commit. A lost message does no harm: the reconciler finds the accounts."""
    for account_id in account_ids:
        try:
            enqueue_backfill(account_id, broker_url=runtime.broker_url)
        except StoreUnavailable as error:
            log.warning("backfill not published", extra=fields(account_id=account_id, reason=str(error)))


def switch_series(runtime: Runtime, account_id: str, switches: Mapping[Series, SeriesSwitch]) -> None:
    """Set these switches of an account, and publish its backfill where anything is asked for that was not.

    Raises ValueError, before anything is changed, for a series that the supplier does not offer.
    """
    if runtime.series_chooser.choose(account_id, switches):
        publish_backfills(runtime, [account_id])


def publish_revocation(runtime: Runtime) -> None:
    """Publish the revocation of tokens and rights that no account has any more.

    A lost message does no harm: beat sends it.
    """
    try:
        if runtime.clients.account_tokens:
            enqueue_revocation(broker_url=runtime.broker_url)
        if runtime.has_rights:
            enqueue_withdrawal(broker_url=runtime.broker_url)
    except StoreUnavailable as error:
        log.warning("revocation not published", extra=fields(reason=str(error)))
