"""The session of an operator's browser: a row of the registry, opened by the text in the browser's cookie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from worker.domain.audit_entry import ActorKind
from worker.domain.sessions import KEY_LIVES, AccessKey, KeyKind, Operator
from worker.runtime.sync_parts import Runtime
from worker.web.audit import note_actor
from worker.web.context import read_cookie, set_cookie
from worker.web.devices import name_device
from worker.web.sessions import OPERATOR_COOKIE

PATH: Final = "/operator"


@dataclass(frozen=True, slots=True)
class OperatorSession:
    """The session of an operator who has signed in."""

    key: AccessKey
    operator: Operator


def load_operator_session(request: Request, runtime: Runtime) -> OperatorSession | None:
    """Return the session of the operator whose browser this is; None where nobody has signed in."""
    access = runtime.web_access
    key = access.keys.find(KeyKind.OPERATOR_SESSION, read_cookie(runtime, request, OPERATOR_COOKIE))
    operator = access.operators.get(key.owner) if key else None
    if key is None or operator is None:
        return None
    note_actor(request, ActorKind.OPERATOR, operator.name)
    return OperatorSession(key, operator)


def open_operator_session(request: Request, runtime: Runtime, operator: Operator, *, to: str = PATH) -> Response:
    """Return the answer that lets the operator in. The session that the browser had before ends (session fixation)."""
    access, before = runtime.web_access, load_operator_session(request, runtime)
    note_actor(request, ActorKind.OPERATOR, operator.name)
    device = name_device(request.headers.get("User-Agent", ""))
    _, text = access.keys.create(KeyKind.OPERATOR_SESSION, operator.id, device=device)
    if before is not None:
        access.keys.end(before.key.id)
    longest = KEY_LIVES[KeyKind.OPERATOR_SESSION].longest
    assert longest is not None  # noqa: S101 - each session has an end
    response = RedirectResponse(to, 303)
    set_cookie(runtime, response, OPERATOR_COOKIE, text, int(longest.total_seconds()))
    return response


def form_token(runtime: Runtime, session: OperatorSession) -> str:
    """Return the hidden field of the session's forms."""
    return runtime.web_access.signer.csrf_token(session.key.id)


def is_logged_in(request: Request, runtime: Runtime) -> bool:
    """Return whether the browser is that of an operator who has signed in."""
    return load_operator_session(request, runtime) is not None


def load_form_session(request: Request, runtime: Runtime, csrf: str) -> OperatorSession | None:
    """Return the session whose page has sent this form; None for a form from elsewhere, or without a session."""
    session = load_operator_session(request, runtime)
    if session is None or not runtime.web_access.signer.is_valid_csrf_token(session.key.id, csrf):
        return None
    return session


def may_change(request: Request, runtime: Runtime, csrf: str) -> bool:
    """Return whether a form comes from the page of an operator who has signed in."""
    return load_form_session(request, runtime, csrf) is not None
