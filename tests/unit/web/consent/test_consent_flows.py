"""Consent flows in Redis, on a real server."""

from __future__ import annotations

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


def test_a_flow_is_there_until_it_is_taken_or_its_callback_has_become_a_request(flows: ConsentFlows) -> None:
    flow = ConsentFlow("enedis", "browser", "invitation1", "2024-07-25")
    state, other = flows.start(flow), flows.start(flow)
    assert flows.read(state) == flow and flows.take(state) == flow
    assert flows.take(state) is None and flows.read(state) is None
    flows.end(other)
    assert flows.read(other) is None


def test_a_handshake_shows_nobody_who_takes_part() -> None:
    shown = repr(ConsentFlow("enedis", "browser-name", redirect_uri="https://x.example", caller_state="their-state"))
    assert not [secret for secret in ("browser-name", "x.example", "their-state") if secret in shown]
