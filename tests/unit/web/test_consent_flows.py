"""Consent flows in Redis, on a real server."""

from __future__ import annotations

from uuid import uuid4

import pytest
from redis import Redis

from worker.domain.oauth_proxy import ProxyCaller
from worker.stores.redis.pending_consents import ConsentFlow, ConsentFlows


@pytest.fixture
def flows(redis: Redis) -> ConsentFlows:
    return ConsentFlows(redis, prefix=f"test-{uuid4().hex}:")


def test_a_state_is_random_and_fits_what_the_supplier_takes(flows: ConsentFlows) -> None:
    states = {flows.start(ConsentFlow("enedis", "browser")) for _ in range(50)}
    assert len(states) == 50 and {len(state) for state in states} == {43}


@pytest.mark.parametrize("caller", [None, ProxyCaller("client", "https://x.example/", "their state", "a" * 43)])
def test_a_flow_is_read_until_it_ends(flows: ConsentFlows, caller: ProxyCaller | None) -> None:
    flow = ConsentFlow("enedis", "browser", "i1", "kilowatt", "2024-07-25", "2024-07-25T09:00:00+00:00", caller)
    state = flows.start(flow)
    assert [flows.read(state), flows.read(state)] == [flow, flow]
    flows.end(state)
    assert flows.read(state) is None


def test_a_code_is_redeemed_once_and_may_be_restored(flows: ConsentFlows) -> None:
    code = "c" * 43
    flows.store_code(code, "sealed")
    assert [flows.redeem_code(code, len), flows.redeem_code(code, len)] == [6, None]
    flows.store_code(code, "sealed")
    assert flows.redeem_code(code, str.upper) == "SEALED"


def test_a_code_that_fails_its_check_is_not_spent(flows: ConsentFlows) -> None:
    def refuse(sealed: str) -> None:
        raise ValueError(sealed)

    flows.store_code("c" * 43, "sealed")
    with pytest.raises(ValueError, match="sealed"):
        flows.redeem_code("c" * 43, refuse)
    assert flows.redeem_code("c" * 43, str.upper) == "SEALED"


def test_of_two_that_check_a_code_at_once_one_gets_it(flows: ConsentFlows) -> None:
    inner: list[str | None] = []

    def check(sealed: str) -> str:
        if not inner:  # Another caller comes between our check and the spending of the code.
            inner.append("")
            inner[0] = flows.redeem_code("c" * 43, str.upper)
        return sealed

    flows.store_code("c" * 43, "sealed")
    assert flows.redeem_code("c" * 43, check) is None and inner == ["SEALED"]


def test_a_flow_shows_nobody_who_takes_part() -> None:
    caller = ProxyCaller("client", "https://x.example", "their-state")
    shown = repr(ConsentFlow("enedis", "browser-name", caller=caller))
    assert not [secret for secret in ("browser-name", "x.example", "their-state") if secret in shown]
