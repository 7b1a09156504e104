from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import responses

from tests.support.supplier_server import BASE_URL, NOW, SECRETS, FakeTurnstile, FakeVault, House, far_away
from worker.clients.enedis.client import EnedisClient
from worker.clients.enedis.presets import PRESETS
from worker.clients.oauth import OAuthClient
from worker.clients.session import SupplierSession
from worker.clients.tokens import ApplicationTokens, Token, UserTokens
from worker.clients.transport import Transport


@pytest.fixture
def supplier() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def build(supplier: responses.RequestsMock) -> Iterator[Callable[[str], House]]:
    transports: list[Transport] = []

    def build_house(preset: str) -> House:
        endpoints = PRESETS[preset].at(BASE_URL)
        transports.append(transport := Transport(endpoints.base_url))
        vault = FakeVault(Token("access-token-one", "refresh-token-one", far_away()))
        turnstile = FakeTurnstile()
        oauth = OAuthClient(endpoints, "our-client", SECRETS[0], transport, turnstile)
        strategy = UserTokens if endpoints.preset.token_mode == "user" else ApplicationTokens
        session = SupplierSession(endpoints, transport, strategy(vault, oauth), turnstile)
        client = EnedisClient(endpoints, session, lambda: NOW)
        return House(endpoints, supplier, vault, turnstile, oauth, session, client)

    yield build_house
    for transport in transports:
        transport.close()


@pytest.fixture(params=sorted(PRESETS))
def house(build: Callable[[str], House], request: pytest.FixtureRequest) -> House:
    """Each generation in turn."""
    return build(request.param)


@pytest.fixture
def v4(build: Callable[[str], House]) -> House:
    return build("enedis-v4")


@pytest.fixture
def v5(build: Callable[[str], House]) -> House:
    return build("enedis-v5")


@pytest.fixture
def v2026(build: Callable[[str], House]) -> House:
    return build("enedis-2026")
