"""Who may declare a right without an invitation."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.gas_homes import GAS, PCE
from tests.support.registries import METER, NOW
from worker.domain.access_right import HouseholdDeclaration
from worker.domain.connection_request import ConnectionRequest, RequestState
from worker.runtime.process import Runtime

TYPED = HouseholdDeclaration(meter=PCE, postcode="69001", email="durand@example.org", name="Durand")


def begin(runtime: Runtime, session: Mapping[str, int]) -> ConnectionRequest:
    return runtime.connector.declarations.begin(GAS, TYPED, browser="b" * 64, address="192.0.2.7", session=session)


def test_a_session_vouches_for_nobody_once_its_account_has_another_number(runtime: Runtime) -> None:
    account = runtime.registry.add("enedis", METER, NOW, token_needed=False)[0]
    own = begin(runtime, {account.id: account.session_number})
    assert (own.state, own.declaration) == (RequestState.ASKING, TYPED)
    for session in ({account.id: account.session_number - 1}, {"k3q7d0fr2mxx": account.session_number}, {}):
        request = begin(runtime, session)
        assert (request.state, request.page, request.declaration) == (RequestState.REFUSED, "unproven", None)
