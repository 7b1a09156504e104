"""Consent flows in Redis, on a real server."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest
from redis import Redis

from worker.stores.redis.consent_flows import ConsentFlow, ConsentFlows


@pytest.fixture
def flows(redis: Redis) -> ConsentFlows:
    return ConsentFlows(redis, prefix=f"test-{uuid4().hex}:")


def test_a_state_is_random_and_fits_what_the_supplier_takes(flows: ConsentFlows) -> None:
    states = {flows.start(ConsentFlow("enedis", "browser")) for _ in range(50)}
    assert len(states) == 50 and {len(state) for state in states} == {43}


def test_a_handshake_put_back_can_be_taken_again_for_the_rest_of_its_time(flows: ConsentFlows) -> None:
    flow = ConsentFlow("enedis", "browser", renews="home1")
    state = flows.start(flow)
    taken = flows.take(state)
    assert taken is not None
    flows.restore(state, taken)
    assert flows.outcome(state, "browser") is None
    assert flows.take(state) == flow
    flows.restore(state, ConsentFlow("enedis", "browser", started_at=int(time.time()) - 901))
    assert flows.read(state) is None


def test_a_handshake_shows_nobody_who_takes_part() -> None:
    shown = repr(ConsentFlow("enedis", "browser-name", redirect_uri="https://x.example", caller_state="their-state"))
    assert not [secret for secret in ("browser-name", "x.example", "their-state") if secret in shown]
