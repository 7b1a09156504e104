"""One HTTP answer of a supplier, read to its end: its code, whether it refuses the token, how long it asks to wait."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Final

from worker.clients.endpoints import TokenMode
from worker.clients.ndjson import StreamedValues, StreamLimits
from worker.domain.answers import Json
from worker.domain.retry import quota_wait_s

# Of the API gateway that stands before many suppliers (WSO2), and of OAuth.
BAD_TOKEN_CODES: Final = {"900901", "900902", "900903", "unauthorized", "invalid-token"}
_LONGEST_PAGE: Final = 20_000
_STRUCTURE: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]')  # Texts are passed over.
# A code is written to logs and messages. So it must consist of words and a short number: no meter, no token.
_CODE_FORM: Final = re.compile(r"(?=.{1,40}$)[a-z]{2,24}(-[a-z]{2,24}){0,5}(-?[0-9]{1,7})?|[0-9]{1,6}")
_NESTING: Final = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}


def is_too_deep(body: bytes, most: int = StreamLimits().depth) -> bool:
    """Return whether JSON opens more than ``most`` lists and objects in each other."""
    depth = 0
    for match in _STRUCTURE.finditer(body):
        depth += _NESTING.get(match[0], 0)
        if depth > most:
            return True
    return False


# Without slots, because cached_property needs a __dict__.
@dataclass(frozen=True)
class Reply:
    """An HTTP answer, read to its end; ``headers`` are those of requests, which knows their names in any case.

    ``streamed``: the values of an answer that was read one value after another. Then ``body`` is empty, or holds the
    beginning of a refusal.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    streamed: StreamedValues | None = field(default=None, repr=False)

    @cached_property
    def json(self) -> Json:
        """The parsed body; None if it is no JSON (or ``null``), or nested deeper than any answer is."""
        try:
            return None if is_too_deep(self.body) else json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @cached_property
    def envelope(self) -> Mapping[str, Json]:
        """The supplier's own envelope without those that gateways put around it; empty if there is none."""
        envelope = self.json if isinstance(self.json, dict) else {}
        for _ in range(3):
            inner = (envelope.get(key) for key in ("error", "fault", "enedis_return"))
            envelope = next((value for value in inner if isinstance(value, dict)), envelope)
        return envelope

    @cached_property
    def code(self) -> str:
        """The supplier's code in lower case with ``-`` for ``_``, safe to log; empty without a readable one."""
        for key in ("error", "code", "error_code", "errorCode"):
            value = self.envelope.get(key)
            if isinstance(value, str | int) and not isinstance(value, bool):
                code = re.sub("[_ ]", "-", str(value)[:64].strip().lower())
                return code if _CODE_FORM.fullmatch(code) else ""
        return ""

    @property
    def digest(self) -> str:
        """The SHA-256 of the answer's bytes, in hexadecimal."""
        return self.streamed.digest if self.streamed else hashlib.sha256(self.body).hexdigest()

    @property
    def meant_status(self) -> int:
        """The supplier's status, which a proxy may put into the body of a success."""
        inner = self.json.get("status") if isinstance(self.json, dict) else None
        return inner if 200 <= self.status < 300 and isinstance(inner, int) and 400 <= inner < 600 else self.status


def token_refused(reply: Reply, mode: TokenMode) -> bool:
    """Return whether the supplier refuses the token, and nothing else.

    With a user's token (v4) a 403 has two meanings: with an empty body it refuses the token, with a body the consent. A
    gateway's 401 refuses the token, unless it is Enedis' that it passes on: that refuses the gateway.
    """
    if mode == "bearer":
        return reply.status == 401 and (reply.json is None or reply.envelope is reply.json)
    if mode == "user" and reply.status == 403:
        return not reply.body.strip() or "invalid_token" in reply.headers.get("WWW-Authenticate", "")
    return reply.status == 401 or (reply.status < 500 and reply.code in BAD_TOKEN_CODES)


def wait_of(reply: Reply, now: datetime) -> float:
    """Return the seconds that a 429 asks to wait; a gateway's HTML page may name the moment in its text."""
    page = {"description": reply.body[:_LONGEST_PAGE].decode("utf-8", "replace")} if reply.json is None else {}
    return quota_wait_s(reply.headers, reply.envelope or page, now)
