"""What an operator changes of its own access: the password, and its sessions in other browsers."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from worker.domain.sessions import find_password_fault
from worker.web.context import RuntimeDep
from worker.web.pages.operator.checks import check_again
from worker.web.pages.operator.overview import operator_page
from worker.web.pages.operator.sessions import PATH, load_form_session, open_operator_session
from worker.web.render import refuse_form

router = APIRouter(prefix=PATH)
_BACK: Final = "/operator#access"


@router.post("/password")
def change_password(
    request: Request,
    runtime: RuntimeDep,
    password: Annotated[str, Form()] = "",
    code: Annotated[str, Form()] = "",
    new: Annotated[str, Form()] = "",
    again: Annotated[str, Form()] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Set a new password. All sessions end, copies of this one too; this browser gets a new one."""
    if (session := load_form_session(request, runtime, csrf)) is None:
        return refuse_form(request, PATH)
    operator = session.operator
    if new != again:
        return operator_page(request, runtime, session, 422, access_fault="operator.password.differ")
    if fault := find_password_fault(new, operator.name):
        return operator_page(request, runtime, session, 422, access_fault=f"operator.password.{fault}")
    if refusal := check_again(request, runtime, session, password, code):
        page = operator_page(
            request, runtime, session, refusal.status, access_fault=refusal.text, wait_s=refusal.wait_s
        )
        return refusal.mark(page)
    runtime.web_access.operators.set_password(operator.id, new)
    return open_operator_session(request, runtime, operator, to=_BACK)


@router.post("/sessions/end-others")
def end_other_sessions(request: Request, runtime: RuntimeDep, csrf: Annotated[str, Form()] = "") -> Response:
    """End the operator's sessions in all other browsers."""
    if (session := load_form_session(request, runtime, csrf)) is None:
        return refuse_form(request, PATH)
    runtime.web_access.operators.end_sessions(session.operator.id, but=session.key.id)
    return RedirectResponse(_BACK, 303)
