"""Consent flows in progress: the state that is needed when the browser returns from the supplier's consent page.

The supplier returns a ``state`` of at most 100 characters; everything else is stored here under it, for 15 minutes.  A
state works once: the callback of a household becomes a connection request, and that of the proxy a redirect, which is
stored as long, because the supplier's portal may load a callback twice.  A lost key means that the person starts again.

    consent_flow:<state>       {"supplier":"enedis","browser":"…","begun_on":"2024-07-25",…}: the flow, deleted by
                               the first callback
    proxy_redirect:<state>     sealed address that a callback of our consent proxy was redirected to
    proxy_code:<hash of code>  sealed text: what a code of the proxy stands for; a code works once
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from worker.stores.redis.connection import PrefixedKeys

LIFE_S: Final = 900


@dataclass(frozen=True, slots=True)
class ConsentFlow:
    """A consent flow in progress.

    ``browser``: a secret in a cookie of the browser that started it; empty for flows of the consent proxy.
    ``invitation``: the id of the invitation that it was begun with.  ``begun_on``: the day in Europe/Paris, ISO 8601.
    ``redirect_uri`` and ``caller_state``: the proxy caller's own.
    """

    supplier: str
    browser: str = field(default="", repr=False)
    invitation: str | None = None
    begun_on: str = ""
    redirect_uri: str | None = field(default=None, repr=False)
    caller_state: str | None = field(default=None, repr=False)

    @property
    def for_proxy(self) -> bool:
        return self.redirect_uri is not None


class ConsentFlows(PrefixedKeys):
    """Consent flows in Redis, by state; every method raises StoreUnavailable."""

    def start(self, flow: ConsentFlow) -> str:
        """Store a new flow and return its state: 43 random characters."""
        state = secrets.token_urlsafe(32)
        self._redis.set(self._key("consent_flow", state), _to_text(asdict(flow)), ex=LIFE_S)
        return state

    def read(self, state: str) -> ConsentFlow | None:
        """Return the flow without taking it; None for a state that is unknown, used or expired."""
        return _to_flow(self._redis.get(self._key("consent_flow", state)))

    def take(self, state: str) -> ConsentFlow | None:
        """Return the flow to the first caller and None to others."""
        return _to_flow(self._redis.getdel(self._key("consent_flow", state)))

    def end(self, state: str) -> None:
        """Delete a flow whose callback has become a connection request."""
        self._redis.delete(self._key("consent_flow", state))

    def forget_all(self) -> int:
        """Delete all flows, redirects and codes, and return the number of keys; scans all keys."""
        return self._unlink_kinds({"consent_flow", "proxy_redirect", "proxy_code"})

    # -- Redirects of the consent proxy

    def keep_redirect(self, state: str, sealed_address: str) -> None:
        """Store for 15 minutes where a callback of the proxy was redirected to."""
        self._redis.set(self._key("proxy_redirect", state), sealed_address, ex=LIFE_S)

    def find_redirect(self, state: str) -> str | None:
        """Return the sealed address that the same callback was redirected to before, or None."""
        sealed = self._redis.get(self._key("proxy_redirect", state))
        return None if sealed is None else str(sealed)

    # -- Codes of the consent proxy

    def issue_code(self, sealed: str) -> str:
        """Store sealed facts for 15 minutes and return the code that redeems them."""
        code = secrets.token_urlsafe(32)
        self.restore_code(code, sealed)
        return code

    def redeem_code(self, code: str) -> str | None:
        """Return the sealed facts to the first caller, and None to others."""
        sealed = self._redis.getdel(self._key("proxy_code", _digest(code)))
        return None if sealed is None else str(sealed)

    def restore_code(self, code: str, sealed: str) -> None:
        """Make a redeemed code valid again, for 15 minutes."""
        self._redis.set(self._key("proxy_code", _digest(code)), sealed, ex=LIFE_S)


def _digest(code: str) -> str:
    """Hash a code, because callers send codes of any length and with any characters."""
    return hashlib.sha256(code.encode()).hexdigest()


def _to_text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _to_flow(text: Any) -> ConsentFlow | None:
    return None if text is None else ConsentFlow(**json.loads(str(text)))
