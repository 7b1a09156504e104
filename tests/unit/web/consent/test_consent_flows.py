"""Consent flows in Redis, on a real server."""

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
def flow() -> ConsentFlow:
    """Return a new flow for each test, because it ends after a quarter of an hour."""
    return ConsentFlow("enedis", "browser", renews="home1")


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def flows(redis: Redis) -> Iterator[ConsentFlows]:
    prefix = f"test-{uuid4().hex}:"
    yield ConsentFlows(redis, prefix)
    for key in redis.scan_iter(f"{prefix}*"):
        redis.delete(key)


def test_a_state_is_random_and_fits_what_the_supplier_takes(flows: ConsentFlows, flow: ConsentFlow) -> None:
    states = {flows.start(flow) for _ in range(50)}
    assert len(states) == 50 and {len(state) for state in states} == {43}


def test_a_handshake_is_taken_once_however_many_ask(flows: ConsentFlows, flow: ConsentFlow) -> None:
    state = flows.start(flow)
    assert flows.read(state) == flows.read(state) == flow
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(lambda _: flows.take(state), range(32)))
    assert [row for row in taken if row] == [flow]
    assert flows.outcome(state, "browser") == {}  # Another request works on it.
    assert flows.read(state) is None


def test_an_unknown_state_leaves_no_trace(flows: ConsentFlows) -> None:
    assert flows.take("unknown") is None
    assert flows.outcome("unknown", "browser") is None


def test_what_came_of_it_is_for_its_browser(flows: ConsentFlows, flow: ConsentFlow) -> None:
    state = flows.start(flow)
    flows.take(state)
    flows.finish(state, "browser", {"go": "/accounts/home1"})
    assert flows.outcome(state, "browser") == {"go": "/accounts/home1"}
    assert flows.outcome(state, "another") is None
    assert flows.outcome(state, "") is None


def test_a_handshake_put_back_can_be_taken_again_for_the_rest_of_its_time(
    flows: ConsentFlows, flow: ConsentFlow
) -> None:
    state = flows.start(flow)
    taken = flows.take(state)
    assert taken is not None
    flows.restore(state, taken)
    assert flows.outcome(state, "browser") is None
    assert flows.take(state) == flow
    flows.restore(state, ConsentFlow("enedis", "browser", started_at=int(time.time()) - 901))
    assert flows.read(state) is None


def test_a_code_of_ours_is_redeemed_once(flows: ConsentFlows) -> None:
    code = flows.issue_code("sealed")
    assert flows.redeem_code(code) == "sealed"
    assert flows.redeem_code(code) is None
    flows.restore_code(code, "sealed")
    assert flows.redeem_code(code) == "sealed"
    assert flows.redeem_code("é" * 500) is None


def test_a_handshake_shows_nobody_who_takes_part() -> None:
    shown = repr(ConsentFlow("enedis", "browser-name", redirect_uri="https://x.example", caller_state="their-state"))
    assert not [secret for secret in ("browser-name", "x.example", "their-state") if secret in shown]
