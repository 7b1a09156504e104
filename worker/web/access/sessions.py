"""The page of a household's sessions: which browsers see its meters, and the forms that end them.

``Others`` are browsers of another household that sees one of the same accounts, such as one that connected the same
meter by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from worker.domain.sessions import KeyKind
from worker.runtime.sync_parts import Runtime
from worker.web.consent.browser_names import BROWSER_COOKIE
from worker.web.context import RuntimeDep, SessionDep, delete_cookie, is_session_form
from worker.web.render import refuse_form, render
from worker.web.sessions import SESSION_COOKIE, Session

router = APIRouter(prefix="/access", include_in_schema=False)
PATH: Final = "/access/sessions"
_HOUSEHOLD: Final = (KeyKind.HOUSEHOLD_SESSION,)
Csrf = Annotated[str, Form()]


@router.get("/sessions")
def show_sessions(request: Request, runtime: RuntimeDep, session: SessionDep) -> Response:
    """Show the browsers that see the household's meters; a browser without a session is sent to the first page."""
    if session.household is None:
        return RedirectResponse("/", 303)
    mine = runtime.sessions.list([session.household.id], _HOUSEHOLD)
    others = runtime.sessions.list(_other_households(runtime, session), _HOUSEHOLD)
    this = [key for key in mine if key.id == session.sid]
    own = [*this, *(key for key in mine if key.id != session.sid)]
    return render(request, "sessions.html", own=own, others=others, is_home=runtime.settings.is_home)


@router.post("/sessions/{key_id}/end")
def end_session(request: Request, key_id: str, runtime: RuntimeDep, session: SessionDep, csrf: Csrf = "") -> Response:
    """End one session of the household; one that has ended already is no error."""
    if not is_session_form(runtime, session, csrf) or session.household is None:
        return refuse_form(request, PATH)
    runtime.sessions.end(key_id, owners=[session.household.id])
    return _after_end(runtime, ended_own=key_id == session.sid)


@router.post("/sessions/end-others")
def end_other_sessions(request: Request, runtime: RuntimeDep, session: SessionDep, csrf: Csrf = "") -> Response:
    """End all sessions that see a meter of this household but this one, and what else lets other households see it."""
    if not is_session_form(runtime, session, csrf) or session.household is None:
        return refuse_form(request, PATH)
    runtime.web_access.households.remove_from_others(list(session.accounts), session.household.id)
    runtime.sessions.end_of([session.household.id], _HOUSEHOLD, but=session.sid)
    return RedirectResponse(PATH, 303)


@router.post("/log-out")
def log_out(request: Request, runtime: RuntimeDep, session: SessionDep, csrf: Csrf = "") -> Response:
    """End this browser's session."""
    if not is_session_form(runtime, session, csrf):
        return refuse_form(request, PATH)
    runtime.sessions.end(session.sid)
    return _after_end(runtime, ended_own=True)


def _other_households(runtime: Runtime, session: Session) -> list[str]:
    """Return the other households that see an account of this one, under its present session number."""
    accounts = runtime.registry.get_many(list(session.accounts))
    numbers = {account.id: account.session_number for account in session.own(accounts)}
    ids = runtime.sessions.households_of(numbers)
    own = session.household.id if session.household else ""
    return [id_ for id_ in ids if id_ != own and _sees_one(runtime, id_, numbers)]


def _sees_one(runtime: Runtime, household_id: str, numbers: Mapping[str, int]) -> bool:
    household = runtime.web_access.households.load(household_id)
    return household is not None and any(numbers.get(id_) == number for id_, number in household.accounts.items())


def _after_end(runtime: Runtime, *, ended_own: bool) -> Response:
    if not ended_own:
        return RedirectResponse(PATH, 303)
    response = RedirectResponse("/", 303, {"Clear-Site-Data": '"cache", "storage"'})
    for cookie in (SESSION_COOKIE, BROWSER_COOKIE):  # The names of what it has begun may open an account again.
        delete_cookie(runtime, response, cookie)
    return response
