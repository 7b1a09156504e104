"""Consent flows in progress: the state that is needed when the browser returns from the supplier's consent page.

The supplier returns a ``state`` of at most 100 characters; everything else is stored here under it, for 15 minutes.  A
state works once: the callback becomes a connection request.  A lost key means that the person starts again.

    consent_flow:<state>       {"supplier":"enedis","browser":"…","begun_on":"2024-07-25",…}: the flow, deleted by
                               the first callback
    proxy_code:<hash of code>  sealed text: what a code of the proxy stands for; a code works once
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Final

from pydantic import TypeAdapter

from worker.domain.account import DEFAULT_TENANT
from worker.domain.oauth_proxy import ProxyCaller
from worker.stores.redis.connection import PrefixedKeys

LIFE_S: Final = 900


@dataclass(frozen=True, slots=True)
class ConsentFlow:
    """A consent flow in progress.

    ``browser``: SHA-256 of the name that the browser got when it started it.  ``invitation``: the id of the invitation
    that it was begun with, whose ``tenant`` it has.  ``begun_on``: the day in Europe/Paris, ISO 8601.  ``begun_at``:
    the real moment, ISO 8601; empty where it is not known.  ``caller``: the client of the proxy that asked.
    """

    supplier: str
    browser: str = field(default="", repr=False)
    invitation: str | None = None
    tenant: str = DEFAULT_TENANT
    begun_on: str = ""
    begun_at: str = ""
    caller: ProxyCaller | None = None


_JSON: Final = TypeAdapter(ConsentFlow)


class ConsentFlows(PrefixedKeys):
    """Consent flows in Redis, by state; every method raises StoreUnavailable."""

    def start(self, flow: ConsentFlow) -> str:
        """Store a new flow and return its state: 43 random characters."""
        state = secrets.token_urlsafe(32)
        self._redis.set(self._key("consent_flow", state), _JSON.dump_json(flow).decode(), ex=LIFE_S)
        return state

    def read(self, state: str) -> ConsentFlow | None:
        """Return the flow without taking it; None for a state that is unknown, used or expired."""
        text = self._redis.get(self._key("consent_flow", state))
        return None if text is None else _JSON.validate_json(str(text))

    def end(self, state: str) -> None:
        """Delete a flow whose callback has become a connection request."""
        self._redis.delete(self._key("consent_flow", state))

    def forget_all(self) -> int:
        """Delete all flows and codes, and return the number of keys; scans all keys."""
        return self._unlink_kinds({"consent_flow", "proxy_code"})

    # -- Codes of the consent proxy

    def store_code(self, code: str, sealed: str) -> None:
        """Store for 15 minutes the sealed facts that a code redeems, whether it is new or was redeemed."""
        self._redis.set(self._key("proxy_code", _digest(code)), sealed, ex=LIFE_S)

    def redeem_code(self, code: str) -> str | None:
        """Return the sealed facts to the first caller, and None to others."""
        sealed = self._redis.getdel(self._key("proxy_code", _digest(code)))
        return None if sealed is None else str(sealed)


def place_of_code(code: str) -> str:
    """Return the place to which the facts of a code are sealed."""
    return f"proxy_code/{_digest(code)}"


def _digest(code: str) -> str:
    """Hash a code, because callers send codes of any length and with any characters."""
    return hashlib.sha256(code.encode()).hexdigest()
