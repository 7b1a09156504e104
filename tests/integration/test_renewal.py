"""Renewal of users' tokens against the simulator: before they expire, once at a time, ended for the right reason."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import pytest
from fastapi.testclient import TestClient

import tasks.upkeep
from tests.support.connect_service import METER, OTHER, ConnectServers, ConnectService, open_connect_service
from tests.support.parts import use_parts
from worker.accounts.token_upkeep import renew_tokens
from worker.clients.supplier_session import TokenProvider
from worker.domain.account import AccountState
from worker.errors import RefreshAnswerLost, SupplierUnavailable

TOKEN_PATH = "/v1/oauth2/token"
LOST = "USER_ACTION_NEEDED.OAUTH_OUTDATED.REFRESH_LOST"


@pytest.fixture
def service(servers: ConnectServers, tmp_path: Path) -> Iterator[ConnectService]:
    with open_connect_service(servers, tmp_path, "enedis-v4") as service:
        service.simulate("POST", "switches", {"token_life_s": 200})
        yield service


def connect(service: ConnectService, *meters: str, browser: TestClient | None = None) -> list[str]:
    browser = browser or service.browser()
    page = browser.get("/connect/enedis").headers["location"]
    service.come_back(browser, service.agree(f"{page}&usage_point_id={','.join(meters)}"))
    return [account.id for account in service.accounts()]


def tokens_of(service: ConnectService, account_id: str) -> TokenProvider:
    return service.parts.sync.suppliers.main.tokens_of(service.parts.stores.registry.accounts.get(account_id))


def count_renewals(service: ConnectService) -> int:
    return int(service.simulate("GET", "report")["tokens"].get("refresh_token", 0))


def renew(service: ConnectService, calls_per_hour: int | None = None) -> int:
    sync = service.parts.sync
    per_hour = calls_per_hour or sync.ledger.per_hour
    return renew_tokens(sync.refusals, sync.claims, sync.suppliers.tokens_of, per_hour)


def test_beat_renews_what_ends_soon_and_nothing_else(service: ConnectService, monkeypatch: pytest.MonkeyPatch) -> None:
    use_parts(monkeypatch, service.parts)
    (account,) = connect(service, METER)
    before = service.parts.stores.registry.tokens.load(account)
    service.simulate("POST", "switches", {"token_life_s": 12_600})
    tasks.upkeep.renew_tokens()
    assert count_renewals(service) == 1
    assert service.parts.stores.registry.tokens.load(account) != before
    tasks.upkeep.renew_tokens()
    assert count_renewals(service) == 1


def test_all_workers_together_renew_once(service: ConnectService) -> None:
    accounts = connect(service, METER, OTHER)
    service.simulate("POST", "switches", {"token_life_s": 12_600})
    with ThreadPoolExecutor(8) as threads:
        tokens = list(threads.map(lambda n: tokens_of(service, accounts[n % 2]).current(), range(16)))
    assert len({token.access for token in tokens}) == 1
    assert count_renewals(service) == 1


def test_nothing_is_renewed_while_nobody_is_to_be_asked(service: ConnectService) -> None:
    connect(service, METER)
    service.simulate("POST", "switches", {"token_life_s": 12_600})
    service.parts.sync.incidents.open_by_hand()
    assert renew(service) == 0
    assert count_renewals(service) == 0


def test_a_refresh_answer_lost_on_the_way_is_known_for_what_it_is(service: ConnectService) -> None:
    browser = service.browser()
    accounts = connect(service, METER, OTHER, browser=browser)
    service.simulate("POST", "faults", {"path": TOKEN_PATH, "kind": "refresh_lost"})
    assert renew(service) == 0  # The renewal was early, so the stored token is still valid.
    assert all(service.parts.stores.registry.accounts.get(account).active for account in accounts)
    assert renew(service) == 0
    for account in map(service.parts.stores.registry.accounts.get, accounts):
        assert (account.state, account.reason) == (AccountState.ACTION_NEEDED, LOST)
    with pytest.raises(RefreshAnswerLost):
        tokens_of(service, accounts[0]).current()
    connect(service, METER, OTHER, browser=browser)
    assert all(service.parts.stores.registry.accounts.get(account).active for account in accounts)


def test_a_worker_that_died_between_the_answer_and_its_keeping_is_the_same_loss(
    service: ConnectService, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(Exception):
        pass

    def die(*_: object) -> bool:
        raise Died

    (account,) = connect(service, METER)
    with monkeypatch.context() as patch:
        patch.setattr(type(service.parts.stores.registry.tokens), "save_renewed", die)
        with pytest.raises(Died):
            tokens_of(service, account).current()
    with pytest.raises(RefreshAnswerLost):
        tokens_of(service, account).current()


def test_a_consent_that_was_withdrawn_is_not_called_a_loss(service: ConnectService) -> None:
    (account,) = connect(service, METER)
    service.simulate("DELETE", "tokens?refresh=1")
    assert renew(service) == 0
    assert service.parts.stores.registry.accounts.get(account).reason == "USER_ACTION_NEEDED.OAUTH_OUTDATED"


def test_a_supplier_that_is_down_sets_nobody_aside(service: ConnectService) -> None:
    (account,) = connect(service, METER)
    service.simulate("POST", "faults", {"path": TOKEN_PATH, "status": 503, "body": "<html>", "count": 3})
    renew(service)
    with pytest.raises(SupplierUnavailable):
        tokens_of(service, account).renew(tokens_of(service, account).current())
    assert service.parts.stores.registry.accounts.get(account).active
    service.simulate("POST", "switches", {"token_life_s": 12_600})
    assert renew(service) == 1  # The supplier has not used up the refresh token.


def test_a_consent_given_during_a_renewal_wins(service: ConnectService) -> None:
    browser = service.browser()
    (account,) = connect(service, METER, browser=browser)
    service.simulate(
        "POST", "faults", {"path": TOKEN_PATH, "delay_s": 1.0}
    )  # The renewal waits for its answer meanwhile.
    started = Event()

    def renew() -> None:
        started.set()
        tokens_of(service, account).current()

    renewal = Thread(target=renew)
    renewal.start()
    started.wait()
    while service.simulate("GET", "faults")[0]["hits"] == 0:
        pass
    service.simulate("POST", "switches", {"token_life_s": 12_600})
    connect(service, METER, browser=browser)
    token = service.parts.stores.registry.tokens.load(account)
    renewal.join()
    assert service.parts.stores.registry.tokens.load(account) == token


def test_a_tick_spends_at_most_its_share_of_the_quota(service: ConnectService) -> None:
    for number in range(4):
        connect(service, f"3000164000001{number}")
    service.simulate("POST", "switches", {"token_life_s": 12_600})
    assert renew(service, calls_per_hour=1200) == 2
