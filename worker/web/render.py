"""HTML pages from Jinja templates, in the reader's language."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from worker.errors import StoreUnavailable
from worker.texts import LANGUAGES
from worker.web.access.notices import find_access_notice
from worker.web.audit import note_refusal
from worker.web.context import FORM_COOKIE, gas_suffix, get_runtime, get_session, new_form, set_cookie
from worker.web.sessions import Session
from worker.web.texts import LANGUAGE_COOKIE, LANGUAGE_LIFE_S, LANGUAGE_PARAMETER, Words, chosen_language, language_of

SIGN_IN: Final = ("/sign-in", "sign_in.go")  # What to do next, for ``render_message``.
_NOT_LET_IN: Final = (403, 404, 409, 410)
_FOLDER: Final = Path(__file__).parent
_FORM_LIFE_S: Final = 7 * 86_400
ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(_FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,  # A misspelt name fails in a test and doesn't leave a hole in a page.
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """Render the template ``name`` with ``values``.

    Every template also has ``t`` (Words), ``session``, ``csrf`` of the session, ``languages`` (each with the address
    of this page in it), ``static``, ``about``: the key of what the service is for, ``contact``: the operator's with its
    link, and ``access_notice``: what the household should know of its access.
    """
    runtime, session = get_runtime(request), _session_of(request)
    words = words_of(request)
    base = {
        "t": words,
        "session": session,
        "csrf": runtime.web_access.signer.csrf_token(session.sid),
        "languages": [(language, _address_in_language(request, language)) for language in LANGUAGES],
        "static": static_address,
        "about": f"app.about{gas_suffix(runtime)}",
        "contact": (runtime.settings.contact, runtime.settings.contact_link()),
        "access_notice": find_access_notice(runtime, session, request.url.path),
    }
    response = HTMLResponse(ENVIRONMENT.get_template(name).render(base | values), status)
    response.headers["Content-Language"] = words.language
    response.headers["Vary"] = "Accept-Language, Cookie"
    if language := chosen_language(request):
        set_cookie(runtime, response, LANGUAGE_COOKIE, language, LANGUAGE_LIFE_S)
    return response


def render_with_form(
    request: Request, name: str, status: int = 200, *, form_life_s: int = _FORM_LIFE_S, **values: Any
) -> HTMLResponse:
    """Render a page whose form is for browsers without a session: its template has ``browser_csrf`` besides.

    The cookie that the form belongs to lives ``form_life_s`` from now.
    """
    runtime = get_runtime(request)
    value, csrf = new_form(runtime, request)
    response = render(request, name, status, browser_csrf=csrf, **values)
    set_cookie(runtime, response, FORM_COOKIE, value, form_life_s)
    return response


def render_message(
    request: Request,
    name: str,
    status: int,
    action: tuple[str, str] | None = None,
    words: Mapping[str, str] | None = None,
    *,
    reload_s: int = 0,
) -> HTMLResponse:
    """Render a page of one message: the texts ``<name>.title`` and ``<name>.text`` with ``words``, and what to do.

    With ``reload_s`` the page loads itself again after so many seconds, so that its button is not what to do next.
    """
    if status >= 400:
        note_refusal(request, name)
    values = {"title": f"{name}.title", "text": f"{name}.text", "action": action, "words": words or {}}
    # A visitor who isn't let in, and shows nothing, may be a household that has lost its session.
    is_households = not _session_of(request).accounts and not request.url.path.startswith("/operator")
    offers_sign_in = status in _NOT_LET_IN and is_households and action != SIGN_IN
    response = render(request, "message.html", status, **values, reloads=bool(reload_s), offers_sign_in=offers_sign_in)
    if reload_s:
        response.headers["Retry-After"] = response.headers["Refresh"] = str(reload_s)
    return response


def _session_of(request: Request) -> Session:
    """Return the browser's session; an empty one for the page that says that the registry is away."""
    try:
        return get_session(request)
    except StoreUnavailable:
        return Session()


def refuse_form(request: Request, back: str) -> HTMLResponse:
    """Refuse a form that is not of our own page (CSRF): another site can't know its hidden field."""
    return render_message(request, "csrf", 403, (back, "message.again"))


def words_of(request: Request) -> Words:
    return Words(language_of(request))


@cache
def static_address(name: str) -> str:
    """Return the address of a static file. It changes with the content, so that no cache shows an old file."""
    content = (_FOLDER / "static" / name).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:10]}"


def _address_in_language(request: Request, language: str) -> str:
    """Return the address of this page in another language, or of the first page where this one has no address.

    A page that answers a form or a callback can't be loaded again.
    """
    path = request.url.path
    if request.method != "GET" or path.startswith("/callback/") or (path.startswith("/proxy/") and "/auth" not in path):
        return f"/?{LANGUAGE_PARAMETER}={language}"
    query = [(name, value) for name, value in request.query_params.multi_items() if name != LANGUAGE_PARAMETER]
    # A path that began with "//" or "/\\" would name another host.
    path = "/" + quote(path.lstrip("/\\"), safe="/-._~")
    return f"{path}?{urlencode([*query, (LANGUAGE_PARAMETER, language)])}"
