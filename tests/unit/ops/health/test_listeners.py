"""Checks of listeners that answer, fail, or are not there."""

from __future__ import annotations

import pytest

from tests.support.canned_server import CannedAnswer, answer, canned_server
from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.ops.health.liveness import check_listener
from worker.ops.health.results import Level
from worker.stores.redis.child_processes import free_port

pytestmark = pytest.mark.sockets

CUT = CannedAnswer(cut=True)


def test_a_door_that_answers_is_well(build_connections: BuildConnections) -> None:
    with canned_server(answer(200, "OK"), answer(401, "who are you")) as server:
        connections = build_connections(address=f"{server.url}page?x=1")
        assert_result(check_listener(connections), Level.OK, "answers 200")
        assert_result(check_listener(connections), Level.OK, "answers 401")
    assert [path for _, path, _ in server.requests] == ["/page?x=1"] * 2


@pytest.mark.parametrize("canned, words", [(answer(502, "bad gateway"), "answers 502"), (CUT, "does not answer")])
def test_a_door_that_fails_is_a_fault(build_connections: BuildConnections, canned: CannedAnswer, words: str) -> None:
    with canned_server(canned) as server:
        assert_result(check_listener(build_connections(address=server.url)), Level.FAIL, words, "look at its log")


def test_a_closed_door_is_a_fault(build_connections: BuildConnections) -> None:
    closed = build_connections(address=f"http://127.0.0.1:{free_port()}/")
    assert_result(check_listener(closed), Level.FAIL, "does not answer (ConnectionRefusedError)")
