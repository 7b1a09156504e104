"""Consents under way: what we must know again when the browser comes back from the supplier's page.

The supplier returns a state of at most 100 characters; all else stays here, under that state, for a quarter of an
hour.  A state works once.  What came of it is remembered as long, so that a callback which the supplier's portal
loads twice (upstream-apis, 1.12) shows the same page and asks nobody again.  Losing a key costs a start over.

    handshake:<state>   the handshake; taken away by the first callback (GETDEL)
    outcome:<state>     what came of it, or ``working`` while somebody finds out
    handover:<code>     of the proxy: what a code of ours stands for; works once too
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from redis import Redis

from worker.stores.redis.connection import PrefixedKeys, redis_errors

LIFE_S: Final = 900
WORKING_S: Final = 90  # longer than any exchange; after it the one who worked is taken for dead
_WORKING: Final = "working"

_TAKE = """
local handshake = redis.call('GETDEL', KEYS[1])
if handshake then redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2]) end
return handshake
"""


@dataclass(frozen=True, slots=True)
class ConsentFlow:
    """A consent under way.

    ``browser``: who started it, by the secret that only this browser holds; empty for the proxy's.  ``renews``: the
    account of the renewal link.  ``redirect_uri`` and ``caller_state``: where the proxy's caller waits.
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
    """Every method raises StoreUnavailable."""

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._take = redis.register_script(_TAKE)

    @redis_errors()
    def start(self, handshake: ConsentFlow) -> str:
        """Its state: 43 characters that nobody can guess."""
        state = secrets.token_urlsafe(32)
        self._redis.set(self._key("handshake", state), _to_text(asdict(handshake)), ex=LIFE_S)
        return state

    @redis_errors()
    def look(self, state: str) -> ConsentFlow | None:
        """The handshake, left where it is; None for a state that is unknown, used or too old."""
        return _to_handshake(self._redis.get(self._key("handshake", state)))

    @redis_errors()
    def take(self, state: str) -> ConsentFlow | None:
        """The handshake for the first who asks; from then on its outcome is ``working``."""
        keys = [self._key("handshake", state), self._key("outcome", state)]
        return _to_handshake(self._take(keys=keys, args=[_to_text({"is": _WORKING}), WORKING_S]))

    @redis_errors()
    def put_back(self, state: str, handshake: ConsentFlow) -> None:
        """Nothing came of it yet: the same callback may be tried again until its time is over."""
        left_s = handshake.started_at + LIFE_S - int(time.time())
        with self._redis.pipeline() as pipe:
            if left_s > 0:
                pipe.set(self._key("handshake", state), _to_text(asdict(handshake)), ex=left_s)
            pipe.delete(self._key("outcome", state))
            pipe.execute()

    @redis_errors()
    def finish(self, state: str, browser: str, outcome: Mapping[str, Any]) -> None:
        """Remember what came of it, for this browser."""
        text = _to_text({"is": "done", "browser": browser, "outcome": dict(outcome)})
        self._redis.set(self._key("outcome", state), text, ex=LIFE_S)

    @redis_errors()
    def outcome(self, state: str, browser: str) -> dict[str, Any] | None:
        """What came of it, empty while somebody works on it; None where nobody knows, or for another browser."""
        text = self._redis.get(self._key("outcome", state))
        known = json.loads(str(text)) if text is not None else None
        if known is None or known["is"] == _WORKING:
            return None if known is None else {}
        return dict(known["outcome"]) if known["browser"] == browser else None

    # -- the proxy's codes

    @redis_errors()
    def hand_over(self, facts: Mapping[str, Any]) -> str:
        """A code that stands for ``facts``."""
        code = secrets.token_urlsafe(32)
        self._redis.set(self._key("handover", _digest(code)), _to_text(dict(facts)), ex=LIFE_S)
        return code

    @redis_errors()
    def redeem(self, code: str) -> dict[str, Any] | None:
        """The facts, for the first who asks."""
        text = self._redis.getdel(self._key("handover", _digest(code)))
        return None if text is None else dict(json.loads(str(text)))

    @redis_errors()
    def unredeem(self, code: str, facts: Mapping[str, Any]) -> None:
        """The code was not used after all: it works again, for a quarter of an hour."""
        self._redis.set(self._key("handover", _digest(code)), _to_text(dict(facts)), ex=LIFE_S)


def _digest(code: str) -> str:
    """Codes come from outside in any length and with any sign."""
    return hashlib.sha256(code.encode()).hexdigest()


def _to_text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _to_handshake(text: Any) -> ConsentFlow | None:
    return None if text is None else ConsentFlow(**json.loads(str(text)))
