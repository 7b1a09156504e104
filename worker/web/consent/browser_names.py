"""The names of a browser in consents: random texts in a cookie, a new one for each handshake.

What a handshake leads to is bound to a name that its own answer sets, never to one that the browser had before. So a
person who has planted a name in somebody's browser, and knows it, sees nothing of what that browser does afterwards.
What a browser may go on with is asked of all its names, so that each of its tabs goes its own way.

    releve_connect    67474f2eZr0….67474ee1k3q…    the names, the newest first; each begins with the second in which it
                                                   was made, as eight hexadecimal digits
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from fastapi import Request, Response

from worker.domain.clock import real_clock
from worker.domain.consents import REQUEST_LIFE
from worker.runtime.sync_parts import Runtime
from worker.web.context import read_cookie, set_cookie

BROWSER_COOKIE: Final = "releve_connect"
MOST_NAMES: Final = 30  # More than a person makes tries with one invitation, whose name must stay.
_NAME: Final = re.compile(r"([0-9a-f]{8})[A-Za-z0-9_-]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class BrowserNames:
    """The names of one browser, the newest first; none for a browser that has begun no consent lately."""

    texts: tuple[str, ...] = field(default=(), repr=False)

    @property
    def hashes(self) -> tuple[str, ...]:
        """How the stores know the names, the newest first: their readers can't make the cookie."""
        return tuple(hashlib.sha256(text.encode()).hexdigest() for text in self.texts)

    @property
    def newest(self) -> str:
        """The hash of the newest name."""
        return self.hashes[0]

    def with_new(self) -> BrowserNames:
        """Return the names with a new one in front; the oldest beyond thirty is forgotten."""
        name = f"{int(real_clock().timestamp()):08x}{secrets.token_urlsafe(24)}"
        return BrowserNames((name, *self.texts)[:MOST_NAMES])


def read_browser_names(runtime: Runtime, request: Request) -> BrowserNames:
    """Return the names in the browser's cookie. One that is older than a request may be counts as none.

    Names need no signature: nothing is bound to one that we have not made. The time in a name is a part of what is
    hashed, so nobody can prolong it.
    """
    texts = (read_cookie(runtime, request, BROWSER_COOKIE) or "").split(".", MOST_NAMES)[:MOST_NAMES]
    return BrowserNames(tuple(text for text in texts if _is_current(text)))


def set_browser_names(runtime: Runtime, response: Response, names: BrowserNames) -> None:
    """Set the cookie with the browser's names."""
    set_cookie(runtime, response, BROWSER_COOKIE, ".".join(names.texts), int(REQUEST_LIFE.total_seconds()))


def _is_current(text: str) -> bool:
    match = _NAME.fullmatch(text)
    return match is not None and real_clock() < datetime.fromtimestamp(int(match[1], 16), UTC) + REQUEST_LIFE
