"""The session of browsers on the home's own computer, which are asked for nothing.

They share one session of the home's household, made when the first of them comes. Each part of ``is_local`` closes a
way in: a container's port is reached by other machines through an address of its own, a proxy on this machine passes
them on, and a foreign page may have a name that leads to this machine. A proxy need not say so (nginx as it is shipped
asks for 127.0.0.1 and adds no header), so nobody comes in where the address of the pages tells that there is one.
"""

from __future__ import annotations

import threading
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request

from worker.domain.networks import is_loopback_host, is_public_host
from worker.domain.sessions import KeyKind
from worker.runtime.web_access import WebAccess
from worker.web.sessions import Session, load_session

DEVICE: Final = "127.0.0.1"  # What the page of sessions names it.
_FORWARDED: Final = ("forwarded", "via", "x-real-ip", "true-client-ip", "cf-connecting-ip")
_FORWARDED_PREFIX: Final = "x-forwarded"


class LocalSession:
    """The one session of all browsers on this computer.

    ``is_open``: whether they come in; not in a container, nor where a proxy passes requests on.
    """

    def __init__(self, access: WebAccess, *, is_open: bool) -> None:
        self.is_open = is_open
        self._access, self._text, self._lock = access, "", threading.Lock()

    def load(self) -> Session:
        """Return the session; a new one where there was none yet, or where it has ended."""
        with self._lock:
            session = load_session(self._access, self._text)
            if session.key is None:
                household = self._access.home.household()
                key, self._text = self._access.keys.create(KeyKind.HOUSEHOLD_SESSION, household.id, device=DEVICE)
                session = Session(key, household)
            return session


def names_proxy(public_url: str) -> bool:
    """Return whether the address of the pages is one that only a proxy serves: by https, or a public one."""
    public = urlsplit(public_url)
    return public.scheme == "https" or is_public_host(public.hostname or "")


def is_local(request: Request) -> bool:
    """Return whether a request comes from this computer itself, by its address, and nothing has passed it on."""
    peer = request.client.host if request.client else ""
    if not is_loopback_host(peer) or not is_loopback_host(request.url.hostname or ""):
        return False
    return not any(name in _FORWARDED or name.startswith(_FORWARDED_PREFIX) for name in request.headers)
