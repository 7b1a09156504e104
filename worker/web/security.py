"""Security headers of every answer: content only from this server, no frames, no guessing of content types."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import MutableHeaders

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
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


def policy_with_form_to(*addresses: str | None) -> str:
    """Return the content policy of a page with a form that leads on to other sites.

    Browsers count the redirects that answer a form as targets of the form.
    """
    parts = [urlsplit(address or "") for address in addresses]
    origins = " ".join(f"{part.scheme}://{part.netloc}" for part in parts)
    return CONTENT_SECURITY_POLICY.replace("form-action 'self'", f"form-action 'self' {origins}")


def set_security_headers(request: Request, headers: MutableHeaders, status: int) -> None:
    """Set what every answer has, unless its route has said otherwise."""
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    # Personal data stays out of caches; the address of a static file changes with its content.
    is_static = request.url.path.startswith("/static/") and "v" in request.query_params and status == 200
    headers.setdefault("Cache-Control", "public, max-age=31536000, immutable" if is_static else "no-store")
    if request.url.scheme == "https":
        headers.setdefault("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
