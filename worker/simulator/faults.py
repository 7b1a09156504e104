"""Faults that a test injects into the simulator: a fixed answer, a delay, or an answer damaged on its way back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Final

import anyio
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from worker.domain.measures.answers import Json
from worker.simulator.api.errors import ERROR_TABLE, Generation

TIMEOUT_S: Final = 120.0
_SLOW_PIECES: Final = 20
KINDS: Final = ("timeout", "throttled", "slow", "truncated", "cut", "refresh_lost", *ERROR_TABLE)


def _check_kind(kind: str | None) -> str | None:
    if kind is not None and kind not in KINDS:
        raise ValueError(f"no kind {kind!r}; there are {', '.join(KINDS)}")
    return kind


def _to_text(body: Json) -> str | None:
    return body if body is None or isinstance(body, str) else json.dumps(body, ensure_ascii=False)


class InjectedFault(BaseModel):
    """Fault for the calls whose path matches, as the JSON of ``/__sim__/faults``.

    ``path`` is a part of the path.  ``count`` says how often the fault happens, None for
    ever; ``skip`` calls pass before; both count down, and ``hits`` up.  A fault without status, body and kind only
    waits ``delay_s``.  Kinds:

    ================= ======================================================================
    ``timeout``       no answer for ``delay_s`` (two minutes without it)
    ``slow``          the answer comes in pieces, over ``delay_s`` (two minutes without it)
    ``truncated``     the text of the answer ends in the middle, the connection is fine
    ``cut``           the connection ends in the middle of the answer
    ``refresh_lost``  same as ``cut``: the refresh token is used up, the answer is lost
    ``throttled``     429
    any other         that row of the error table, in the wording of the caller's generation
    ================= ======================================================================
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    path: str
    usage_point: str | None = None
    count: int | None = 1
    skip: int = 0
    status: int | None = None
    body: Annotated[str | None, BeforeValidator(_to_text)] = None
    headers: dict[str, str] = {}
    delay_s: float | None = 0.0
    kind: Annotated[str | None, AfterValidator(_check_kind)] = None
    hits: int = 0

    def matches(self, path: str, usage_point: str | None) -> bool:
        """Return whether this call gets the fault, leaving ``skip`` aside."""
        if self.count == 0 or (self.usage_point is not None and self.usage_point != usage_point):
            return False
        return self.path in path

    @property
    def wait_s(self) -> float:
        """Seconds to wait before the answer."""
        return 0.0 if self.kind == "slow" else self.delay_s or (TIMEOUT_S if self.kind == "timeout" else 0.0)

    def canned_response(self, generation: Generation) -> Response | None:
        """Return the answer that replaces the real one; None where the call is carried out."""
        if self.kind == "timeout":
            return Response("<html>504 Gateway Time-out</html>", 504, media_type="text/html")
        if (refusal := ERROR_TABLE.get(self.kind or "")) is not None:
            return refusal.respond(generation)
        if self.status is None and self.body is None:
            return None
        media_type = "application/json" if (self.body or "").lstrip()[:1] in ("{", "[") else "text/html"
        return Response(self.body or "", self.status or 200, self.headers, media_type)

    def corrupt(self, response: Response) -> Response:
        """Return the answer of a call that was carried out, slow or without its second half where the kind says so."""
        body = bytes(response.body)
        if self.kind == "slow":
            media_type, pause_s = response.media_type, (self.delay_s or TIMEOUT_S) / _SLOW_PIECES
            return _SlowResponse(body, response.status_code, media_type=media_type, pause_s=pause_s)
        if self.kind == "truncated":
            return Response(body[: len(body) // 2], response.status_code, media_type=response.media_type)
        if self.kind in ("cut", "refresh_lost"):
            return _CutResponse(body, response.status_code, media_type=response.media_type)
        return response


def take_fault(faults: Sequence[InjectedFault], path: str, usage_point: str | None) -> InjectedFault | None:
    """Return the first fault that matches this call and count it; None where the call goes on as usual."""
    for fault in faults:
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


class _SlowResponse(Response):
    """Response that sends its body in pieces, with a pause after each."""

    def __init__(self, *args: Any, pause_s: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._pause_s = pause_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = bytes(self.body)
        size = len(body) // _SLOW_PIECES + 1
        for rank in range(_SLOW_PIECES):
            await send({"type": "http.response.body", "body": body[rank * size : (rank + 1) * size], "more_body": True})
            await anyio.sleep(self._pause_s)
        await send({"type": "http.response.body", "body": b""})


class _CutResponse(Response):
    """Response that announces its full length and sends half of it; the server then ends the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        body = bytes(self.body)
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
