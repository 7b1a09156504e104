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


def test_a_flow_is_taken_once_and_ends_once(flows: ConsentFlows) -> None:
    flow = ConsentFlow("enedis", "browser", invitation="i1", begun_on="2024-07-25")
    taken, ended = flows.start(flow), flows.start(flow)
    assert [flows.read(taken), flows.take(taken), flows.take(taken), flows.read(taken)] == [flow, flow, None, None]
    flows.end(ended)
    assert flows.read(ended) is None


def test_a_redirect_is_found_again_by_its_state(flows: ConsentFlows) -> None:
    flows.keep_redirect("state", "sealed")
    assert flows.find_redirect("state") == "sealed" and flows.find_redirect("other") is None


def test_a_handshake_shows_nobody_who_takes_part() -> None:
    shown = repr(ConsentFlow("enedis", "browser-name", redirect_uri="https://x.example", caller_state="their-state"))
    assert not [secret for secret in ("browser-name", "x.example", "their-state") if secret in shown]
