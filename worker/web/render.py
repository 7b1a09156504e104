"""HTML pages from Jinja templates, in the reader's language."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from worker.texts import LANGUAGES
from worker.web.audit import note_refusal
from worker.web.context import gas_suffix, get_runtime, get_session, set_cookie
from worker.web.texts import (
    LANGUAGE_COOKIE,
    LANGUAGE_LIFE_S,
    LANGUAGE_PARAMETER,
    Words,
    chosen_language,
    language_of,
)

_FOLDER: Final = Path(__file__).parent
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
    of this page in it), ``static``, and ``about``: the key of what the service is for.
    """
    runtime, session = get_runtime(request), get_session(request)
    words = words_of(request)
    base = {
        "t": words,
        "session": session,
        "csrf": runtime.web_access.signer.csrf_token(session.sid),
        "languages": [(language, _address_in_language(request, language)) for language in LANGUAGES],
        "static": static_address,
        "about": f"app.about{gas_suffix(runtime)}",
    }
    response = HTMLResponse(ENVIRONMENT.get_template(name).render(base | values), status)
    response.headers["Content-Language"] = words.language
    response.headers["Vary"] = "Accept-Language, Cookie"
    if language := chosen_language(request):
        set_cookie(runtime, response, LANGUAGE_COOKIE, language, LANGUAGE_LIFE_S)
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
    response = render(request, "message.html", status, **values, reloads=bool(reload_s))
    if reload_s:
        response.headers["Retry-After"] = response.headers["Refresh"] = str(reload_s)
    return response


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
    return f"{request.url.path}?{urlencode([*query, (LANGUAGE_PARAMETER, language)])}"
