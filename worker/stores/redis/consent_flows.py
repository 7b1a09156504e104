"""Consent flows in progress: the state that is needed when the browser returns from the supplier's consent page.

The supplier returns a ``state`` of at most 100 characters; everything else is stored here under it, for 15 minutes.  A
state works once.  The outcome is stored as long, because the supplier's portal may load a callback twice: the second
one shows the same page and asks the supplier nothing.  A lost key means that the person starts again.

    consent_flow:<state>       {"supplier":"enedis","browser":"…","started_at":1721890000,…}: the flow, deleted
                               by the first callback
    outcome:<state>            {"is":"working"}, then {"is":"done","browser":"…","outcome":{…}}
    proxy_code:<hash of code>  sealed text: what a code of our consent proxy stands for; a code works once
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from redis.client import Pipeline

from worker.stores.redis.connection import PrefixedKeys

LIFE_S: Final = 900
WORKING_S: Final = 90  # Longer than any exchange with a supplier; after it the process that did it counts as dead.
_WORKING: Final = "working"


@dataclass(frozen=True, slots=True)
class ConsentFlow:
    """A consent flow in progress.

    ``browser``: a secret in a cookie of the browser that started it; empty for flows of the consent proxy.
    ``renews``: the account of the renewal link.  ``redirect_uri`` and ``caller_state``: the proxy caller's own.
    ``started_at``: seconds since 1970.
    """

    supplier: str
    browser: str = field(default="", repr=False)
    renews: str | None = None
    redirect_uri: str | None = field(default=None, repr=False)
    caller_state: str | None = field(default=None, repr=False)
    started_at: int = field(default_factory=lambda: int(time.time()))
    tries: int = 0

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
        """Return the flow to the first caller and None to others; its outcome is ``working`` from then on."""
        key = self._key("consent_flow", state)

        def take_and_mark(pipe: Pipeline) -> Any:
            flow = pipe.get(key)
            pipe.multi()
            if flow is not None:
                pipe.delete(key)
                pipe.set(self._key("outcome", state), _to_text({"is": _WORKING}), ex=WORKING_S)
            return flow

        # One step under WATCH: of two callbacks at the same time one wins, and the other sees that it is at work.
        return _to_flow(self._redis.transaction(take_and_mark, key, value_from_callable=True))

    def restore(self, state: str, flow: ConsentFlow) -> None:
        """Store a taken flow again, so that the same callback can be repeated until the flow expires."""
        left_s = flow.started_at + LIFE_S - int(time.time())
        with self._redis.pipeline() as pipe:
            if left_s > 0:
                pipe.set(self._key("consent_flow", state), _to_text(asdict(flow)), ex=left_s)
            pipe.delete(self._key("outcome", state))
            pipe.execute()

    def finish(self, state: str, browser: str, outcome: Mapping[str, Any]) -> None:
        """Store the outcome of a flow, for this browser."""
        text = _to_text({"is": "done", "browser": browser, "outcome": dict(outcome)})
        self._redis.set(self._key("outcome", state), text, ex=LIFE_S)

    def outcome(self, state: str, browser: str) -> dict[str, Any] | None:
        """Return the outcome, empty while the exchange is running; None where it is unknown or another browser's."""
        text = self._redis.get(self._key("outcome", state))
        entry = json.loads(str(text)) if text is not None else None
        if entry is None or entry["is"] == _WORKING:
            return None if entry is None else {}
        return dict(entry["outcome"]) if entry["browser"] == browser else None

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
