"""Several suppliers side by side: each account's calls go to its own, with that one's addresses, tokens and permits."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
import responses

from tests.support.supplier_server import BASE_URL, NOW, USAGE_POINT, FakePermits, FakeTokenStore, three_hours_ahead
from worker.clients.enedis import ENEDIS
from worker.clients.enedis.client import EnedisClient
from worker.clients.oauth import OAuthClient
from worker.clients.supplier import SupplierClient
from worker.clients.supplier_session import Token, Transport
from worker.clients.suppliers import SUPPLIERS, SupplierClients
from worker.domain.account import Account, AccountState
from worker.domain.answers import AnswerKind
from worker.domain.series import Series, daily_of
from worker.domain.windows import DateWindow
from worker.errors import ConsentEnded

WINDOW = DateWindow(date(2024, 7, 18), date(2024, 7, 25))


def clients_of(preset: str, name: str = "enedis", base_url: str = BASE_URL) -> SupplierClients:
    supplier = replace(ENEDIS, name=name)
    endpoints, permits = supplier.presets[preset].endpoints(base_url), FakePermits()
    transport = Transport(endpoints.base_url)
    store = FakeTokenStore(Token(f"token-of-{name}", "r", three_hours_ahead()))
    return SupplierClients(
        supplier=supplier,
        endpoints=endpoints,
        transport=transport,
        oauth=OAuthClient(endpoints, "client", "secret", transport, permits),
        permits=permits,
        user_tokens=lambda account_id: store,
        application_token=store,
        now=lambda: NOW,
        report=lambda deviation: None,
    )


def account_of(supplier: str, **fields: Any) -> Account:
    return Account("home1", AccountState.READY, supplier, NOW, USAGE_POINT, **fields)


def test_each_account_is_asked_for_at_its_own_supplier() -> None:
    suppliers = {
        "enedis": clients_of("enedis-2026"),
        "gateway": clients_of("enedis-v5", "gateway", "http://127.0.0.1:10/enedis"),
    }
    with responses.RequestsMock() as mock:
        for clients in suppliers.values():
            url = clients.endpoints.base_url + clients.endpoints.preset.paths[daily_of()]
            mock.add(responses.GET, url, status=404, json={"error": "no_data_found"})
        for name, clients in suppliers.items():
            client = clients.client_of(account_of(name))
            assert client.ask(daily_of(), USAGE_POINT, WINDOW).kind is AnswerKind.NO_DATA
        asked = [(call.request.url.split("?")[0], call.request.headers["Authorization"]) for call in mock.calls]
    assert asked == [
        (f"{BASE_URL}/mesure_synchrone_auto/v2/consommation_quotidienne", "Bearer token-of-enedis"),
        ("http://127.0.0.1:10/enedis/metering_data_dc/v5/daily_consumption", "Bearer token-of-gateway"),
    ]
    permits = {name: clients.permits.requested_apis for name, clients in suppliers.items()}  # type: ignore[attr-defined]
    assert permits == {"enedis": ["mesure_synchrone_auto"], "gateway": ["data"]}


@pytest.mark.parametrize("preset", ENEDIS.presets)
def test_one_client_serves_all_unless_accounts_have_tokens(preset: str) -> None:
    clients = clients_of(preset)
    first, second = (clients.client_of(account_of("enedis")) for _ in range(2))
    assert (first is second) is not clients.account_tokens
    assert (clients.application_client is first) is not clients.account_tokens


@pytest.mark.parametrize("preset", ENEDIS.presets)
def test_an_account_whose_consent_is_over_gets_no_client(preset: str) -> None:
    account = account_of("enedis", consent_until=date(2024, 7, 24))
    for ask in (clients_of(preset).client_of, clients_of(preset).tokens_of):
        with pytest.raises(ConsentEnded):
            ask(account)


def test_each_supplier_describes_all_its_series() -> None:
    client: type[SupplierClient] = EnedisClient
    assert ENEDIS.client is client
    for supplier in SUPPLIERS.values():
        own = {series for preset in supplier.presets.values() for series in Series if preset.offers(series)}
        assert set(supplier.shapes) == own and all(supplier.shapes.values())
    assert {series for supplier in SUPPLIERS.values() for series in supplier.shapes} == set(Series)
