"""The second half of a consent: the callback from the supplier's page.

A state works once, and only in the browser that began. Its outcome is stored, because Enedis' portal may load a
callback twice and a person may press "reload". Where the supplier doesn't know the consent yet or doesn't answer,
the state is put back and the page reloads itself.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import replace
from typing import Any, Final

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from worker.accounts.connect import ConnectedAccounts
from worker.clients.enedis.consent import LONGEST_STATE, Callback, read_callback
from worker.clients.suppliers import ENEDIS
from worker.errors import (
    AccountError,
    ConsentNotThere,
    RefreshTokenDead,
    TransientError,
    WorkerError,
)
from worker.logs import fields
from worker.runtime.process import Runtime
from worker.stores.redis.consent_flows import ConsentFlow, ConsentFlows
from worker.web.consent.proxy_return import forward_callback, repeat_forward
from worker.web.context import publish_backfill, read_browser_id, set_session_cookie
from worker.web.render import render_message
from worker.web.sessions import Session

log = logging.getLogger("releve.web")

_STATE: Final = re.compile(rf"[A-Za-z0-9_-]{{20,{LONGEST_STATE}}}", re.ASCII)
_RELOAD_AFTER_S: Final = (3, 5, 10, 20, 30)  # By the number of tries before.
_LONGEST_WAIT_S: Final = 5.0
_POLL_S: Final = 0.1
_START_AGAIN: Final = (f"/connect/{ENEDIS.name}", "connect.again")
_HOME: Final = ("/", "connect.home")
_PAGES: Final[dict[str, tuple[int, tuple[str, str]]]] = {  # Name of a page -> its status and what to do next.
    "unknown_supplier": (404, _HOME),
    "too_many": (429, _HOME),
    "no_consent_page": (503, _HOME),
    "link_expired": (410, _START_AGAIN),
    "account_gone": (410, _START_AGAIN),
    "not_there": (202, _HOME),
    "working": (202, _HOME),
    "unavailable": (503, _HOME),
    "access_denied": (403, _START_AGAIN),
    "server_error": (502, _START_AGAIN),
    "no_usage_point": (400, _START_AGAIN),
    "refused": (400, _START_AGAIN),
    "unknown_state": (400, _START_AGAIN),
    "foreign_state": (403, _START_AGAIN),
    "code_refused": (400, _START_AGAIN),
    "unusable": (502, _HOME),
    "known_elsewhere": (403, _HOME),
}


def answer_callback(request: Request, runtime: Runtime, session: Session) -> Response:
    """Answer a callback, whichever of our addresses it came to."""
    callback = read_callback(request.query_params.multi_items())
    flows, state = ConsentFlows(runtime.redis), callback.state
    if not _STATE.fullmatch(state):
        return consent_page(request, _failure_page(callback) if callback.failure else "unknown_state")
    flow, browser_id = flows.read(state), read_browser_id(runtime, request)
    if flow is None:
        return _answer_repeated(request, runtime, session, callback, browser_id)
    if flow.for_proxy:
        return forward_callback(runtime, flows, callback) or _answer_repeated(
            request, runtime, session, callback, browser_id
        )
    if browser_id is None or flow.browser != browser_id:
        # The state isn't taken: it stays for the browser that it belongs to.
        return consent_page(request, "foreign_state")
    own_flow = flows.take(state)
    if own_flow is None:  # Another request with the same callback has just taken it.
        return _answer_repeated(request, runtime, session, callback, browser_id)
    return _finish_flow(request, runtime, session, callback, own_flow)


def _finish_flow(
    request: Request, runtime: Runtime, session: Session, callback: Callback, flow: ConsentFlow
) -> Response:
    flows = ConsentFlows(runtime.redis)
    try:
        outcome = _find_outcome(runtime, session, callback, flow)
    except TransientError as error:
        log.info("consent not concluded yet", extra=fields(tries=flow.tries + 1, reason=str(error)))
        flows.restore(callback.state, replace(flow, tries=flow.tries + 1))
        return _waiting_page(request, "not_there" if isinstance(error, ConsentNotThere) else "unavailable", flow.tries)
    flows.finish(callback.state, flow.browser, outcome)
    return _answer_outcome(request, runtime, session, outcome)


def _find_outcome(runtime: Runtime, session: Session, callback: Callback, flow: ConsentFlow) -> dict[str, Any]:
    """Connect the accounts of a consent and return the final outcome. Raises TransientError where there is none yet."""
    if callback.failure:
        return {"page": _failure_page(callback)}
    try:
        connected = runtime.connector.connect(callback)
    except RefreshTokenDead:
        return {"page": "code_refused"}
    except AccountError as error:
        log.info("consent without a usable meter", extra=fields(code=error.code, reason=str(error)))
        return {"page": "no_usage_point"}
    except TransientError:
        raise
    except WorkerError as error:
        log.error("consent can't be concluded", extra=fields(code=error.code, reason=str(error)))
        return {"page": "unusable"}
    for account in connected.accounts:
        log.info("consent given", extra=fields(account_id=account.id, new=account.id not in connected.existing_ids))
        publish_backfill(runtime, account)
    return _grant_access(connected, session, flow)


def _grant_access(connected: ConnectedAccounts, session: Session, flow: ConsentFlow) -> dict[str, Any]:
    """Return the outcome of a consent: the accounts that this browser may see from now on, and the next page.

    A new account opens to the browser that connected it. An account that was there before holds a household's
    measures. It opens where the supplier proves whose meter it is (v4), where this browser had it open already, and
    after its renewal link. With v5 and 2026 anybody can write the number of a meter or of a consent into a callback's
    address, so the callback alone opens nothing.
    """
    trusted = {*session.accounts, flow.renews}
    ids = [account.id for account in connected.accounts]
    visible_ids = [id_ for id_ in ids if connected.proven or id_ not in connected.existing_ids or id_ in trusted]
    if not visible_ids:
        return {"page": "known_elsewhere"}
    first = flow.renews if flow.renews in visible_ids else visible_ids[0]
    outcome: dict[str, Any] = {"accounts": visible_ids, "go": f"/accounts/{first}"}
    if flow.renews is not None and flow.renews not in ids:
        outcome["page"] = "other_meter"
    return outcome


def _answer_repeated(
    request: Request, runtime: Runtime, session: Session, callback: Callback, browser_id: str | None
) -> Response:
    """Answer a callback whose state is gone: with its outcome, once the request that works on it has one."""
    flows = ConsentFlows(runtime.redis)
    if (redirect := repeat_forward(runtime, flows, callback.state)) is not None:
        return redirect
    give_up_at = time.monotonic() + _LONGEST_WAIT_S
    while browser_id is not None and (outcome := flows.outcome(callback.state, browser_id)) is not None:
        if outcome:
            return _answer_outcome(request, runtime, session, outcome)
        if time.monotonic() > give_up_at:
            return _waiting_page(request, "working", 0)
        time.sleep(_POLL_S)
    return consent_page(request, _failure_page(callback) if callback.failure else "unknown_state")


def _answer_outcome(request: Request, runtime: Runtime, session: Session, outcome: dict[str, Any]) -> Response:
    accounts: list[str] = outcome.get("accounts", [])
    page: str | None = outcome.get("page")
    next_path: str = outcome.get("go", "/")
    if page == "other_meter":
        response: Response = render_message(request, f"connect.{page}", 200, (next_path, "connect.open"))
    elif page is not None:
        response = consent_page(request, page)
    else:
        response = RedirectResponse(next_path, 303)
    if not set(accounts) <= set(session.accounts):
        # Rights change, so the session gets a new id (session fixation).
        set_session_cookie(runtime, response, session.with_accounts(*accounts))
    return response


def _waiting_page(request: Request, name: str, tries: int) -> Response:
    """Return a page that reloads itself, each time after a longer wait."""
    wait_s = _RELOAD_AFTER_S[min(tries, len(_RELOAD_AFTER_S) - 1)]
    response = consent_page(request, name, wait_s)
    response.headers["Refresh"] = str(wait_s)
    return response


def consent_page(request: Request, name: str, wait_s: int = 0) -> Response:
    """Return the page of an outcome. ``wait_s`` says when to come again."""
    status, action = _PAGES[name]
    response = render_message(request, f"connect.{name}", status, action)
    if wait_s:
        response.headers["Retry-After"] = str(wait_s)
    return response


def _failure_page(callback: Callback) -> str:
    """Return the name of a failure's page. Failures that we don't know share one."""
    return callback.failure if callback.failure in ("access_denied", "server_error", "no_usage_point") else "refused"
