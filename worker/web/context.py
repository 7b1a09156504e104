"""What every route may ask for: the runtime, the browser's session, and the cookie of a browser in a consent.

``app.state.runtime`` holds the runtime. Routes get it by ``RuntimeDep``, and the session by ``SessionDep``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response

from worker.app import enqueue_backfill, enqueue_revocation, enqueue_withdrawal
from worker.clients.suppliers import GRDF
from worker.domain.measures.series import Series, SeriesSwitch
from worker.errors import StoreUnavailable
from worker.logs import fields
from worker.runtime.process import Runtime
from worker.web.sessions import SESSION_COOKIE, SESSION_LIFE, Session, read_session, sign_session
from worker.web.texts import Words

log = logging.getLogger("releve.web")

BROWSER_COOKIE: Final = "releve_connect"
BROWSER_LIFE: Final = timedelta(days=7)  # As long as a connection request.
RIGHT_STATE: Final = "/connect/right/state"  # Where a browser sees what has become of the right that it declared.
_BROWSER: Final = "browser"  # The kind of the signed value in this cookie.


def get_runtime(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


def get_session(request: Request) -> Session:
    return read_session(get_runtime(request).signer, request.cookies.get(SESSION_COOKIE))


RuntimeDep = Annotated[Runtime, Depends(get_runtime)]
SessionDep = Annotated[Session, Depends(get_session)]


def set_cookie(runtime: Runtime, response: Response, name: str, value: str, max_age_s: int, path: str = "/") -> None:
    """Set a cookie that scripts can't read and that other sites send along with a plain link alone.

    It insists on https where browsers come over it.
    """
    secure = runtime.settings.public_url.startswith("https://")
    response.set_cookie(name, value, max_age=max_age_s, path=path, secure=secure, httponly=True, samesite="lax")


def set_session_cookie(runtime: Runtime, response: Response, session: Session) -> None:
    value = sign_session(runtime.signer, session)
    set_cookie(runtime, response, SESSION_COOKIE, value, int(SESSION_LIFE.total_seconds()))


def read_browser_id(runtime: Runtime, request: Request) -> str | None:
    """Return the id in the browser's cookie, or None for a browser that has begun no consent lately.

    Only the browser that began a consent may end it.
    """
    claims = runtime.signer.read(_BROWSER, request.cookies.get(BROWSER_COOKIE))
    name = claims.get("name") if claims else None
    return name if isinstance(name, str) and name else None


def read_form_browser(runtime: Runtime, request: Request, csrf: str) -> str | None:
    """Return the id of the browser that sent a form of ours; None where the form is not one that it has loaded."""
    browser_id = read_browser_id(runtime, request)
    return browser_id if browser_id and runtime.signer.is_valid_csrf_token(browser_id, csrf) else None


def set_browser_cookie(runtime: Runtime, response: Response, browser_id: str) -> None:
    """Set the cookie with the browser's id. Several consents at once, in several tabs, share it."""
    value = runtime.signer.sign(_BROWSER, {"name": browser_id}, BROWSER_LIFE)
    set_cookie(runtime, response, BROWSER_COOKIE, value, int(BROWSER_LIFE.total_seconds()))


def hash_browser_id(browser_id: str) -> str:
    """Return how the stores know a browser: whoever reads them can't make its cookie."""
    return hashlib.sha256(browser_id.encode()).hexdigest()


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
