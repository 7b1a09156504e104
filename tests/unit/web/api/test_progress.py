"""The stream of a first sync's progress: each change once, heartbeats, and an end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sse_starlette import EventSourceResponse

from tests.support.api_service import ApiService
from tests.support.registries import mark_asked
from worker.accounts.status import AccountProgress, SeriesProgress
from worker.domain.account import AccountState
from worker.domain.series import USUAL_SERIES
from worker.domain.sessions import KeyKind, Scope
from worker.errors import StoreUnavailable, UnknownAccount
from worker.runtime.consent_parts import erase
from worker.web.api import progress as streams
from worker.web.api.callers import Caller
from worker.web.api.progress import load_watched, stream_events
from worker.web.dependencies import load_session
from worker.web.error_pages import HttpRefusal


def at(done: int) -> AccountProgress:
    series = {name: SeriesProgress(done=done, total=10, error=None) for name in USUAL_SERIES}
    return AccountProgress(account="home", state=AccountState.READY, reason="", loaded=done == 10, series=series)


def source(*answers: AccountProgress | Exception) -> Callable[[], AccountProgress]:
    """Return a function that gives one answer after the other, the last one for ever."""
    left = list(answers)

    def load() -> AccountProgress:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return load


def watch(*answers: AccountProgress | Exception, longest_s: float = 5.0) -> list[str]:
    async def collect() -> list[str]:
        return [piece.decode() async for piece in stream_events(source(*answers), 0.01, longest_s)]

    return asyncio.run(collect())


def events_of(pieces: list[str]) -> list[tuple[str, Any]]:
    """Return event names and data."""
    blocks = [block for piece in pieces for block in piece.replace("\r\n", "\n").split("\n\n")]
    events = [block for block in blocks if "data:" in block]
    fields = [dict(line.split(": ", 1) for line in block.splitlines()) for block in events]
    return [(event["event"], json.loads(event["data"])) for event in fields]


def test_a_watcher_is_told_each_change_once_and_the_end() -> None:
    pieces = watch(at(1), at(1), at(4), at(10))
    events = events_of(pieces)
    assert [name for name, _ in events] == ["progress", "progress", "progress", "loaded"]
    assert [data["series"]["daily"]["done"] for _, data in events] == [1, 4, 10, 10]
    assert "id: loaded\r\n" in pieces[-1]


@pytest.mark.parametrize(
    ("answers", "names"),
    [
        ([at(1), UnknownAccount("removed")], ["progress", "removed"]),
        ([at(1), StoreUnavailable("away"), at(10)], ["progress", "progress", "loaded"]),
    ],
)
def test_a_removal_ends_the_stream_and_an_outage_does_not(answers: list[Any], names: list[str]) -> None:
    assert [name for name, _ in events_of(watch(*answers))] == names


def test_a_quiet_stream_ends_in_its_time() -> None:
    assert [name for name, _ in events_of(watch(at(1), longest_s=0.1))] == ["progress"]


def test_a_quiet_stream_gets_heartbeats_and_ends_with_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    async def respond() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, str]:
            while sum(message.get("body", b"").startswith(b": ping") for message in sent) < 2:
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        response = EventSourceResponse(stream_events(source(at(1)), 0.01))
        await asyncio.wait_for(response({"type": "http", "method": "GET"}, receive, send), 5)
        return sent

    monkeypatch.setattr(EventSourceResponse, "DEFAULT_PING_INTERVAL", 0.02)
    free = streams._streams._value
    sent = asyncio.run(respond())
    headers = dict(sent[0]["headers"])
    assert (headers[b"cache-control"], headers[b"x-accel-buffering"]) == (b"no-store", b"no")
    assert [name for name, _ in events_of([message["body"].decode() for message in sent[1:]])] == ["progress"]
    assert streams._streams._value == free


def test_the_stream_of_a_loaded_account_says_so_and_a_browser_that_comes_back_is_sent_away(service: ApiService) -> None:
    account_id, history = service.add(), service.parts.sync.history
    for series in USUAL_SERIES:
        mark_asked(service.parts.stores.registry, account_id, series, history.wanted_window(series))
    browser, path = service.browser(account_id), f"/api/accounts/{account_id}/progress"
    with browser.stream("GET", f"{path}/stream") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        events = events_of([answer.read().decode()])
    assert [name for name, _ in events] == ["progress", "loaded"]
    assert events[-1][1] == service.client().get(path).json()
    assert browser.get(f"{path}/stream", headers={"Last-Event-ID": "loaded"}).status_code == 204


def test_beyond_the_most_streams_the_caller_is_sent_to_poll(
    service: ApiService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_streams", asyncio.Semaphore(0))
    refused = service.client().get(f"/api/accounts/{service.add()}/progress/stream")
    assert (refused.status_code, refused.json()["error"]) == (503, "too_many_streams")
    assert "Retry-After" in refused.headers


def test_a_stream_of_another_household_is_not_there(service: ApiService) -> None:
    own, other = service.add(11), service.add(12)
    assert service.browser(own).get(f"/api/accounts/{other}/progress/stream").status_code == 404
    assert service.client().get("/api/accounts/nobody/progress/stream").status_code == 404


# The rights of who watches (L7)


def watch_until(service: ApiService, caller: Caller, account_id: str, end: Callable[[], object]) -> list[str]:
    """Return the names of the events that come after ``end`` was called, while the first one was read."""

    async def collect() -> list[str]:
        stream = stream_events(
            partial(
                load_watched,
                service.parts.stores.registry,
                service.parts.sync,
                service.parts.access,
                caller,
                account_id,
            ),
            poll_every_s=0,
        )
        before = [(await anext(stream)).decode() for _ in range(2)]  # How long to wait, and the first event.
        assert [name for name, _ in events_of(before)] == ["progress"]
        end()
        return [piece.decode() async for piece in stream]

    return [name for name, _ in events_of(asyncio.run(asyncio.wait_for(collect(), 30)))]


def of_token(service: ApiService, expires_in: timedelta | None = None) -> tuple[Caller, str]:
    token, _ = service.parts.stores.registry.api_tokens.create("dash", [Scope.READ_ACCOUNTS], expires_in)
    return Caller(token.scopes, token_id=token.id, tenant=token.tenant), token.id


def of_session(service: ApiService, *account_ids: str) -> tuple[Caller, str]:
    cookie = dict(service.browser(*account_ids).cookies)
    session = load_session(service.parts.access, next(iter(cookie.values())))
    assert session.key is not None
    return Caller(frozenset({Scope.READ_ACCOUNTS}), session), session.key.id


def test_l7_the_stream_of_a_revoked_token_ends(service: ApiService) -> None:
    account_id, (caller, token_id) = service.add(), of_token(service)
    assert (
        watch_until(service, caller, account_id, lambda: service.parts.stores.registry.api_tokens.revoke(token_id))
        == []
    )


def test_l7_a_token_past_its_end_watches_nothing(service: ApiService) -> None:
    caller, _ = of_token(service, timedelta(microseconds=1))
    with pytest.raises(HttpRefusal) as refused:
        load_watched(service.parts.stores.registry, service.parts.sync, service.parts.access, caller, service.add())
    assert refused.value.status == 401


def test_l7_the_stream_of_a_session_that_was_ended_ends(service: ApiService) -> None:
    account_id = service.add()
    caller, key_id = of_session(service, account_id)
    assert watch_until(service, caller, account_id, lambda: service.parts.access.keys.end(key_id)) == []


def test_l7_the_stream_of_a_session_that_shows_the_account_no_more_ends(service: ApiService) -> None:
    account_id = service.add()
    caller, key_id = of_session(service, account_id, service.add(12))
    households = service.parts.access.households
    assert watch_until(service, caller, account_id, lambda: households.remove_from_others([account_id], "x")) == []
    assert any(key.id == key_id for key in service.parts.access.keys.list_keys(kinds=[KeyKind.HOUSEHOLD_SESSION]))


def test_l7_an_erasure_is_told_to_the_stream_of_a_household_that_had_nothing_else(service: ApiService) -> None:
    account_id = service.add()
    caller, _ = of_session(service, account_id)
    assert watch_until(service, caller, account_id, lambda: erase(service.parts.stores, account_id)) == ["removed"]
