"""HTML pages from Jinja templates, in the reader's language, and the security headers of every answer.

The headers allow content only from this server, no frames and no guessing of content types. The notice above a
household's pages says that the household's recovery code is not saved yet, that the household has no way to regain
access, or that its session ends soon.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.datastructures import MutableHeaders

from config.settings import Settings
from worker.accounts.household_access import LATER
from worker.errors import StoreUnavailable
from worker.runtime.web_access import WebAccess
from worker.texts import LANGUAGES
from worker.web.dependencies import FORM_COOKIE, Session, gas_suffix, get_session, new_form, set_cookie, settings_of
from worker.web.request_audit import note_refusal
from worker.web.texts import LANGUAGE_COOKIE, LANGUAGE_LIFE_S, LANGUAGE_PARAMETER, Words, chosen_language, language_of

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "geolocation=(), camera=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
SIGN_IN: Final = ("/sign-in", "sign_in.go")  # The usual next action, for ``render_message``.
_NOT_LET_IN: Final = (403, 404, 409, 410)
_FOLDER: Final = Path(__file__).parent
_FORM_LIFE_S: Final = 7 * 86_400
_SHOWN_BEFORE: Final = timedelta(days=14)
OPERATOR_PATH: Final = "/operator"
# Pages without the notice: either their own text tells the same, or they are not for households.
_WITHOUT: Final = ("/access", "/sign-in", OPERATOR_PATH, "/proxy")
_CONFIRMING: Final = ("/stop", "/remove")  # The ends of paths whose page only asks to confirm.
ENVIRONMENT: Final = Environment(
    loader=FileSystemLoader(_FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,  # A misspelt name then fails in a test instead of leaving a gap in a page.
    trim_blocks=True,
    lstrip_blocks=True,
)


def mark_commands(text: str) -> Markup:
    """Return the text as HTML, with each command between backticks as code."""
    parts = (Markup("<code>{}</code>" if rank % 2 else "{}").format(part) for rank, part in enumerate(text.split("`")))  # noqa: S704
    return Markup("").join(parts)


ENVIRONMENT.filters["commands"] = mark_commands


def render(
    request: Request,
    name: str,
    status: int = 200,
    *,
    wait_s: int = 0,
    form_to: Iterable[str | None] = (),
    **values: Any,
) -> HTMLResponse:
    """Render the template ``name`` with ``values``.

    ``wait_s``: seconds until the reader may try again; the template has this value too. ``form_to``: addresses on other
    sites to which the page's form leads.

    Every template also has ``t`` (Words), ``session``, ``csrf`` (the session's token), ``languages`` (each with this
    page's address in it), ``here`` (this page's address), ``static`` (a function for static addresses), ``about`` (the
    key of the text on the service's purpose), ``contact`` (the operator's contact and its link) and ``access_notice``
    (what the household should know about its access).
    """
    state, settings, session = request.app.state, settings_of(request), _session_of(request)
    words = words_of(request)
    base = {
        "t": words,
        "session": session,
        "csrf": state.access.signer.csrf_token(session.sid),
        "languages": [(language, _address_in_language(request, language)) for language in LANGUAGES],
        "here": own_address(request.url.path, request.query_params.multi_items()) if request.method == "GET" else "/",
        "static": static_address,
        "about": "operator.about"
        if request.url.path.startswith(OPERATOR_PATH)
        else f"app.about{gas_suffix(state.sync)}",
        "contact": (settings.contact, settings.contact_link()),
        "access_notice": find_access_notice(settings, state.access, session, request.url.path),
        "wait_s": wait_s,
    }
    response = HTMLResponse(ENVIRONMENT.get_template(name).render(base | values), status)
    response.headers["Content-Language"] = words.language
    response.headers["Vary"] = "Accept-Language, Cookie"
    if wait_s:
        response.headers["Retry-After"] = str(wait_s)
    if form_to:
        response.headers["Content-Security-Policy"] = _policy_with_form_to(form_to)
    if language := chosen_language(request):
        set_cookie(request, response, LANGUAGE_COOKIE, language, LANGUAGE_LIFE_S)
    return response


def render_with_form(
    request: Request, name: str, status: int = 200, *, form_life_s: int = _FORM_LIFE_S, **values: Any
) -> HTMLResponse:
    """Render a page with a form for browsers without a session; the template also has ``browser_csrf``.

    The form's cookie lives for ``form_life_s`` seconds.
    """
    value, csrf = new_form(request)
    response = render(request, name, status, browser_csrf=csrf, **values)
    set_cookie(request, response, FORM_COOKIE, value, form_life_s)
    return response


def render_message(
    request: Request,
    name: str,
    status: int,
    action: tuple[str, str] | None = None,
    words: Mapping[str, str] | None = None,
    *,
    wait_s: int = 0,
    reload_s: int = 0,
) -> HTMLResponse:
    """Render a page with one message: the texts ``<name>.title`` and ``<name>.text`` with ``words``, and a next action.

    ``reload_s``: seconds until the page reloads itself; 0 for never. A page that reloads has only a secondary button.
    """
    if status >= 400:
        note_refusal(request, name)
    values: dict[str, Any] = {"title": f"{name}.title", "text": f"{name}.text", "action": action, "words": words or {}}
    # A refused visitor without accounts may be a household that has lost its session, so the page offers to sign in.
    is_households = not _session_of(request).accounts and not request.url.path.startswith(OPERATOR_PATH)
    offers_sign_in = status in _NOT_LET_IN and is_households and action != SIGN_IN
    values |= {"access_notice": None} if status >= 400 else {}
    values |= {"reloads": bool(reload_s), "offers_sign_in": offers_sign_in}
    response = render(request, "message.html", status, wait_s=wait_s or reload_s, **values)
    if reload_s:
        response.headers["Refresh"] = str(reload_s)
    return response


def _session_of(request: Request) -> Session:
    """Return the browser's session; an empty session if the registry is down, so that the error page can be shown."""
    try:
        return get_session(request)
    except StoreUnavailable:
        return Session()


def refuse_form(request: Request, back: str) -> HTMLResponse:
    """Answer 403 to a form that isn't from our own page (CSRF). Another site can't know our forms' hidden field."""
    return render_message(request, "csrf", 403, (back, "message.again"))


def words_of(request: Request) -> Words:
    return Words(language_of(request))


@cache
def static_address(name: str) -> str:
    """Return the address of a static file. The address changes with the content, so that no cache shows an old file."""
    content = (_FOLDER / "static" / name).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:10]}"


def _address_in_language(request: Request, language: str) -> str:
    """Return the address of this page in another language, or of a first page if this page can't be loaded again.

    The answer to a form or a callback can't be loaded again.
    """
    path = request.url.path
    if request.method != "GET" or path.startswith("/callback/") or (path.startswith("/proxy/") and "/auth" not in path):
        return f"{OPERATOR_PATH if path.startswith(OPERATOR_PATH) else '/'}?{LANGUAGE_PARAMETER}={language}"
    query = [(name, value) for name, value in request.query_params.multi_items() if name != LANGUAGE_PARAMETER]
    return own_address(path, [*query, (LANGUAGE_PARAMETER, language)])


def own_address(path: str, query: Sequence[tuple[str, str]]) -> str:
    """Return an address on this server, whatever the path is."""
    # A path that began with "//" or "/\\" would name another host.
    path = "/" + quote(path.lstrip("/\\"), safe="/-._~")
    return f"{path}?{urlencode(query)}" if query else path


def _policy_with_form_to(addresses: Iterable[str | None]) -> str:
    """Return the content policy of a page with a form that leads to other sites.

    Browsers apply ``form-action`` also to the redirects with which a form is answered.
    """
    parts = [urlsplit(address or "") for address in addresses]
    origins = " ".join(f"{part.scheme}://{part.netloc}" for part in parts)
    return CONTENT_SECURITY_POLICY.replace("form-action 'self'", f"form-action 'self' {origins}")


def set_security_headers(request: Request, headers: MutableHeaders, status: int) -> None:
    """Set the security headers of an answer. A header that the route has set stays as it is."""
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    # Personal data stays out of caches. A static file may be cached, because its address changes with its content.
    is_static = request.url.path.startswith("/static/") and "v" in request.query_params and status == 200
    headers.setdefault("Cache-Control", "public, max-age=31536000, immutable" if is_static else "no-store")
    if request.url.scheme == "https":
        headers.setdefault("Strict-Transport-Security", "max-age=31536000; includeSubDomains")


@dataclass(frozen=True, slots=True)
class AccessNotice:
    """What a household should know about its access. ``key``: the text's key. ``ends_at``: when the session ends.

    ``may_wait``: whether the notice can be put off.
    """

    key: str
    ends_at: datetime | None
    may_wait: bool = False


def find_access_notice(settings: Settings, access: WebAccess, session: Session, path: str) -> AccessNotice | None:
    """Return the notice for a page of this session; None if none is needed, or while the registry is down."""
    key, household = session.key, session.household
    if (
        key is None
        or household is None
        or not household.accounts
        or path.startswith(_WITHOUT)
        or path.endswith(_CONFIRMING)
    ):
        return None
    if settings.is_home:  # In a home, access is regained on the machine itself.
        return None
    try:
        ways = access.ways_back.find(household.id, key.details)
    except StoreUnavailable:
        return None
    now = datetime.now(UTC)
    if key.details.get(LATER, "") < now.isoformat():
        if ways.shown_code:
            return AccessNotice("access.notice.code", key.expires_at, may_wait=True)
        if not ways.is_safe:
            return AccessNotice("access.notice.none", key.expires_at, may_wait=True)
    if key.expires_at is not None and key.expires_at - now < _SHOWN_BEFORE:
        return AccessNotice("access.notice.ends", key.expires_at)
    return None
