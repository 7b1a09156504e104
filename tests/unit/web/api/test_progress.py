"""The stream of a first sync's progress: one poll for all watchers, heartbeats, and an end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_service import ApiService, open_api_service
from worker.accounts.status import AccountProgress, SeriesProgress
from worker.domain.consent.accounts import AccountState
from worker.domain.measures.readings import Series
from worker.errors import StoreUnavailable
from worker.web.api import progress as streams
from worker.web.api.progress import ProgressHub, to_response


def at(done: int, account_id: str = "home") -> AccountProgress:
    series = {name: SeriesProgress(done=done, total=10, error=None) for name in Series}
    return AccountProgress(account=account_id, state=AccountState.READY, reason="", loaded=done == 10, series=series)


class ProgressSource:
    """Returns one answer after the other, the last one for ever."""

    def __init__(self, *answers: AccountProgress | Exception | None) -> None:
        self.answers = list(answers)
        self.calls: list[list[str]] = []

    def __call__(self, account_ids: Collection[str]) -> dict[str, AccountProgress]:
        self.calls.append(list(account_ids))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return {} if answer is None else dict.fromkeys(account_ids, answer)


def hub(fetch: Callable[..., dict[str, AccountProgress]], **times: float) -> ProgressHub:
    return ProgressHub(fetch, **{"poll_every_s": 0.01, "longest_s": 5.0, **times})


async def watch(watched: ProgressHub, account_id: str = "home") -> list[str]:
    return [piece.decode() async for piece in watched.events(account_id)]


def events_of(pieces: list[str]) -> list[tuple[str, Any]]:
    """Return event names and data."""
    blocks = [block for piece in pieces for block in piece.replace("\r\n", "\n").split("\n\n")]
    events = [block for block in blocks if "data:" in block]
    fields = [dict(line.split(": ", 1) for line in block.splitlines()) for block in events]
    return [(event["event"], json.loads(event["data"])) for event in fields]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_a_watcher_is_told_each_change_once_and_the_end() -> None:
    pieces = run(watch(hub(ProgressSource(at(1), at(1), at(4), at(10)))))
    events = events_of(pieces)
    assert [name for name, _ in events] == ["progress", "progress", "progress", "loaded"]
    assert [data["series"]["daily"]["done"] for _, data in events] == [1, 4, 10, 10]
    assert "id: loaded\r\n" in pieces[-1]


def test_many_watchers_cost_one_look() -> None:
    source = ProgressSource(at(1), at(5), at(10))

    async def many() -> list[list[str]]:
        watched = hub(source)
        return await asyncio.gather(*(watch(watched, f"home{number % 3}") for number in range(60)))

    all_streams = run(many())
    assert all(events_of(pieces)[-1][0] == "loaded" for pieces in all_streams)
    assert len(source.calls) == 3
    assert sorted(source.calls[0]) == ["home0", "home1", "home2"]


def test_nobody_looks_when_nobody_watches() -> None:
    source = ProgressSource(at(1))

    async def leave_early() -> int:
        watched = hub(source)
        events = watched.events("home")
        await anext(events)
        await anext(events)
        await events.aclose()
        assert watched.watchers == 0
        await asyncio.sleep(0.03)
        calls = len(source.calls)
        await asyncio.sleep(0.05)
        return len(source.calls) - calls

    assert run(leave_early()) == 0


def test_a_removed_account_ends_its_streams() -> None:
    assert events_of(run(watch(hub(ProgressSource(at(1), None)))))[-1] == ("removed", {})


def test_a_look_that_fails_is_taken_again() -> None:
    events = events_of(run(watch(hub(ProgressSource(at(1), StoreUnavailable("away"), at(10))))))
    assert [name for name, _ in events] == ["progress", "progress", "loaded"]


def test_a_quiet_stream_ends_in_its_time() -> None:
    pieces = run(watch(hub(ProgressSource(at(1)), longest_s=0.1)))
    assert [name for name, _ in events_of(pieces)] == ["progress"]


def test_a_quiet_stream_gets_heartbeats_and_ends_with_its_client() -> None:
    async def respond() -> tuple[list[dict[str, Any]], int]:
        watched, sent = hub(ProgressSource(at(1))), []

        async def receive() -> dict[str, str]:
            while sum(message.get("body") == b": \r\n\r\n" for message in sent) < 2:
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET"}
        await asyncio.wait_for(to_response(watched.events("home"), heartbeat_s=0.02)(scope, receive, send), 5)
        return sent, watched.watchers

    sent, watchers = run(respond())
    headers = dict(sent[0]["headers"])
    assert (headers[b"cache-control"], headers[b"x-accel-buffering"]) == (b"no-store", b"no")
    assert [name for name, _ in events_of([message["body"].decode() for message in sent[1:]])] == ["progress"]
    assert watchers == 0


@pytest.fixture
def service(redis_url: str, tmp_path: Path) -> Iterator[ApiService]:
    with open_api_service(redis_url, tmp_path) as built:
        yield built


def load(service: ApiService, account_id: str) -> None:
    for series in Series:
        service.runtime.progress.mark_done(account_id, series, service.runtime.history.wanted_window(series))


def test_the_stream_of_a_loaded_account_says_so_and_a_browser_that_comes_back_is_sent_away(service: ApiService) -> None:
    account_id = service.add()
    load(service, account_id)
    browser, path = service.browser(account_id), f"/api/accounts/{account_id}/progress/stream"
    with browser.stream("GET", path) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert [name for name, _ in events_of([answer.read().decode()])] == ["progress", "loaded"]
    assert browser.get(path, headers={"Last-Event-ID": "loaded"}).status_code == 204


def test_the_stream_tells_what_the_single_answer_tells(service: ApiService) -> None:
    account_id, client = service.add(), service.client()
    load(service, account_id)
    streamed = events_of([client.get(f"/api/accounts/{account_id}/progress/stream").text])
    assert streamed[-1][1] == client.get(f"/api/accounts/{account_id}/progress").json()


def test_beyond_the_most_streams_the_caller_is_sent_to_poll(
    service: ApiService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_STREAMS", 0)
    refused = service.client().get(f"/api/accounts/{service.add()}/progress/stream")
    assert (refused.status_code, refused.json()["error"]) == (503, "too_many_streams")
    assert "Retry-After" in refused.headers


def test_a_stream_of_another_household_is_not_there(service: ApiService) -> None:
    own, other = service.add(11), service.add(12)
    assert service.browser(own).get(f"/api/accounts/{other}/progress/stream").status_code == 404
    assert service.client().get("/api/accounts/nobody/progress/stream").status_code == 404


def test_a_herd_that_comes_at_once_costs_one_first_look_and_all_are_told_its_failure() -> None:
    loads: list[int] = []

    def fail() -> None:
        loads.append(1)
        raise StoreUnavailable("away")

    async def herd() -> list[BaseException | None]:
        watched = hub(ProgressSource(at(1)))
        return await asyncio.gather(*(watched.prepare("home", fail) for _ in range(50)), return_exceptions=True)

    assert [type(error) for error in run(herd())] == [StoreUnavailable] * 50
    assert len(loads) == 1
