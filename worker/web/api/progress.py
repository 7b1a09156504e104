"""How far a first sync is: once, or as server-sent events.

However many people watch, each web process looks once a second for all watched accounts together, and only while
somebody watches; what it sees is written out once and handed to all.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from worker.accounts.status import AccountProgress, progress_of, standing
from worker.errors import UnknownAccount, WorkerError
from worker.logs import fields
from worker.runtime.process import Runtime
from worker.web.api.auth import ReadAccounts
from worker.web.api.errors import ApiError, ApiRoute
from worker.web.api.schemas import AccountId, ProgressOut, SeriesDone, faults
from worker.web.context import ContextDep

log = logging.getLogger("releve.api")

router = APIRouter(route_class=ApiRoute, tags=["progress"])

LOOK_EVERY_S: Final = 1.0
HEARTBEAT_S: Final = 15.0  # under the patience of usual proxies
LONGEST_S: Final = 900.0  # then the browser comes back, with its rights looked at anew
MOST_STREAMS: Final = 4000  # a process; whoever comes after these polls
_BACK_IN_MS: Final = 3000

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

Look = Callable[[Collection[str]], dict[str, AccountProgress]]


@router.get(
    "/accounts/{account_id}/progress",
    summary="How far the first sync is",
    response_model=ProgressOut,
    responses=faults(404, 422),
)
def read_progress(account_id: AccountId, house: ContextDep, caller: ReadAccounts) -> ProgressOut:
    """Days done and wanted by series; ask again every few seconds, or watch the stream."""
    caller.check_sees(account_id)
    return to_out(_first_look(house.runtime, account_id))


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
        **faults(404, 422),
    },
)
async def watch_progress(
    request: Request,
    account_id: AccountId,
    house: ContextDep,
    caller: ReadAccounts,
    last_event_id: Annotated[str | None, Header(description="Sent by browsers that come back.")] = None,
) -> Response:
    """Server-sent events, for `EventSource`. Where no stream can be had (503), poll `/progress`."""
    caller.check_sees(account_id)
    if last_event_id in ("loaded", "removed"):
        return Response(status_code=204)  # the one answer that keeps an EventSource from coming back
    hub = _hub_of(request, house.runtime)
    if hub.watchers >= MOST_STREAMS:
        raise ApiError(503, "too_many_streams", "ask /progress every few seconds instead", {"Retry-After": "30"})
    await hub.prepare(account_id, partial(_first_look, house.runtime, account_id))
    return StreamingResponse(
        hub.events(account_id), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


def to_out(progress: AccountProgress) -> ProgressOut:
    return ProgressOut(
        account=progress.account_id,
        state=progress.state,
        reason=progress.reason,
        loaded=progress.loaded,
        series={
            name.value: SeriesDone(done=part.done, total=part.total, error=part.error)
            for name, part in progress.series.items()
        },
    )


def _first_look(runtime: Runtime, account_id: str) -> AccountProgress:
    """Raises UnknownAccount."""
    account = runtime.registry.get(account_id)
    standing(runtime, account)
    if (progress := progress_of(runtime, [account_id]).get(account_id)) is None:
        raise UnknownAccount("the account was removed")
    return progress


def _hub_of(request: Request, runtime: Runtime) -> Hub:
    """One of each application; made in its event loop, at the first stream."""
    state = request.app.state
    if not hasattr(state, "progress_hub"):
        state.progress_hub = Hub(lambda account_ids: progress_of(runtime, account_ids))
    hub: Hub = state.progress_hub
    return hub


def _event(name: str, data: Any, *, last: bool = False) -> bytes:
    end = f"id: {name}\n" if last else ""
    return f"{end}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


@dataclass
class _Watched:
    """What the watchers of one account share; ``changed`` is set once and then another takes its place."""

    seen: AccountProgress | None = None
    text: bytes = b""
    over: bool = False
    watchers: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, progress: AccountProgress | None) -> None:
        if progress is None:
            self.text, self.over = _event("removed", {}, last=True), True
        elif progress == self.seen:
            return
        else:
            told = to_out(progress).model_dump(mode="json")
            self.text, self.over = _event("progress", told), progress.loaded
            if progress.loaded:
                self.text += _event("loaded", told, last=True)
        self.seen = progress
        self.changed.set()
        self.changed = asyncio.Event()


class Hub:
    """Looks for all who watch.  Lives in one event loop; ``look`` is called in a thread.

    The times are arguments for tests alone.
    """

    def __init__(
        self,
        look: Look,
        look_every_s: float = LOOK_EVERY_S,
        heartbeat_s: float = HEARTBEAT_S,
        longest_s: float = LONGEST_S,
    ) -> None:
        self._look = look
        self._look_every_s, self._heartbeat_s, self._longest_s = look_every_s, heartbeat_s, longest_s
        self._watched: dict[str, _Watched] = {}
        self._preparing: dict[str, asyncio.Task[object]] = {}
        self._looking: asyncio.Task[None] | None = None

    @property
    def watchers(self) -> int:
        return sum(watched.watchers for watched in self._watched.values())

    async def prepare(self, account_id: str, first_look: Callable[[], object]) -> None:
        """For the first watcher of an account, and once for all that come at the same time: a look that may fail.

        It also has the history read back that a lost Redis forgot.  Raises what ``first_look`` raises.
        """
        if account_id in self._watched:
            return
        if (looking := self._preparing.get(account_id)) is None:
            looking = self._preparing[account_id] = asyncio.create_task(run_in_threadpool(first_look))
            looking.add_done_callback(lambda _: self._preparing.pop(account_id, None))
        await asyncio.shield(looking)  # who leaves doesn't take it away from the others

    async def events(self, account_id: str) -> AsyncIterator[bytes]:
        """The bytes of one watcher's stream; ends with the history, the account, or after ``longest_s``."""
        watched = self._watched.setdefault(account_id, _Watched())
        watched.watchers += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._keep_looking())
        loop = asyncio.get_running_loop()
        leave_at = loop.time() + self._longest_s
        try:
            yield f"retry: {_BACK_IN_MS}\n\n".encode()
            told = b""
            while True:
                changed = watched.changed  # before we look: what comes while we write is not missed
                if watched.text != told:
                    told = watched.text
                    yield told
                    if watched.over:
                        return
                    continue
                if (left_s := leave_at - loop.time()) <= 0:
                    return
                if not await _wait(changed, min(self._heartbeat_s, left_s)):
                    yield b":\n\n"
        finally:
            watched.watchers -= 1
            if not watched.watchers and self._watched.get(account_id) is watched:
                del self._watched[account_id]

    async def _keep_looking(self) -> None:
        """While somebody watches.  A look that fails costs a second: the watchers have what they saw before."""
        while self._watched:
            account_ids = list(self._watched)
            try:
                # not in the requests' threads: a thousand watchers who come at once would stand before us
                seen = await asyncio.to_thread(self._look, account_ids)
            except WorkerError as error:
                log.warning("progress can't be read", extra=fields(reason=str(error)))
            else:
                for account_id in account_ids:
                    if watched := self._watched.get(account_id):
                        watched.tell(seen.get(account_id))
            await asyncio.sleep(self._look_every_s)


async def _wait(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
