"""How operators sign in and out: by name, password and code, or by a one-time link from the command line.

A session is a row of the registry, opened by the text in the browser's cookie.

A link replaces the password, because only a person with access to the machine can make a link. The link's secret is in
the fragment, like an invitation's secret, and loading the page doesn't use the link up.

On a loopback address the password or the link is enough. Elsewhere the code of the second factor is always required,
and checked only after the password, so that no answer confirms a code to somebody who lacks the password. Limits lock
nobody out. Wrong attempts are limited because each check computes a hash. They are counted by address and group of
names; beyond the limit, one attempt in ten seconds is checked. Codes are counted by what the person has already shown:
the operator's password, a session or a link. So if somebody else uses up the count of the password, a new link from the
command line has its own. Beyond twenty codes an hour, one code in 30 s is checked, so that a person with a guessed
password would need months to guess a code.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from worker.domain.audit_entry import TOO_MANY_CODES, ActorKind, AuditAction
from worker.domain.clock import real_clock
from worker.domain.sessions import AccessKey, KeyKind, Operator, Role, plain_name
from worker.logs import fields
from worker.stores.redis.locks import Rate, RateLimiter
from worker.stores.registry import Registry
from worker.web.client_addresses import is_on_this_machine
from worker.web.dependencies import (
    OPERATOR_COOKIE,
    Csrf,
    EarlyAnswer,
    FormRefused,
    Visit,
    VisitDep,
    check_own_form,
    delete_cookie,
    note_visit,
    read_cookie,
    set_session_cookie,
)
from worker.web.rendering import OPERATOR_PATH, render_message, render_with_form
from worker.web.request_audit import note_actor, note_refusal

log = logging.getLogger("releve.web")
PATH: Final = OPERATOR_PATH
router = APIRouter(prefix=PATH)
LONGEST_TEXT: Final = 100  # The most characters of a text that an operator types to search.
_FORM_LIFE_S: Final = 86_400
_WRONG_TRIES: Final = Rate("operator-login", calls=5, window_s=300)
_LATE_TRIES: Final = Rate("operator-login-late", calls=1, window_s=10)
_CODES: Final = Rate("operator-codes", calls=20, window_s=3600)
_LATE_CODES: Final = Rate("operator-codes-late", calls=1, window_s=30)
_CONFIRMED: Final = "confirmed_at"
_FRESH: Final = timedelta(hours=1)


class OperatorVisit(Visit):
    """The visit of a signed-in operator. ``key``: the key of the operator's session."""

    def __init__(self, request: Request, key: AccessKey, operator: Operator) -> None:
        super().__init__(request)
        self.key, self.operator = key, operator

    @property
    def is_fresh(self) -> bool:
        """Whether the operator has given password and code, or a link, within the last hour."""
        confirmed = self.key.details.get(_CONFIRMED)
        at = self.key.created_at.timestamp() if confirmed is None else float(confirmed)
        return real_clock().timestamp() < at + _FRESH.total_seconds()

    def query_text(self, name: str) -> str:
        """Return a parameter of the address, cut to ``LONGEST_TEXT``; empty if it is missing."""
        return self.request.query_params.get(name, "")[:LONGEST_TEXT].replace("\x00", "")

    def describe(self) -> dict[str, Any]:
        """Return the values for pages with forms: the hidden field, and what the operator may send or must repeat."""
        csrf, is_admin = self.access.signer.csrf_token(self.key.id), self.operator.role is Role.ADMIN
        return {"operator_csrf": csrf, "is_admin": is_admin, "asks_code": needs_code(self), "is_fresh": self.is_fresh}


def load_operator(visit: Visit) -> OperatorVisit | None:
    """Return the visit of the operator whose browser this is; None if nobody has signed in."""
    key = visit.access.keys.find(KeyKind.OPERATOR_SESSION, read_cookie(visit.request, OPERATOR_COOKIE))
    operator = visit.access.operators.get(key.owner) if key else None
    if key is None or operator is None:
        return None
    note_actor(visit.request, ActorKind.OPERATOR, operator.name)
    note_visit(visit.request, key.id, partial(visit.access.keys.record_visit, key))
    return OperatorVisit(visit.request, key, operator)


def require_operator(visit: VisitDep) -> OperatorVisit:
    """Return the operator's visit; send any other browser to the sign-in page."""
    operator = load_operator(visit)
    if operator is None:
        raise EarlyAnswer(RedirectResponse(PATH, 303))
    return operator


def require_form(visit: VisitDep, csrf: Csrf = "") -> OperatorVisit:
    """Return the visit of the operator whose page sent this form. Raises FormRefused for any other form."""
    operator = load_operator(visit)
    if operator is None or not visit.access.signer.is_valid_csrf_token(operator.key.id, csrf):
        raise FormRefused(PATH)
    return operator


def require_admin_form(operator: Annotated[OperatorVisit, Depends(require_form)]) -> OperatorVisit:
    """Return the visit of an operator with the role ``admin`` whose page sent this form, like ``require_form``."""
    return check_admin(operator)


def check_admin(visit: OperatorVisit) -> OperatorVisit:
    """Return the visit; tell an operator who isn't an administrator that their role doesn't allow this."""
    if visit.operator.role is not Role.ADMIN:
        note_refusal(visit.request, "operator.admins_only")
        raise EarlyAnswer(render_message(visit.request, "operator.admins_only", 403, (PATH, "operator.title")))
    return visit


OperatorDep = Annotated[OperatorVisit, Depends(require_operator)]
OperatorForm = Annotated[OperatorVisit, Depends(require_form)]  # For a form sent from the operator's own page.
AdminForm = Annotated[OperatorVisit, Depends(require_admin_form)]


@dataclass(frozen=True, slots=True)
class SignInRefusal:
    """Why a sign-in is refused: a text's key and the answer's status. ``wait_s``: seconds to wait, 0 for none."""

    text: str
    status: int = 403
    wait_s: int = 0


def sign_in_page(visit: Visit, refusal: SignInRefusal | None = None, name: str = "") -> Response:
    """Return the sign-in form, and set the cookie to which the form's hidden field belongs."""
    return _form_page(visit, "operator_login.html", refusal, typed_name=name)


@router.post("/login", name=AuditAction.SESSION_OPEN)
def log_in(
    visit: VisitDep,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    code: Annotated[str, Form()] = "",
    csrf: Csrf = "",
) -> Response:
    try:
        check_own_form(visit.request, csrf, PATH)
    except FormRefused:
        return sign_in_page(visit, SignInRefusal("csrf.text"), name)
    checked = check_operator(visit, name, password, code)
    return sign_in_page(visit, checked, name) if isinstance(checked, SignInRefusal) else _let_in(visit, checked)


@router.get("/link")
def show_link(visit: VisitDep) -> Response:
    """Show the form for a sign-in link. The form shows nothing about the link, because the server has not seen it."""
    return _link_page(visit)


@router.post("/link", name=AuditAction.SESSION_OPEN)
def use_link(
    visit: VisitDep,
    link: Annotated[str, Form(max_length=2000)] = "",
    code: Annotated[str, Form()] = "",
    csrf: Csrf = "",
) -> Response:
    """Sign in the operator for whom a link was made. A link works only once, but a wrong code doesn't use it up."""
    try:
        check_own_form(visit.request, csrf, PATH)
    except FormRefused:
        return _link_page(visit, SignInRefusal("csrf.text"))
    keys, secret = visit.access.keys, link.strip().rpartition("#")[2]  # The whole link may be pasted.
    key = keys.find(KeyKind.OPERATOR_LINK, secret)
    operator = visit.access.operators.get(key.owner) if key else None
    if operator and (refusal := _check_code(visit, operator, code, key.id if key else "")):
        return _link_page(visit, refusal, link=secret)
    if operator is None or keys.use(KeyKind.OPERATOR_LINK, secret) is None:
        return render_message(visit.request, "operator.link.over", 404, (PATH, "operator.link.back"))
    return _let_in(visit, operator)


@router.post("/logout", name=AuditAction.SESSION_END)
def log_out(visit: OperatorForm) -> Response:
    """End the session: a copy of its cookie no longer works."""
    visit.access.keys.end(visit.key.id)
    response = RedirectResponse(PATH, 303)
    delete_cookie(visit.request, response, OPERATOR_COOKIE)
    return response


def _let_in(visit: Visit, operator: Operator) -> Response:
    visit.access.operators.record_sign_in(operator.id)
    log.info("operator signed in", extra=fields(operator=operator.name))
    return open_operator_session(visit, operator)


def _link_page(visit: Visit, refusal: SignInRefusal | None = None, *, link: str = "") -> Response:
    return _form_page(visit, "operator_link.html", refusal, link=link)


def _form_page(visit: Visit, template: str, refusal: SignInRefusal | None, **values: Any) -> Response:
    status, fault, wait_s = (refusal.status, refusal.text, refusal.wait_s) if refusal else (200, None, 0)
    values |= {"asks_code": needs_code(visit), "fault": fault, "wait_s": wait_s}
    return render_with_form(visit.request, template, status, form_life_s=_FORM_LIFE_S, **values)


def open_operator_session(visit: Visit, operator: Operator, *, to: str = PATH) -> Response:
    """Return the answer that signs the operator in. The browser's previous session ends (against session fixation)."""
    keys, before = visit.access.keys, load_operator(visit)
    note_actor(visit.request, ActorKind.OPERATOR, operator.name)
    _, text = keys.create(KeyKind.OPERATOR_SESSION, operator.id, device=visit.device)
    if before is not None:
        keys.end(before.key.id)
    response = RedirectResponse(to, 303)
    set_session_cookie(visit.request, response, OPERATOR_COOKIE, text)
    return response


def needs_code(visit: Visit) -> bool:
    return not is_on_this_machine(visit.request, visit.settings.public_url)


def check_operator(
    visit: Visit, name: str, password: str, code: str, session: AccessKey | None = None
) -> Operator | SignInRefusal:
    """Return the operator with this name, password and code, or why the sign-in is refused.

    ``session``: the session of a signed-in operator who confirms again; codes are then counted by session.
    """
    limiter, subject = RateLimiter(visit.stores.redis), _subject(visit, name)
    # Beyond the limit one attempt in ten seconds is checked.
    if limiter.closed_for_s(_WRONG_TRIES, subject) and (wait_s := limiter.count_call(_LATE_TRIES, subject)):
        note_refusal(visit.request, "operator.slow")
        return SignInRefusal("operator.slow", 429, wait_s)
    operator = visit.access.operators.check(name, password)
    if operator is None:
        return refuse_try(visit, name)
    return _check_code(visit, operator, code, session.id if session else operator.id) or operator


def _check_code(visit: Visit, operator: Operator, code: str, shown: str) -> SignInRefusal | None:
    """Use up the operator's code; return why the code is refused, or None if it is accepted or not required."""
    if not needs_code(visit):
        return None
    if visit.count_call(_CODES, shown):
        # The refusal is noted under the operator's name. Refusals without a name share one limit of the audit trail,
        # which visitors can soon use up.
        note_actor(visit.request, ActorKind.OPERATOR, operator.name)
        note_refusal(visit.request, TOO_MANY_CODES)
        if wait_s := visit.count_call(_LATE_CODES, shown):
            return SignInRefusal(TOO_MANY_CODES, 429, wait_s)
    is_right = visit.access.operators.use_code(operator.id, code)
    return None if is_right else refuse_try(visit, operator.name)


def refuse_try(visit: Visit, name: str) -> SignInRefusal:
    """Count a wrong attempt to sign in, and return the refusal."""
    log.warning("operator login refused", extra=fields(address=visit.address))
    wait_s = visit.count_call(_WRONG_TRIES, _subject(visit, name))
    note_refusal(visit.request, "operator.wrong")
    wrong = "operator.wrong.code" if needs_code(visit) else "operator.wrong"
    return SignInRefusal("operator.slow", 429, wait_s) if wait_s else SignInRefusal(wrong)


def check_again(visit: OperatorVisit, password: str, code: str) -> SignInRefusal | None:
    """Check the password and code of a signed-in operator again; return why they are refused, or None if accepted."""
    checked = check_operator(visit, visit.operator.name, password, code, visit.key)
    return checked if isinstance(checked, SignInRefusal) else None


def check_fresh(visit: OperatorVisit, password: str, code: str) -> SignInRefusal | None:
    """Check password and code again if the last check is over an hour ago.

    Return why they are refused; None if they are accepted or need no check.
    """
    if visit.is_fresh:
        return None
    refusal = check_again(visit, password, code)
    if refusal is None:
        confirmed = {**visit.key.details, _CONFIRMED: str(real_clock().timestamp())}
        visit.access.keys.set_details(visit.key, confirmed)
    return refusal


def _subject(visit: Visit, name: str) -> str:
    """Return the subject by which wrong attempts are counted: the address, and one of 16 groups of names.

    The groups limit the hashes and Redis keys that one address can cause. Unknown names are counted like others, so the
    count doesn't reveal which names exist.
    """
    group = hashlib.sha256(plain_name(name).encode("utf-8", "replace")).hexdigest()[:1]
    return f"{visit.address}:{group}"


def parse_day(text: str) -> date | None:
    """Return the day that a form's field names; None for anything else."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def titles_of_tenants(registry: Registry) -> dict[str, str]:
    """Return the titles of the tenants by id; empty if there is only one tenant."""
    tenants = {tenant.id: tenant.title or tenant.id for tenant in registry.tenants.list_tenants()}
    return tenants if len(tenants) > 1 else {}
