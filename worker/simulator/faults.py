"""Faults that a test injects into the simulator: a fixed answer, a delay, or an answer damaged on its way back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from worker.domain.measures.answers import Json
from worker.simulator.api.errors import ERROR_TABLE, Generation

TIMEOUT_S: Final = 120.0
_CORRUPTING_KINDS: Final = ("truncated", "cut", "refresh_lost")
_FIELD_TYPES: Final = {
    "usage_point": str | None,
    "count": int | None,
    "skip": int,
    "status": int | None,
    "headers": dict,
    "delay_s": int | float | None,
    "kind": str | None,
}
KINDS: Final = ("timeout", "throttled", "bad_token", *_CORRUPTING_KINDS, *ERROR_TABLE)


@dataclass(slots=True)
class InjectedFault:
    """Fault for the calls whose path matches.

    ``path`` is a regular expression or a part of the path.  ``count`` says how often the fault happens, None for
    ever; ``skip`` calls pass before.  A fault without status, body and kind only waits ``delay_s``.  Kinds:

    ================= ======================================================================
    ``timeout``       no answer for ``delay_s`` (two minutes without it)
    ``truncated``     the text of the answer ends in the middle, the connection is fine
    ``cut``           the connection ends in the middle of the answer
    ``refresh_lost``  same as ``cut``: the refresh token is used up, the answer is lost
    ``throttled``     429
    ``bad_token``     the token is refused
    any other         that row of the error table, in the wording of the caller's generation
    ================= ======================================================================
    """

    path: str
    usage_point: str | None = None
    count: int | None = 1
    skip: int = 0
    status: int | None = None
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    kind: str | None = None
    hits: int = 0

    @classmethod
    def from_json(cls, raw: Json) -> Self:
        """Build a fault from the JSON of ``/__sim__/faults``.  Raises ValueError with the reason."""
        if not isinstance(raw, dict) or not isinstance(raw.get("path"), str):
            raise ValueError('a fault is an object with a "path"')
        names = {"path", "usage_point", "count", "skip", "status", "body", "headers", "delay_s", "kind"}
        if unknown := set(raw) - names:
            raise ValueError(f"no {sorted(unknown)[0]!r} in a fault; there are {', '.join(sorted(names))}")
        if raw.get("kind") is not None and raw["kind"] not in KINDS:
            raise ValueError(f"no kind {raw['kind']!r}; there are {', '.join(KINDS)}")
        for name, kinds in _FIELD_TYPES.items():
            if name in raw and not isinstance(raw[name], kinds):
                raise ValueError(f"{name} in a fault is of another type")
        body = raw.get("body")
        if body is not None and not isinstance(body, str):
            body = json.dumps(body, ensure_ascii=False)
        return cls(**raw | {"body": body, "delay_s": float(raw.get("delay_s") or 0.0)})

    def matches(self, path: str, usage_point: str | None) -> bool:
        """Return whether this call gets the fault, leaving ``skip`` aside."""
        if self.count == 0 or (self.usage_point is not None and self.usage_point != usage_point):
            return False
        return self.path in path or _pattern_matches(self.path, path)

    @property
    def wait_s(self) -> float:
        """Seconds to wait before the answer."""
        return self.delay_s or (TIMEOUT_S if self.kind == "timeout" else 0.0)

    @property
    def corrupts_response(self) -> bool:
        """Whether the call is carried out as usual and its answer damaged afterwards."""
        return self.kind in _CORRUPTING_KINDS

    def canned_response(self, generation: Generation) -> Response | None:
        """Return the answer that replaces the real one; None where the call is carried out."""
        if self.kind == "timeout":
            return Response("<html>504 Gateway Time-out</html>", 504, media_type="text/html")
        if self.kind is not None and self.kind in ERROR_TABLE:
            return ERROR_TABLE[self.kind].respond(generation)
        if self.status is None and self.body is None:
            return None
        media_type = "application/json" if (self.body or "").lstrip()[:1] in ("{", "[") else "text/html"
        return Response(self.body or "", self.status or 200, dict(self.headers), media_type)

    def corrupt(self, response: Response) -> Response:
        """Return the answer without its second half."""
        body = bytes(response.body)
        if self.kind == "truncated":
            return Response(body[: len(body) // 2], response.status_code, media_type=response.media_type)
        return _CutResponse(body, response.status_code, media_type=response.media_type)

    def as_json(self) -> Json:
        """Return the fault as ``/__sim__/faults`` shows it; ``count`` is what is left of it."""
        return {
            "path": self.path,
            "usage_point": self.usage_point,
            "count": self.count,
            "skip": self.skip,
            "status": self.status,
            "kind": self.kind,
            "delay_s": self.delay_s,
            "hits": self.hits,
        }


class InjectedFaults:
    """Faults in the order in which they were injected; a call gets the first that matches."""

    def __init__(self) -> None:
        self._faults: list[InjectedFault] = []

    def add(self, fault: InjectedFault) -> None:
        """Append a fault."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Drop all faults."""
        self._faults.clear()

    def take(self, path: str, usage_point: str | None) -> InjectedFault | None:
        """Return the fault of this call and count it; None where the call goes on as usual."""
        for fault in self._faults:
            if not fault.matches(path, usage_point):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            fault.hits += 1
            if fault.count is not None:
                fault.count -= 1
            return fault
        return None

    def as_json(self) -> Json:
        """Return all faults as ``/__sim__/faults`` shows them."""
        return [fault.as_json() for fault in self._faults]


class _CutResponse(Response):
    """Response that announces its full length and sends half of it; the server then ends the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = bytes(self.body)
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})


def _pattern_matches(pattern: str, path: str) -> bool:
    try:
        return re.search(pattern, path) is not None
    except re.error:
        # Such a text is meant literally, and it was already compared with the path.
        return False
