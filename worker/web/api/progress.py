"""API routes of a first sync's progress: one answer, or a stream of server-sent events.

Each stream queries the registry every two seconds. Few streams are needed: the supplier's quota lets only about one
account a second through, so only a few households can be in their first sync at once. The streams of one process are
limited, in total and per caller; callers beyond these limits must poll the single answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Response
from sse_starlette import EventSourceResponse, JSONServerSentEvent, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from worker.accounts.status import AccountProgress, progress_of
from worker.errors import UnknownAccount, WorkerError
from worker.logs import fields
from worker.runtime.sync_parts import Sync
from worker.runtime.web_access import WebAccess
from worker.stores.registry import Registry
from worker.web.api.callers import Caller, ReadAccounts
from worker.web.api.schemas import AccountId, error_responses
from worker.web.dependencies import AccessDep, RegistryDep, SyncDep
from worker.web.error_pages import HttpRefusal

log = logging.getLogger("releve.api")
router = APIRouter(tags=["progress"])
POLL_EVERY_S: Final = 2.0
LONGEST_S: Final = 900.0  # After this time, the browser reconnects.
MOST_STREAMS: Final = 400  # In one process.
MOST_OF_SESSION: Final = 4  # For the tabs of one browser.
MOST_OF_TOKEN: Final = 200
_RECONNECT_MS: Final = 3000
_EVENT: Final = {  # Of each event: OpenAPI 3.1 has no `itemSchema`.
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": ["progress", "loaded", "removed"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "id": {"type": "string", "enum": ["loaded", "removed"]},
        "retry": {"type": "integer"},
    },
    "required": ["event", "data"],
}
_streams = asyncio.Semaphore(MOST_STREAMS)


class StreamCounter:
    """Counts the open streams of each caller: by session for a household, and by token for a client."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    def check(self, caller: Caller) -> None:
        """Raise HttpRefusal 503 if the caller, or all callers together, already have the maximum of streams."""
        if self._is_full(caller) or _streams.locked():
            raise HttpRefusal(503, "too_many_streams", "ask /progress every few seconds instead", wait_s=30)

    async def count(self, caller: Caller, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the events of a stream, which is counted until it ends.

        Yields nothing if the caller has opened its maximum of streams since ``check``; a browser then reconnects.
        """
        async with aclosing(events):  # type: ignore[type-var]  # It is a generator.
            if self._is_full(caller):
                return
            subject = _subject(caller)
            self._open[subject] += 1
            try:
                async for event in events:
                    yield event
            finally:
                self._open[subject] -= 1
                if not self._open[subject]:
                    del self._open[subject]

    def _is_full(self, caller: Caller) -> bool:
        return self._open[_subject(caller)] >= (MOST_OF_TOKEN if caller.session is None else MOST_OF_SESSION)


def _subject(caller: Caller) -> str:
    return f"token {caller.token_id}" if caller.session is None else f"session {caller.session.sid}"


_limits = StreamCounter()


@router.get(
    "/accounts/{account_id}/progress", summary="Progress of the first sync", responses=error_responses(404, 422)
)
def read_progress(account_id: AccountId, registry: RegistryDep, sync: SyncDep, caller: ReadAccounts) -> AccountProgress:
    """Show, for each series, how many days are fetched and how many are wanted.

    Call again every few seconds, or watch the stream.
    """
    return progress_of(caller.load_account(registry, account_id), sync.history)


@router.get(
    "/accounts/{account_id}/progress/stream",
    summary="Progress as a stream of events",
    response_class=Response,
    responses={
        200: {
            "description": "Events `progress` with the JSON of the route above whenever it changes, then `loaded` "
            "(or `removed`) and the end. Comments in between keep the connection alive.",
            "content": {"text/event-stream": {"schema": _EVENT}},
        },
        204: {"description": "The last event was the end: nothing more will come."},
        **error_responses(404, 422),
    },
)
async def watch_progress(
    account_id: AccountId,
    registry: RegistryDep,
    sync: SyncDep,
    access: AccessDep,
    caller: ReadAccounts,
    last_event_id: Annotated[str | None, Header(description="Sent by browsers that reconnect.")] = None,
) -> Response:
    """Send the progress as server-sent events, for `EventSource`. If no stream is available (503), poll `/progress`."""
    # Queries of the registry block, so they run in a thread.
    await run_in_threadpool(caller.load_account, registry, account_id, include_removed=True)
    if last_event_id in ("loaded", "removed"):
        return Response(status_code=204)  # Only this status keeps an EventSource from reconnecting.
    _limits.check(caller)
    load = partial(load_watched, registry, sync, access, caller, account_id)
    # The progress is loaded before the stream begins: afterwards an error can't be answered with its own status.
    await run_in_threadpool(load)
    # EventSourceResponse itself sends a comment every 15 s, which keeps the connection alive.
    return EventSourceResponse(_limits.count(caller, stream_events(load)))


async def stream_events(
    load: Callable[[], AccountProgress], poll_every_s: float = POLL_EVERY_S, longest_s: float = LONGEST_S
) -> AsyncIterator[bytes]:
    """Yield the bytes of one stream, until the history is loaded, the account is removed, or ``longest_s`` is over.

    ``load`` is called in a thread. If it raises HttpRefusal, the caller may no longer watch, and the stream ends; a
    browser that reconnects gets the refusal. After any other failure the stream goes on. Only tests pass
    ``poll_every_s`` and ``longest_s``.
    """
    end_at = asyncio.get_running_loop().time() + longest_s
    last = None
    async with _streams:
        yield ServerSentEvent(retry=_RECONNECT_MS).encode()
        while asyncio.get_running_loop().time() < end_at:
            try:
                progress = await run_in_threadpool(load)
            except UnknownAccount:
                yield _encode("removed", {}, last=True)
                return
            except HttpRefusal:
                return
            except WorkerError as error:
                log.warning("progress can't be read", extra=fields(reason=str(error)))
            else:
                data = progress.model_dump(mode="json")
                if data != last:
                    yield _encode("progress", data)
                if progress.loaded:
                    yield _encode("loaded", data, last=True)
                    return
                last = data
            await asyncio.sleep(poll_every_s)


def load_watched(registry: Registry, sync: Sync, access: WebAccess, caller: Caller, account_id: str) -> AccountProgress:
    """Return the progress of an account shown to the caller earlier, if the caller may still see the account.

    Raises UnknownAccount if the account was removed, and HttpRefusal if the caller's token or session has ended, or no
    longer gives access to the account.
    """
    return progress_of(caller.reload_account(registry, access, account_id), sync.history)


def _encode(name: str, data: Any, *, last: bool = False) -> bytes:
    return JSONServerSentEvent(data, event=name, id=name if last else None).encode()
