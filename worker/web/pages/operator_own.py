"""The page of an operator's own access: name, role, sessions and password."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Response
from fastapi.responses import RedirectResponse

from worker.domain.audit_entry import AuditAction
from worker.domain.sessions import KeyKind, find_password_fault
from worker.web.pages.operator_access import (
    PATH,
    OperatorDep,
    OperatorForm,
    OperatorVisit,
    check_again,
    open_operator_session,
)
from worker.web.rendering import render

router = APIRouter(prefix=PATH)
_OWN_ACCESS: Final = f"{PATH}/access"


@router.get("/access")
def show_access(visit: OperatorDep) -> Response:
    return own_page(visit)


def own_page(visit: OperatorVisit, status: int = 200, **faults: Any) -> Response:
    """Return the page. ``faults``: why a form is refused, and what it shows again."""
    values = {
        "access_fault": None,
        "operator": visit.operator,
        "session_id": visit.key.id,
        "sessions": visit.access.keys.list_keys([visit.operator.id]),
    }
    return render(visit.request, "operator_access.html", status, **visit.describe(), **(values | faults))


@router.post("/password", name=AuditAction.OPERATOR_PASSWORD)
def change_password(
    visit: OperatorForm,
    password: Annotated[str, Form()] = "",
    code: Annotated[str, Form()] = "",
    new: Annotated[str, Form()] = "",
    again: Annotated[str, Form()] = "",
) -> Response:
    """Set a new password. All sessions end, including copies of this one; this browser gets a new session."""
    operator = visit.operator
    fault = "differ" if new != again else find_password_fault(new, operator.name)
    if fault:
        return own_page(visit, 422, access_fault=f"operator.password.{fault}")
    if refusal := check_again(visit, password, code):
        return own_page(visit, refusal.status, access_fault=refusal.text, wait_s=refusal.wait_s)
    visit.access.operators.set_password(operator.id, new)
    return open_operator_session(visit, operator, to=_OWN_ACCESS)


@router.post("/sessions/end-others", name=AuditAction.SESSION_END_OTHERS)
def end_other_sessions(visit: OperatorForm) -> Response:
    visit.access.keys.end_of([visit.operator.id], [KeyKind.OPERATOR_SESSION], but=visit.key.id)
    return RedirectResponse(_OWN_ACCESS, 303)
