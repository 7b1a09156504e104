"""How operators sign in and out: by name, password and code, or by a one-time link from the command line.

A session is a row of the registry, opened by the text in the browser's cookie.

A link stands for the password: its maker has the machine. Its secret comes in the fragment, as that of an invitation,
and loading the page uses nothing up.

On a loopback address the password or the link is enough; elsewhere the code of the second factor is always asked, and
looked at after the password alone, so that no answer tells a right code to somebody who lacks the password.
Limits lock out nobody. Wrong tries are counted under their address and name: beyond the limit one try in ten seconds is
looked at, since each costs a hash. Codes are counted under what their person has shown before: the operator's password,
a session or a link. Beyond twenty an hour, one code in 30 s is looked at, as long as a code is shown, so that a guessed
password is not enough for months. The codes of a new link from the command line have a count of their own.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from config.settings import Settings
from worker.domain.audit_entry import TOO_MANY_CODES, ActorKind
from worker.domain.clock import real_clock
from worker.domain.sessions import KEY_LIVES, AccessKey, KeyKind, Operator, plain_name
from worker.logs import fields
from worker.runtime.stores import Stores
from worker.runtime.web_access import WebAccess
from worker.stores.redis.locks import Rate, RateLimiter
from worker.web.client_addresses import client_address, is_on_this_machine, name_device
from worker.web.dependencies import (
    OPERATOR_COOKIE,
    AccessDep,
    Csrf,
    FormRefused,
    SettingsDep,
    StoresDep,
    delete_cookie,
    is_own_form,
    read_cookie,
    set_cookie,
)
from worker.web.rendering import refuse_form, render_message, render_with_form
from worker.web.request_audit import note_actor, note_refusal

log = logging.getLogger("releve.web")
PATH: Final = "/operator"
router = APIRouter(prefix=PATH)
_FORM_LIFE_S: Final = 86_400
_WRONG_TRIES: Final = Rate("operator-login", calls=5, window_s=300)
_LATE_TRIES: Final = Rate("operator-login-late", calls=1, window_s=10)
_CODES: Final = Rate("operator-codes", calls=20, window_s=3600)
_LATE_CODES: Final = Rate("operator-codes-late", calls=1, window_s=30)
_CONFIRMED: Final = "confirmed_at"
_FRESH: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class OperatorSession:
    """The session of an operator who has signed in."""

    key: AccessKey
    operator: Operator


@dataclass(frozen=True, slots=True)
class SignInRefusal:
    """Why somebody is not let in: the key of a text, and its answer's status. ``wait_s``: after the limit."""

    text: str
    status: int = 403
    wait_s: int = 0

    @property
    def values(self) -> dict[str, Any]:
        """What the page shows of it."""
        return {"fault": self.text, "wait_s": self.wait_s}

    def mark(self, response: Response) -> Response:
        """Return the answer with the header that says when to come again."""
        if self.wait_s:
            response.headers["Retry-After"] = str(self.wait_s)
        return response


def sign_in_page(
    request: Request, settings: Settings, refusal: SignInRefusal | None = None, name: str = ""
) -> Response:
    """Return the form of the sign-in, with the cookie that its hidden field belongs to."""
    return _form_page(request, settings, "operator_login.html", refusal, typed_name=name)


@router.post("/login")
def log_in(
    request: Request,
    stores: StoresDep,
    access: AccessDep,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    code: Annotated[str, Form()] = "",
    csrf: Csrf = "",
) -> Response:
    """Let an operator in by name, password and code."""
    if not is_own_form(request, csrf):
        return sign_in_page(request, stores.settings, SignInRefusal("csrf.text"), name)
    checked = check_operator(request, stores, access, name, password, code)
    if isinstance(checked, SignInRefusal):
        return sign_in_page(request, stores.settings, checked, name)
    return _let_in(request, access, checked)


@router.get("/link")
def show_link(request: Request, settings: SettingsDep) -> Response:
    """Show the form of a link. It says nothing of the link, which the server has not seen."""
    return _link_page(request, settings)


@router.post("/link")
def use_link(
    request: Request,
    stores: StoresDep,
    access: AccessDep,
    link: Annotated[str, Form(max_length=2000)] = "",
    code: Annotated[str, Form()] = "",
    csrf: Csrf = "",
) -> Response:
    """Let in the operator whom a link was made for, once. A wrong code leaves the link as it is."""
    if not is_own_form(request, csrf):
        return _link_page(request, stores.settings, SignInRefusal("csrf.text"))
    access, secret = access, link.strip().rpartition("#")[2]  # The whole link may be pasted.
    key = access.keys.find(KeyKind.OPERATOR_LINK, secret)
    operator = access.operators.get(key.owner) if key else None
    if operator is None:
        return render_message(request, "operator.link.over", 404, (PATH, "operator.link.back"))
    if refusal := _check_code(request, stores, access, operator, code, key.id if key else ""):
        return _link_page(request, stores.settings, refusal, link=secret)
    if access.keys.use(KeyKind.OPERATOR_LINK, secret) is None:
        return render_message(request, "operator.link.over", 404, (PATH, "operator.link.back"))
    return _let_in(request, access, operator)


@router.post("/logout")
def log_out(request: Request, access: AccessDep, csrf: Csrf = "") -> Response:
    """End the session: a copy of its cookie opens nothing any more."""
    if (session := load_form_session(request, access, csrf)) is None:
        return refuse_form(request, PATH)
    access.keys.end(session.key.id)
    response = RedirectResponse(PATH, 303)
    delete_cookie(request, response, OPERATOR_COOKIE)
    return response


def _let_in(request: Request, access: WebAccess, operator: Operator) -> Response:
    access.operators.record_sign_in(operator.id)
    log.info("operator signed in", extra=fields(operator=operator.name))
    return open_operator_session(request, access, operator)


def _link_page(
    request: Request, settings: Settings, refusal: SignInRefusal | None = None, *, link: str = ""
) -> Response:
    return _form_page(request, settings, "operator_link.html", refusal, link=link)


def _form_page(
    request: Request, settings: Settings, template: str, refusal: SignInRefusal | None, **values: Any
) -> Response:
    shown = {"fault": None, "wait_s": 0} if refusal is None else refusal.values
    asks_code, status = needs_code(request, settings), refusal.status if refusal else 200
    response: Response = render_with_form(
        request, template, status, form_life_s=_FORM_LIFE_S, asks_code=asks_code, **shown, **values
    )
    return refusal.mark(response) if refusal else response


def load_operator_session(request: Request, access: WebAccess) -> OperatorSession | None:
    """Return the session of the operator whose browser this is; None where nobody has signed in."""
    key = access.keys.find(KeyKind.OPERATOR_SESSION, read_cookie(request, OPERATOR_COOKIE))
    operator = access.operators.get(key.owner) if key else None
    if key is None or operator is None:
        return None
    note_actor(request, ActorKind.OPERATOR, operator.name)
    return OperatorSession(key, operator)


def open_operator_session(request: Request, access: WebAccess, operator: Operator, *, to: str = PATH) -> Response:
    """Return the answer that lets the operator in. The session that the browser had before ends (session fixation)."""
    access, before = access, load_operator_session(request, access)
    note_actor(request, ActorKind.OPERATOR, operator.name)
    device = name_device(request.headers.get("User-Agent", ""))
    _, text = access.keys.create(KeyKind.OPERATOR_SESSION, operator.id, device=device)
    if before is not None:
        access.keys.end(before.key.id)
    longest = KEY_LIVES[KeyKind.OPERATOR_SESSION].longest
    assert longest is not None  # noqa: S101 - each session has an end
    response = RedirectResponse(to, 303)
    set_cookie(request, response, OPERATOR_COOKIE, text, int(longest.total_seconds()))
    return response


def form_token(access: WebAccess, session: OperatorSession) -> str:
    """Return the hidden field of the session's forms."""
    return access.signer.csrf_token(session.key.id)


def load_form_session(request: Request, access: WebAccess, csrf: str) -> OperatorSession | None:
    """Return the session whose page has sent this form; None for a form from elsewhere, or without a session."""
    session = load_operator_session(request, access)
    if session is None or not access.signer.is_valid_csrf_token(session.key.id, csrf):
        return None
    return session


def require_form_session(request: Request, access: AccessDep, csrf: Csrf = "") -> OperatorSession:
    """Return the session whose page has sent this form. Raises FormRefused."""
    session = load_form_session(request, access, csrf)
    if session is None:
        raise FormRefused(PATH)
    return session


FormSession = Annotated[OperatorSession, Depends(require_form_session)]


def needs_code(request: Request, settings: Settings) -> bool:
    """Return whether the code of the second factor is asked for."""
    return not is_on_this_machine(request, settings.public_url)


def check_operator(
    request: Request,
    stores: Stores,
    access: WebAccess,
    name: str,
    password: str,
    code: str,
    session: AccessKey | None = None,
) -> Operator | SignInRefusal:
    """Return the operator whose name, password and code these are, or why nobody is let in.

    ``session``: the one that asks once more; its codes are counted apart.
    """
    if wait_s := _wait_for_late_try(request, stores, name):
        note_refusal(request, "operator.slow")
        return SignInRefusal("operator.slow", 429, wait_s)
    operator = access.operators.check(name, password)
    if operator is None:
        return refuse_try(request, stores, name)
    return _check_code(request, stores, access, operator, code, session.id if session else operator.id) or operator


def _check_code(
    request: Request, stores: Stores, access: WebAccess, operator: Operator, code: str, shown: str
) -> SignInRefusal | None:
    """Use up the operator's code where one is asked for, and return why it is refused.

    ``shown``: the id of what the person has shown before, under which codes are counted.
    """
    if not needs_code(request, stores.settings):
        return None
    limiter = RateLimiter(stores.redis)
    if limiter.count_call(_CODES, shown):
        # Refusals are noted as the operator's: the trail has a bound for visitors all together, which is used up soon.
        note_actor(request, ActorKind.OPERATOR, operator.name)
        note_refusal(request, TOO_MANY_CODES)
        if wait_s := limiter.count_call(_LATE_CODES, shown):
            return SignInRefusal(TOO_MANY_CODES, 429, wait_s)
    is_right = access.operators.use_code(operator.id, code)
    return None if is_right else refuse_try(request, stores, operator.name)


def _wait_for_late_try(request: Request, stores: Stores, name: str) -> int:
    """Return the seconds until the next try beyond the limit is looked at; 0 where this one is."""
    limiter, subject = RateLimiter(stores.redis), _subject(request, name)
    return limiter.closed_for_s(_WRONG_TRIES, subject) and limiter.count_call(_LATE_TRIES, subject)


def refuse_try(request: Request, stores: Stores, name: str) -> SignInRefusal:
    """Count a wrong try, and return its refusal."""
    log.warning("operator login refused", extra=fields(address=client_address(request)))
    wait_s = RateLimiter(stores.redis).count_call(_WRONG_TRIES, _subject(request, name))
    note_refusal(request, "operator.wrong")
    wrong = "operator.wrong.code" if needs_code(request, stores.settings) else "operator.wrong"
    return SignInRefusal("operator.slow", 429, wait_s) if wait_s else SignInRefusal(wrong)


def check_again(
    request: Request, stores: Stores, access: WebAccess, session: OperatorSession, password: str, code: str
) -> SignInRefusal | None:
    """Ask an operator who has signed in for password and code once more; return why they are refused."""
    checked = check_operator(request, stores, access, session.operator.name, password, code, session.key)
    return checked if isinstance(checked, SignInRefusal) else None


def is_fresh(session: OperatorSession) -> bool:
    """Return whether the operator has given password and code, or a link, within the last hour."""
    confirmed = session.key.details.get(_CONFIRMED)
    at = session.key.created_at.timestamp() if confirmed is None else float(confirmed)
    return real_clock().timestamp() < at + _FRESH.total_seconds()


def check_fresh(
    request: Request, stores: Stores, access: WebAccess, session: OperatorSession, password: str, code: str
) -> SignInRefusal | None:
    """Ask for password and code once an hour; return why they are refused."""
    if is_fresh(session):
        return None
    refusal = check_again(request, stores, access, session, password, code)
    if refusal is None:
        confirmed = {**session.key.details, _CONFIRMED: str(real_clock().timestamp())}
        access.keys.set_details(session.key, confirmed)
    return refusal


def _subject(request: Request, name: str) -> str:
    """Return what wrong tries are counted under: the address, and the name as one of 16 groups.

    Groups bound what one address can make us hash and Redis keep, and the count tells nobody which names there are.
    """
    group = hashlib.sha256(plain_name(name).encode("utf-8", "replace")).hexdigest()[:1]
    return f"{client_address(request)}:{group}"
