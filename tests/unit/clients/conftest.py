from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import responses

from tests.support.supplier_server import (
    BASE_URL,
    NOW,
    SECRETS,
    ClientHarness,
    FakePermits,
    FakeTokenStore,
    three_hours_ahead,
)
from worker.clients.enedis.presets import PRESETS
from worker.clients.oauth import OAuthClient
from worker.clients.supplier_session import SupplierSession, Token, Transport
from worker.clients.suppliers import SUPPLIERS
from worker.clients.tokens import ApplicationTokens, UserTokens


@pytest.fixture
def supplier() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def build(supplier: responses.RequestsMock) -> Callable[[str], ClientHarness]:
    def build_harness(preset: str) -> ClientHarness:
        described = next(each for each in SUPPLIERS.values() if preset in each.presets)
        endpoints = described.presets[preset].endpoints(BASE_URL)
        transport = Transport(endpoints.base_url, token_url=endpoints.token_url)
        store = FakeTokenStore(Token("access-token-one", "refresh-token-one", three_hours_ahead()))
        permits = FakePermits()
        oauth = OAuthClient(endpoints, "our-client", SECRETS[0], transport, permits)
        strategy = UserTokens if endpoints.preset.token_mode == "user" else ApplicationTokens
        session = SupplierSession(endpoints, transport, strategy(store, oauth), permits)
        client = described.client(endpoints, session, lambda: NOW, lambda deviation: None)
        return ClientHarness(endpoints, supplier, store, permits, oauth, session, client)

    return build_harness


@pytest.fixture(params=sorted(PRESETS))
def harness(build: Callable[[str], ClientHarness], request: pytest.FixtureRequest) -> ClientHarness:
    """Return a harness of each generation in turn."""
    return build(request.param)


@pytest.fixture
def v4(build: Callable[[str], ClientHarness]) -> ClientHarness:
    return build("enedis-v4")


@pytest.fixture
def v5(build: Callable[[str], ClientHarness]) -> ClientHarness:
    return build("enedis-v5")


@pytest.fixture
def v2026(build: Callable[[str], ClientHarness]) -> ClientHarness:
    return build("enedis-2026")


@pytest.fixture
def adict(build: Callable[[str], ClientHarness]) -> ClientHarness:
    return build("grdf-adict")
