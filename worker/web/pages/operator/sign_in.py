"""Sign-in of operators: by name, password and code, or by a one-time link from the command line; and log-out.

A link stands for the password: its maker has the machine. Elsewhere than on loopback the code is asked for as well. Its
secret comes in the fragment, as that of an invitation, and loading the page uses nothing up.
"""

from __future__ import annotations

import logging
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from worker.domain.sessions import KeyKind, Operator
from worker.logs import fields
from worker.runtime.sync_parts import Runtime
from worker.web.context import RuntimeDep, delete_cookie, is_own_form
from worker.web.pages.operator.checks import SignInRefusal, check_operator, needs_code, refuse_try
from worker.web.pages.operator.sessions import PATH, load_form_session, open_operator_session
from worker.web.render import refuse_form, render_message, render_with_form
from worker.web.sessions import OPERATOR_COOKIE

log = logging.getLogger("releve.web")
router = APIRouter(prefix=PATH)
LINK_PATH: Final = "/operator/link"
_FORM_LIFE_S: Final = 86_400


def sign_in_page(request: Request, runtime: Runtime, refusal: SignInRefusal | None = None, name: str = "") -> Response:
    """Return the form of the sign-in, with the cookie that its hidden field belongs to."""
    return _form_page(request, runtime, "operator_login.html", refusal, typed_name=name)


@router.post("/login")
def log_in(
    request: Request,
    runtime: RuntimeDep,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    code: Annotated[str, Form()] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Let an operator in by name, password and code."""
    if not is_own_form(runtime, request, csrf):
        return sign_in_page(request, runtime, SignInRefusal("csrf.text"), name)
    checked = check_operator(request, runtime, name, password, code)
    if isinstance(checked, SignInRefusal):
        return sign_in_page(request, runtime, checked, name)
    return _let_in(request, runtime, checked)


@router.get("/link")
def show_link(request: Request, runtime: RuntimeDep) -> Response:
    """Show the form of a link. It says nothing of the link, which the server has not seen."""
    return _link_page(request, runtime)


@router.post("/link")
def use_link(
    request: Request,
    runtime: RuntimeDep,
    link: Annotated[str, Form(max_length=2000)] = "",
    code: Annotated[str, Form()] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Let in the operator whom a link was made for, once. A wrong code leaves the link as it is."""
    if not is_own_form(runtime, request, csrf):
        return _link_page(request, runtime, SignInRefusal("csrf.text"))
    access, secret = runtime.web_access, link.strip().rpartition("#")[2]  # The whole link may be pasted.
    key = access.keys.find(KeyKind.OPERATOR_LINK, secret)
    operator = access.operators.get(key.owner) if key else None
    if operator is None:
        return render_message(request, "operator.link.over", 404, (PATH, "operator.link.back"))
    if needs_code(request, runtime) and not access.operators.use_code(operator.id, code):
        return _link_page(request, runtime, refuse_try(request, runtime, operator.name), link=secret)
    if access.keys.use(KeyKind.OPERATOR_LINK, secret) is None:
        return render_message(request, "operator.link.over", 404, (PATH, "operator.link.back"))
    return _let_in(request, runtime, operator)


@router.post("/logout")
def log_out(request: Request, runtime: RuntimeDep, csrf: Annotated[str, Form()] = "") -> Response:
    """End the session: a copy of its cookie opens nothing any more."""
    if (session := load_form_session(request, runtime, csrf)) is None:
        return refuse_form(request, PATH)
    runtime.web_access.keys.end(session.key.id)
    response = RedirectResponse(PATH, 303)
    delete_cookie(runtime, response, OPERATOR_COOKIE)
    return response


def _let_in(request: Request, runtime: Runtime, operator: Operator) -> Response:
    runtime.web_access.operators.record_sign_in(operator.id)
    log.info("operator signed in", extra=fields(operator=operator.name))
    return open_operator_session(request, runtime, operator)


def _link_page(request: Request, runtime: Runtime, refusal: SignInRefusal | None = None, *, link: str = "") -> Response:
    return _form_page(request, runtime, "operator_link.html", refusal, link=link)


def _form_page(
    request: Request, runtime: Runtime, template: str, refusal: SignInRefusal | None, **values: Any
) -> Response:
    shown = {"fault": None, "wait_s": 0} if refusal is None else refusal.values
    asks_code, status = needs_code(request, runtime), refusal.status if refusal else 200
    response: Response = render_with_form(
        request, template, status, form_life_s=_FORM_LIFE_S, asks_code=asks_code, **shown, **values
    )
    return refusal.mark(response) if refusal else response
