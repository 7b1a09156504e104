"""The second half of a consent: back from the supplier's page, failures first.

A state works once and in the browser that began.  What came of it is remembered: the portal may load a callback
twice, and a person may press "reload" (upstream-apis, 1.12).  Where nothing came of it yet, the state is put back
and the page comes again by itself.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import replace
from typing import Any, Final

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from worker.accounts.connect import Connected, connect
from worker.app import publish_backfill
from worker.clients.enedis.consent import LONGEST_STATE, Callback, read_callback
from worker.errors import (
    AccountError,
    ConsentNotThere,
    RefreshTokenDead,
    StoreUnavailable,
    TransientError,
    WorkerError,
)
from worker.logs import fields
from worker.runtime.process import Runtime
from worker.stores.redis.consent_flows import ConsentFlow, ConsentFlows
from worker.web.consent.proxy_return import forward, forward_again
from worker.web.context import ServiceContext, browser_of
from worker.web.render import render
from worker.web.sessions import Session

log = logging.getLogger("releve.web")

_STATE: Final = re.compile(rf"[A-Za-z0-9_-]{{20,{LONGEST_STATE}}}", re.ASCII)
_RELOAD_S: Final = (3, 5, 10, 20, 30)
_PATIENCE_S: Final = 5.0
_POLL_S: Final = 0.1
_START: Final = ("/connect/enedis", "connect.again")
_HOME: Final = ("/", "connect.home")
_PAGES: Final[dict[str, tuple[int, tuple[str, str]]]] = {  # by name: status and what to do next
    "access_denied": (403, _START),
    "server_error": (502, _START),
    "no_usage_point": (400, _START),
    "refused": (400, _START),
    "unknown_state": (400, _START),
    "foreign_state": (403, _START),
    "code_refused": (400, _START),
    "unusable": (502, _HOME),
    "known_elsewhere": (403, _HOME),
}


def arrive(request: Request, house: ServiceContext, session: Session) -> Response:
    """The answer to a callback, whichever address it came to."""
    callback = read_callback(request.query_params.multi_items())
    handshakes, state = ConsentFlows(house.runtime.redis), callback.state
    if not _STATE.fullmatch(state):
        return _page(request, _failure_page(callback) if callback.failure else "unknown_state")
    handshake, browser = handshakes.look(state), browser_of(house, request)
    if handshake is None:
        return _again(request, house, session, callback, browser)
    if handshake.for_proxy:
        return forward(house.runtime, handshakes, callback) or _again(request, house, session, callback, browser)
    if browser is None or handshake.browser != browser:
        return _page(request, "foreign_state")  # and the state stays, for the browser that it belongs to
    taken = handshakes.take(state)
    if taken is None:  # the same callback, loaded at the same moment
        return _again(request, house, session, callback, browser)
    return _conclude(request, house, session, callback, taken)


def _conclude(
    request: Request, house: ServiceContext, session: Session, callback: Callback, handshake: ConsentFlow
) -> Response:
    handshakes = ConsentFlows(house.runtime.redis)
    try:
        outcome = _outcome(house.runtime, session, callback, handshake)
    except TransientError as error:
        log.info("consent not concluded yet", extra=fields(tries=handshake.tries + 1, reason=str(error)))
        handshakes.put_back(callback.state, replace(handshake, tries=handshake.tries + 1))
        return _wait(request, "not_there" if isinstance(error, ConsentNotThere) else "unavailable", handshake.tries)
    handshakes.finish(callback.state, handshake.browser, outcome)
    return _show(request, house, session, outcome)


def _outcome(runtime: Runtime, session: Session, callback: Callback, handshake: ConsentFlow) -> dict[str, Any]:
    """What came of it, for good.  Raises TransientError where that can't be told yet."""
    if callback.failure:
        return {"page": _failure_page(callback)}
    try:
        connected = connect(runtime, callback)
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
    _enqueue(runtime, connected)
    return _let_in(connected, session, handshake)


def _enqueue(runtime: Runtime, connected: Connected) -> None:
    """After the commit.  A lost message is no loss: the reconciler finds the accounts."""
    for account in connected.accounts:
        log.info("consent given", extra=fields(account_id=account.id, new=account.id not in connected.known))
        try:
            if account.active:
                runtime.dispatcher.readmit(account.id)
                publish_backfill(runtime, account.id)
        except StoreUnavailable as error:
            told = fields(account_id=account.id, reason=str(error))
            log.warning("backfill not enqueued: the reconciler will", extra=told)


def _let_in(connected: Connected, session: Session, handshake: ConsentFlow) -> dict[str, Any]:
    """Which accounts this browser may see from now on.

    A new account is whoever's brought it about.  One that was there before holds a household's measures: it opens
    to whom the supplier vouched for, who had it open already, and who came by its renewal link.  Not to everybody
    who writes a meter's number, or the number of a consent, into a callback's address (v5, 2026).
    """
    trusted = {*session.accounts, handshake.renews}
    ids = [account.id for account in connected.accounts]
    open_to = [id_ for id_ in ids if connected.proven or id_ not in connected.known or id_ in trusted]
    if not open_to:
        return {"page": "known_elsewhere"}
    first = handshake.renews if handshake.renews in open_to else open_to[0]
    outcome: dict[str, Any] = {"accounts": open_to, "go": f"/accounts/{first}"}
    if handshake.renews is not None and handshake.renews not in ids:
        outcome["page"] = "other_meter"
    return outcome


def _again(
    request: Request, house: ServiceContext, session: Session, callback: Callback, browser: str | None
) -> Response:
    """A callback whose state is gone: show what came of it, or wait for whoever is finding out."""
    handshakes = ConsentFlows(house.runtime.redis)
    if (forwarded := forward_again(house.runtime, handshakes, callback.state)) is not None:
        return forwarded
    give_up = time.monotonic() + _PATIENCE_S
    while browser is not None and (outcome := handshakes.outcome(callback.state, browser)) is not None:
        if outcome:
            return _show(request, house, session, outcome)
        if time.monotonic() > give_up:
            return _wait(request, "working", 0)
        time.sleep(_POLL_S)
    return _page(request, _failure_page(callback) if callback.failure else "unknown_state")


def _show(request: Request, house: ServiceContext, session: Session, outcome: dict[str, Any]) -> Response:
    accounts: list[str] = outcome.get("accounts", [])
    page: str | None = outcome.get("page")
    go: str = outcome.get("go", "/")
    if page == "other_meter":
        response: Response = _render(request, page, 200, (go, "connect.open"))
    elif page is not None:
        response = _page(request, page)
    else:
        response = RedirectResponse(go, 303)
    if not set(accounts) <= set(session.accounts):  # rights change, so the session is a new one
        house.remember(response, session.owning(*accounts))
    return response


def _wait(request: Request, name: str, tries: int) -> Response:
    """A page that comes again by itself, each time a little later."""
    wait_s = _RELOAD_S[min(tries, len(_RELOAD_S) - 1)]
    response = _render(request, name, 503 if name == "unavailable" else 202, _HOME)
    response.headers["Refresh"] = str(wait_s)
    response.headers["Retry-After"] = str(wait_s)
    return response


def _page(request: Request, name: str) -> Response:
    status, action = _PAGES[name]
    return _render(request, name, status, action)


def _render(request: Request, name: str, status: int, action: tuple[str, str]) -> Response:
    return render(
        request, "message.html", status, title=f"connect.{name}.title", text=f"connect.{name}.text", action=action
    )


def _failure_page(callback: Callback) -> str:
    """The page of a failure; words that we don't know share one."""
    return callback.failure if callback.failure in ("access_denied", "server_error", "no_usage_point") else "refused"
