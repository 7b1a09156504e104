"""Requests that another site has a browser send to a home's pages, and how they are refused.

A home is reached without TLS and, on its own computer, without a password. So a page on the internet may try two ways:
it lets its own name lead to this address (DNS rebinding), which shows in ``Host``; or it sends a form here from its own
address, which shows in ``Origin`` and ``Sec-Fetch-Site``.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from fastapi import Request

from worker.domain.networks import is_public_host
from worker.web.errors import HttpRefusal

# The Referrer-Policy of a home's pages: without any referrer a browser hides the origin of our own forms too.
OWN_PAGES: Final = "same-origin"
_SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
_FOREIGN_SITES: Final = ("cross-site", "same-site")  # The latter: another port or name below one domain.


def refuse_foreign(request: Request, public_url: str) -> HttpRefusal | None:
    """Return why a request is refused; None where it comes from a page of this home, or from no page at all."""
    public, host = urlsplit(public_url), _host_of(request)
    if not host or (is_public_host(host) and host != public.hostname):
        return HttpRefusal(421, "foreign_host", "this host name is not allowed: set RELEVE_PUBLIC_URL to it")
    if request.method in _SAFE_METHODS:
        return None
    own = {f"{request.url.scheme}://{request.url.netloc}", f"{public.scheme}://{public.netloc}"}
    origin = request.headers.get("Origin")
    is_foreign = origin.lower() not in own if origin else request.headers.get("Sec-Fetch-Site") in _FOREIGN_SITES
    return HttpRefusal(403, "foreign_origin", "this request came from a page of another site") if is_foreign else None


def _host_of(request: Request) -> str:
    """Return the host that the browser asked for, in small letters and without its final dot; empty for none."""
    header = request.headers.get("Host", "")
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""
