"""API routes of a first sync's progress: one answer, or a stream of server-sent events.

Each web process polls once a second for all watched accounts together, however many people watch, and only while
somebody watches. Each event is encoded once for all its watchers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request, Response
from sse_starlette import EventSourceResponse, JSONServerSentEvent, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from worker.accounts.status import AccountProgress, progress_of, status_of
from worker.errors import UnknownAccount, WorkerError
from worker.logs import fields
from worker.runtime.process import Runtime
from worker.web.api.auth import ReadAccounts
from worker.web.api.errors import ApiError, ApiRoute
from worker.web.api.schemas import AccountId, error_responses
from worker.web.context import ContextDep

log = logging.getLogger("releve.api")

router = APIRouter(route_class=ApiRoute, tags=["progress"])

POLL_EVERY_S: Final = 1.0
HEARTBEAT_S: Final = 15.0  # Usual proxies close a connection that is silent for longer.
LONGEST_S: Final = 900.0  # Then the browser reconnects, and its rights are checked again.
MOST_STREAMS: Final = 4000  # In one process; later callers have to poll.
_RECONNECT_MS: Final = 3000

_EVENT: Final = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": ["progress", "loaded", "removed"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "id": {"type": "string", "enum": ["loaded", "removed"]},
        "retry": {"type": "integer"},
    },
    "required": ["event", "data"],
}

FetchProgress = Callable[[Collection[str]], dict[str, AccountProgress]]


@router.get(
    "/accounts/{account_id}/progress",
    summary="How far the first sync is",
    response_model=AccountProgress,
    responses=error_responses(404, 422),
)
def read_progress(account_id: AccountId, context: ContextDep, caller: ReadAccounts) -> AccountProgress:
    """Days done and wanted by series; ask again every few seconds, or watch the stream."""
    caller.check_access(account_id)
    return _load_progress(context.runtime, account_id)


@router.get(
    "/accounts/{account_id}/progress/stream",
    summary="The same, as it happens",
    response_class=Response,
    responses={
        200: {
            "description": "Events `progress` with the JSON of the route above whenever it changes, then `loaded` "
            "(or `removed`) and the end. Comments in between keep the connection alive.",
            "content": {"text/event-stream": {"itemSchema": _EVENT}},
        },
        204: {"description": "The last event seen was the end: nothing more will come."},
        **error_responses(404, 422),
    },
)
async def watch_progress(
    request: Request,
    account_id: AccountId,
    context: ContextDep,
    caller: ReadAccounts,
    last_event_id: Annotated[str | None, Header(description="Sent by browsers that come back.")] = None,
) -> Response:
    """Server-sent events, for `EventSource`. Where no stream can be had (503), poll `/progress`."""
    caller.check_access(account_id)
    if last_event_id in ("loaded", "removed"):
        return Response(status_code=204)  # Only this status keeps an EventSource from reconnecting.
    hub = _hub_of(request, context.runtime)
    if hub.watchers >= MOST_STREAMS:
        raise ApiError(503, "too_many_streams", "ask /progress every few seconds instead", {"Retry-After": "30"})
    await hub.prepare(account_id, partial(_load_progress, context.runtime, account_id))
    return to_response(hub.events(account_id))


def to_response(events: AsyncIterator[bytes], heartbeat_s: float = HEARTBEAT_S) -> EventSourceResponse:
    """Return a response that ends with its events, its client or the server; comments keep it alive in between."""
    return EventSourceResponse(events, ping=heartbeat_s, ping_message_factory=partial(ServerSentEvent, comment=""))


def _load_progress(runtime: Runtime, account_id: str) -> AccountProgress:
    """Return the progress; reads the history back where Redis has lost it. Raises UnknownAccount."""
    account = runtime.registry.get(account_id)
    status_of(account, registry=runtime.registry, history=runtime.history)
    progress = _fetch_progress(runtime, [account_id]).get(account_id)
    if progress is None:
        raise UnknownAccount("the account was removed")
    return progress


def _fetch_progress(runtime: Runtime, account_ids: Collection[str]) -> dict[str, AccountProgress]:
    return progress_of(account_ids, registry=runtime.registry, progress=runtime.progress, history=runtime.history)


def _hub_of(request: Request, runtime: Runtime) -> ProgressHub:
    """Return the application's hub. The first stream creates it, in the event loop that it then lives in."""
    state = request.app.state
    if not hasattr(state, "progress_hub"):
        state.progress_hub = ProgressHub(partial(_fetch_progress, runtime))
    hub: ProgressHub = state.progress_hub
    return hub


def _encode(name: str, data: Any, *, last: bool = False) -> bytes:
    return JSONServerSentEvent(data, event=name, id=name if last else None).encode()


@dataclass
class _SharedProgress:
    """Progress of one account, shared by its watchers.

    ``event`` holds the bytes of the last event, ``ended`` whether no other follows. ``changed`` is set once at each
    change, then a new one replaces it.
    """

    progress: AccountProgress | None = None
    event: bytes = b""
    ended: bool = False
    watchers: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def publish(self, progress: AccountProgress | None) -> None:
        """Send the progress to all watchers where it has changed. None means that the account was removed."""
        if progress is None:
            self.event, self.ended = _encode("removed", {}, last=True), True
        elif progress == self.progress:
            return
        else:
            data = progress.model_dump(mode="json")
            self.event, self.ended = _encode("progress", data), progress.loaded
            if progress.loaded:
                self.event += _encode("loaded", data, last=True)
        self.progress = progress
        self.changed.set()
        self.changed = asyncio.Event()


class ProgressHub:
    """Poller of the progress of all watched accounts, which hands it to their streams.

    It lives in one event loop and calls ``fetch`` in a thread. The times are arguments for tests alone.
    """

    def __init__(
        self,
        fetch: FetchProgress,
        poll_every_s: float = POLL_EVERY_S,
        longest_s: float = LONGEST_S,
    ) -> None:
        self._fetch = fetch
        self._poll_every_s, self._longest_s = poll_every_s, longest_s
        self._accounts: dict[str, _SharedProgress] = {}
        self._load_tasks: dict[str, asyncio.Task[object]] = {}
        self._poller: asyncio.Task[None] | None = None

    @property
    def watchers(self) -> int:
        return sum(shared.watchers for shared in self._accounts.values())

    async def prepare(self, account_id: str, load: Callable[[], object]) -> None:
        """Call ``load`` in a thread before the first stream of an account, once for all streams that open together.

        ``load`` reads an account's history back where Redis has lost it. Raises what ``load`` raises.
        """
        if account_id in self._accounts:
            return
        if (task := self._load_tasks.get(account_id)) is None:
            task = self._load_tasks[account_id] = asyncio.create_task(run_in_threadpool(load))
            task.add_done_callback(lambda _: self._load_tasks.pop(account_id, None))
        # The shield keeps the task alive for the others when one of its callers disconnects.
        await asyncio.shield(task)

    async def events(self, account_id: str) -> AsyncIterator[bytes]:
        """Yield the bytes of one stream, until the history is loaded, the account removed, or ``longest_s`` over."""
        shared = self._accounts.setdefault(account_id, _SharedProgress())
        shared.watchers += 1
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        loop = asyncio.get_running_loop()
        end_at = loop.time() + self._longest_s
        try:
            yield ServerSentEvent(retry=_RECONNECT_MS).encode()
            last_event = b""
            while True:
                # Taken before the comparison, so that a change during the write isn't missed.
                changed = shared.changed
                if shared.event != last_event:
                    last_event = shared.event
                    yield last_event
                    if shared.ended:
                        return
                    continue
                try:
                    await asyncio.wait_for(changed.wait(), end_at - loop.time())
                except TimeoutError:
                    return
        finally:
            shared.watchers -= 1
            if not shared.watchers and self._accounts.get(account_id) is shared:
                del self._accounts[account_id]

    async def _poll(self) -> None:
        """Fetch and publish the progress while there are watchers. After a failure they keep what they have."""
        while self._accounts:
            account_ids = list(self._accounts)
            try:
                # The threads of the requests may all be busy when a thousand watchers come at once.
                progress = await asyncio.to_thread(self._fetch, account_ids)
            except WorkerError as error:
                log.warning("progress can't be read", extra=fields(reason=str(error)))
            else:
                for account_id in account_ids:
                    if shared := self._accounts.get(account_id):
                        shared.publish(progress.get(account_id))
            await asyncio.sleep(self._poll_every_s)
