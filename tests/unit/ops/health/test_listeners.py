"""Doors that answer, and those that don't."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.canned_server import Canned, answer, canned_server
from tests.unit.ops.health.conftest import Premises, assert_told
from worker.ops.health.connections import CheckConnections
from worker.ops.health.listeners import flower, metrics, web
from worker.ops.health.results import Level, Note
from worker.stores.redis.child_processes import free_port

CUT = Canned(cut=True)


@pytest.mark.parametrize("door", [web, flower, metrics])
def test_a_door_that_answers_is_well(premises: Premises, door: Callable[[CheckConnections], Iterator[Note]]) -> None:
    with canned_server(answer(200, "OK"), answer(401, "who are you")) as server:
        visit = premises(address=f"{server.url}page?x=1")
        assert_told(door(visit), Level.OK, "answers 200")
        assert_told(door(visit), Level.OK, "answers 401")
    assert [path for _, path, _ in server.requests] == ["/page?x=1"] * 2


@pytest.mark.parametrize("said, told", [(answer(502, "bad gateway"), "answers 502"), (CUT, "does not answer")])
def test_a_door_that_fails_is_a_fault(premises: Premises, said: Canned, told: str) -> None:
    with canned_server(said) as server:
        assert_told(web(premises(address=server.url)), Level.FAIL, told, "look at its log")


def test_a_closed_door_is_a_fault(premises: Premises) -> None:
    closed = premises(address=f"http://127.0.0.1:{free_port()}/")
    assert_told(flower(closed), Level.FAIL, "does not answer (ConnectionRefusedError)")
