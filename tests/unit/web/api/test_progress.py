"""Watching a first sync: one look for all watchers, an end when there is one, and a heartbeat in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_service import ApiHouse, api_house
from worker.accounts.status import AccountProgress, SeriesProgress
from worker.domain.consent.accounts import AccountState
from worker.domain.measures.readings import Series
from worker.errors import StoreUnavailable
from worker.web.api import progress as streams
from worker.web.api.progress import Hub


def at(done: int, account_id: str = "home") -> AccountProgress:
    series = {name: SeriesProgress(done, 10, None) for name in Series}
    return AccountProgress(account_id, AccountState.READY, "", series)


class Supplier:
    """Answers one look after the other; the last one for ever."""

    def __init__(self, *seen: AccountProgress | Exception | None) -> None:
        self.seen = list(seen)
        self.looks: list[list[str]] = []

    def __call__(self, account_ids: Collection[str]) -> dict[str, AccountProgress]:
        self.looks.append(list(account_ids))
        now = self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]
        if isinstance(now, Exception):
            raise now
        return {} if now is None else dict.fromkeys(account_ids, now)


def hub(look: Callable[..., dict[str, AccountProgress]], **times: float) -> Hub:
    return Hub(look, **{"look_every_s": 0.01, "heartbeat_s": 5.0, "longest_s": 5.0, **times})


async def watch(watched: Hub, account_id: str = "home") -> list[str]:
    return [piece.decode() async for piece in watched.events(account_id)]


def told(pieces: list[str]) -> list[tuple[str, Any]]:
    """Event names and data."""
    events = [block for piece in pieces for block in piece.split("\n\n") if "data:" in block]
    fields = [dict(line.split(": ", 1) for line in block.splitlines()) for block in events]
    return [(event["event"], json.loads(event["data"])) for event in fields]


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_a_watcher_is_told_each_change_once_and_the_end() -> None:
    pieces = run(watch(hub(Supplier(at(1), at(1), at(4), at(10)))))
    events = told(pieces)
    assert [name for name, _ in events] == ["progress", "progress", "progress", "loaded"]
    assert [data["series"]["daily"]["done"] for _, data in events] == [1, 4, 10, 10]
    assert "id: loaded\n" in pieces[-1]


def test_many_watchers_cost_one_look() -> None:
    supplier = Supplier(at(1), at(5), at(10))

    async def many() -> list[list[str]]:
        watched = hub(supplier)
        return await asyncio.gather(*(watch(watched, f"home{number % 3}") for number in range(60)))

    streams_told = run(many())
    assert all(told(pieces)[-1][0] == "loaded" for pieces in streams_told)
    assert len(supplier.looks) == 3
    assert sorted(supplier.looks[0]) == ["home0", "home1", "home2"]


def test_nobody_looks_when_nobody_watches() -> None:
    supplier = Supplier(at(1))

    async def leave_early() -> int:
        watched = hub(supplier)
        events = watched.events("home")
        await anext(events)
        await anext(events)
        await events.aclose()
        assert watched.watchers == 0
        await asyncio.sleep(0.03)
        looks = len(supplier.looks)
        await asyncio.sleep(0.05)
        return len(supplier.looks) - looks

    assert run(leave_early()) == 0


def test_a_removed_account_ends_its_streams() -> None:
    assert told(run(watch(hub(Supplier(at(1), None)))))[-1] == ("removed", {})


def test_a_look_that_fails_is_taken_again() -> None:
    events = told(run(watch(hub(Supplier(at(1), StoreUnavailable("away"), at(10))))))
    assert [name for name, _ in events] == ["progress", "progress", "loaded"]


def test_a_quiet_stream_gets_heartbeats_and_ends_in_its_time() -> None:
    pieces = run(watch(hub(Supplier(at(1)), heartbeat_s=0.02, longest_s=0.1)))
    assert pieces.count(":\n\n") >= 2
    assert [name for name, _ in told(pieces)] == ["progress"]


@pytest.fixture
def house(redis_url: str, tmp_path: Path) -> Iterator[ApiHouse]:
    with api_house(redis_url, tmp_path) as built:
        yield built


def load(house: ApiHouse, account_id: str) -> None:
    for series in Series:
        house.runtime.state.mark_done(account_id, series, house.runtime.history.wanted(series))


def test_the_stream_of_a_loaded_account_says_so_and_a_browser_that_comes_back_is_sent_away(house: ApiHouse) -> None:
    account_id = house.add()
    load(house, account_id)
    browser, path = house.browser(account_id), f"/api/accounts/{account_id}/progress/stream"
    with browser.stream("GET", path) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert [name for name, _ in told([answer.read().decode()])] == ["progress", "loaded"]
    assert browser.get(path, headers={"Last-Event-ID": "loaded"}).status_code == 204


def test_the_stream_tells_what_the_single_answer_tells(house: ApiHouse) -> None:
    account_id, client = house.add(), house.client()
    load(house, account_id)
    streamed = told([client.get(f"/api/accounts/{account_id}/progress/stream").text])
    assert streamed[-1][1] == client.get(f"/api/accounts/{account_id}/progress").json()


def test_beyond_the_most_streams_the_caller_is_sent_to_poll(house: ApiHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MOST_STREAMS", 0)
    refused = house.client().get(f"/api/accounts/{house.add()}/progress/stream")
    assert (refused.status_code, refused.json()["error"]) == (503, "too_many_streams")
    assert "Retry-After" in refused.headers


def test_a_stream_of_another_household_is_not_there(house: ApiHouse) -> None:
    own, other = house.add(11), house.add(12)
    assert house.browser(own).get(f"/api/accounts/{other}/progress/stream").status_code == 404
    assert house.client().get("/api/accounts/nobody/progress/stream").status_code == 404


def test_a_herd_that_comes_at_once_costs_one_first_look_and_all_are_told_its_failure() -> None:
    looks: list[int] = []

    def fail() -> None:
        looks.append(1)
        raise StoreUnavailable("away")

    async def herd() -> list[BaseException | None]:
        watched = hub(Supplier(at(1)))
        return await asyncio.gather(*(watched.prepare("home", fail) for _ in range(50)), return_exceptions=True)

    assert [type(error) for error in run(herd())] == [StoreUnavailable] * 50
    assert len(looks) == 1
