"""Consents under way, on a real Redis-protocol server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from redis import Redis

from worker.stores.redis.connection import connect
from worker.stores.redis.consent_flows import ConsentFlow, ConsentFlows


@pytest.fixture
def begun() -> ConsentFlow:
    """Made by each test: it has a quarter of an hour to live."""
    return ConsentFlow("enedis", "browser", renews="home1")


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def handshakes(redis: Redis) -> Iterator[ConsentFlows]:
    prefix = f"test-{uuid4().hex}:"
    yield ConsentFlows(redis, prefix)
    for key in redis.scan_iter(f"{prefix}*"):
        redis.delete(key)


def test_a_state_is_random_and_fits_what_the_supplier_takes(handshakes: ConsentFlows, begun: ConsentFlow) -> None:
    states = {handshakes.start(begun) for _ in range(50)}
    assert len(states) == 50 and {len(state) for state in states} == {43}


def test_a_handshake_is_taken_once_however_many_ask(handshakes: ConsentFlows, begun: ConsentFlow) -> None:
    state = handshakes.start(begun)
    assert handshakes.look(state) == handshakes.look(state) == begun
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda _: handshakes.take(state), range(32)))
    assert [each for each in taken if each] == [begun]
    assert handshakes.outcome(state, "browser") == {}  # somebody works on it
    assert handshakes.look(state) is None


def test_an_unknown_state_leaves_no_trace(handshakes: ConsentFlows) -> None:
    assert handshakes.take("unknown") is None
    assert handshakes.outcome("unknown", "browser") is None


def test_what_came_of_it_is_for_its_browser(handshakes: ConsentFlows, begun: ConsentFlow) -> None:
    state = handshakes.start(begun)
    handshakes.take(state)
    handshakes.finish(state, "browser", {"go": "/accounts/home1"})
    assert handshakes.outcome(state, "browser") == {"go": "/accounts/home1"}
    assert handshakes.outcome(state, "another") is None
    assert handshakes.outcome(state, "") is None


def test_a_handshake_put_back_can_be_taken_again_for_the_rest_of_its_time(
    handshakes: ConsentFlows, begun: ConsentFlow
) -> None:
    state = handshakes.start(begun)
    taken = handshakes.take(state)
    assert taken is not None
    handshakes.put_back(state, taken)
    assert handshakes.outcome(state, "browser") is None
    assert handshakes.take(state) == begun
    handshakes.put_back(state, ConsentFlow("enedis", "browser", started_at=int(time.time()) - 901))
    assert handshakes.look(state) is None


def test_a_code_of_ours_is_redeemed_once(handshakes: ConsentFlows) -> None:
    code = handshakes.hand_over({"sealed": "x"})
    assert handshakes.redeem(code) == {"sealed": "x"}
    assert handshakes.redeem(code) is None
    handshakes.unredeem(code, {"sealed": "x"})
    assert handshakes.redeem(code) == {"sealed": "x"}
    assert handshakes.redeem("é" * 500) is None


def test_a_handshake_shows_nobody_who_takes_part() -> None:
    shown = repr(ConsentFlow("enedis", "browser-name", redirect_uri="https://x.example", caller_state="their-state"))
    assert not [secret for secret in ("browser-name", "x.example", "their-state") if secret in shown]
