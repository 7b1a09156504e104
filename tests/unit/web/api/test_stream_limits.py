"""M8: a household has four progress streams at once, a token two hundred."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.api_service import ApiService
from worker.web.api import progress
from worker.web.api.callers import Caller
from worker.web.api.progress import MOST_OF_SESSION, MOST_OF_TOKEN, StreamCounter
from worker.web.dependencies import Session
from worker.web.error_pages import HttpRefusal

CALLERS = [
    (Caller(frozenset(), Session()), Caller(frozenset(), Session()), 4),
    (Caller(frozenset(), token_id="one"), Caller(frozenset(), token_id="two"), 200),
]


async def events() -> AsyncIterator[bytes]:
    yield b"first"
    yield b"last"


@pytest.mark.parametrize(("caller", "other", "most"), CALLERS, ids=["session", "token"])
def test_m8_so_many_streams_are_open_at_once_and_one_that_ends_makes_room(
    caller: Caller, other: Caller, most: int
) -> None:
    async def watch() -> None:
        limits = StreamCounter()
        streams = [limits.count(caller, events()) for _ in range(most)]
        for stream in streams:
            limits.check(caller)
            assert await anext(stream) == b"first"
        with pytest.raises(HttpRefusal) as refused:
            limits.check(caller)
        assert refused.value.status == 503 and int(refused.value.headers["Retry-After"]) > 0
        assert [event async for event in limits.count(caller, events())] == [], "one that began meanwhile"
        limits.check(other)
        assert [event async for event in streams[0]] == [b"last"]
        limits.check(caller)
        await streams[1].aclose()  # type: ignore[attr-defined]  # As when its browser leaves.
        for stream in streams[2:]:
            assert [event async for event in stream] == [b"last"]
        assert not limits._open

    assert (MOST_OF_SESSION, MOST_OF_TOKEN) == (4, 200)
    asyncio.run(watch())


def test_m8_beyond_its_number_a_household_is_sent_to_poll_and_no_other(
    service: ApiService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_limits", limits := StreamCounter())
    own, other = service.add(11), service.add(12)
    browser, neighbour = service.browser(own), service.browser(other)
    monkeypatch.setattr(limits, "check", refuse_first(limits))
    refused = browser.get(f"/api/accounts/{own}/progress/stream")
    assert (refused.status_code, refused.json()["error"]) == (503, "too_many_streams")
    done = {"Last-Event-ID": "loaded"}
    assert neighbour.get(f"/api/accounts/{other}/progress/stream", headers=done).status_code == 204


def refuse_first(limits: StreamCounter) -> object:
    """Return a check that finds the caller's number of streams open."""
    check = limits.check

    def full(caller: Caller) -> None:
        assert caller.session is not None
        limits._open[f"session {caller.session.sid}"] = MOST_OF_SESSION
        check(caller)

    return full
