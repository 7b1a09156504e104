"""Pages from templates, in the reader's language."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from worker.web.context import get_context, get_session
from worker.web.texts import CHOICE, LANGUAGE_COOKIE, LANGUAGE_LIFE_S, LANGUAGES, Words, chosen_language, language_of

_HERE: Final = Path(__file__).parent
_ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,  # a misspelt name is an error in a test, not a hole in a page
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """The template with ``values``; it also finds ``t`` (Words), ``csrf`` of the session, and the way to itself.

    ``message.html`` takes ``title`` and ``text`` (keys of texts), ``action`` (address and key, or None) and facts.
    """
    house, session = get_context(request), get_session(request)
    words = words_of(request)
    base = {
        "t": words,
        "session": session,
        "csrf": house.signer.csrf(session.sid),
        "languages": [(language, _address_in(request, language)) for language in LANGUAGES],
        "static": static_address,
        "facts": values,
        "action": None,
    }
    response = HTMLResponse(_ENVIRONMENT.get_template(name).render(base | values), status)
    response.headers["Content-Language"] = words.language
    response.headers["Vary"] = "Accept-Language, Cookie"
    if chosen := chosen_language(request):
        house.set_cookie(response, LANGUAGE_COOKIE, chosen, LANGUAGE_LIFE_S)
    return response


def words_of(request: Request) -> Words:
    return Words(language_of(request))


@cache
def static_address(name: str) -> str:
    """The address of one of our own files; it changes with its content, so that a cache holds no old one."""
    content = (_HERE / "static" / name).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:10]}"


def _address_in(request: Request, language: str) -> str:
    """This page in another language.  A page that a form led to has no address of its own: then the first page."""
    if request.method != "GET" or request.url.path.startswith("/callback/"):
        return f"/?{CHOICE}={language}"
    query = [(name, value) for name, value in request.query_params.multi_items() if name != CHOICE]
    return f"{request.url.path}?{urlencode([*query, (CHOICE, language)])}"
