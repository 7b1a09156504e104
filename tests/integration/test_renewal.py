"""Users' tokens against the simulator: renewed ahead, once at a time, and given up with the right reason."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import pytest

import worker.runtime.process
from tasks.upkeep import renew_tokens
from tests.support.connect_service import METER, OTHER, ConnectHouse, Stage, connect_house
from worker.accounts.token_renewal import renew_ending
from worker.domain.consent.accounts import AccountState
from worker.errors import RefreshAnswerLost, SupplierUnavailable

TOKEN_PATH = "/v1/oauth2/token"
LOST = "USER_ACTION_NEEDED.OAUTH_OUTDATED.REFRESH_LOST"


@pytest.fixture
def house(stage: Stage, tmp_path: Path) -> Iterator[ConnectHouse]:
    with connect_house(stage, tmp_path, "enedis-v4") as house:
        house.simulate("POST", "switches", {"token_life_s": 200})
        yield house


def connected(house: ConnectHouse, *meters: str) -> list[str]:
    browser = house.browser()
    page = browser.get("/connect/enedis").headers["location"]
    browser.get(house.agree(f"{page}&usage_point_id={','.join(meters)}"))
    return [account.id for account in house.accounts()]


def renewals(house: ConnectHouse) -> int:
    return int(house.simulate("GET", "report")["tokens"].get("refresh_token", 0))


def test_beat_renews_what_ends_soon_and_nothing_else(house: ConnectHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker.runtime.process, "_runtime", (worker.runtime.process.os.getpid(), house.runtime))
    (account,) = connected(house, METER)
    before = house.runtime.registry.load_token(account)
    house.simulate("POST", "switches", {"token_life_s": 12_600})
    renew_tokens()
    assert renewals(house) == 1
    assert house.runtime.registry.load_token(account) != before
    renew_tokens()
    assert renewals(house) == 1


def test_one_token_of_several_accounts_is_renewed_once(house: ConnectHouse) -> None:
    connected(house, METER, OTHER)
    house.simulate("POST", "switches", {"token_life_s": 12_600})
    assert renew_ending(house.runtime) == 1
    assert renewals(house) == 1


def test_all_workers_together_renew_once(house: ConnectHouse) -> None:
    accounts = connected(house, METER, OTHER)
    house.simulate("POST", "switches", {"token_life_s": 12_600})
    with ThreadPoolExecutor(8) as threads:
        tokens = list(threads.map(lambda n: house.runtime.tokens_of(accounts[n % 2]).current(), range(16)))
    assert len({token.access for token in tokens}) == 1
    assert renewals(house) == 1


def test_nothing_is_renewed_while_nobody_is_to_be_asked(house: ConnectHouse) -> None:
    connected(house, METER)
    house.simulate("POST", "switches", {"token_life_s": 12_600})
    house.runtime.incidents.open_by_hand()
    assert renew_ending(house.runtime) == 0
    assert renewals(house) == 0


def test_a_refresh_answer_lost_on_the_way_is_known_for_what_it_is(house: ConnectHouse) -> None:
    accounts = connected(house, METER, OTHER)
    house.simulate("POST", "faults", {"path": TOKEN_PATH, "kind": "refresh_lost"})
    assert renew_ending(house.runtime) == 0  # it was early yet, what we hold is still good
    assert all(house.runtime.registry.get(account).active for account in accounts)
    assert renew_ending(house.runtime) == 0
    for account in map(house.runtime.registry.get, accounts):
        assert (account.state, account.reason) == (AccountState.ACTION_NEEDED, LOST)
    with pytest.raises(RefreshAnswerLost):
        house.runtime.tokens_of(accounts[0]).current()
    connected(house, METER, OTHER)
    assert all(house.runtime.registry.get(account).active for account in accounts)


def test_a_worker_that_died_between_the_answer_and_its_keeping_is_the_same_loss(
    house: ConnectHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(Exception):
        pass

    def die(*_: object) -> bool:
        raise Died

    (account,) = connected(house, METER)
    with monkeypatch.context() as patch:
        patch.setattr(type(house.runtime.registry.tokens), "renewed", die)
        with pytest.raises(Died):
            house.runtime.tokens_of(account).current()
    with pytest.raises(RefreshAnswerLost):
        house.runtime.tokens_of(account).current()


def test_a_consent_that_was_withdrawn_is_not_called_a_loss(house: ConnectHouse) -> None:
    (account,) = connected(house, METER)
    house.simulate("DELETE", "tokens?refresh=1")
    assert renew_ending(house.runtime) == 0
    assert house.runtime.registry.get(account).reason == "USER_ACTION_NEEDED.OAUTH_OUTDATED"


def test_a_supplier_that_is_down_sets_nobody_aside(house: ConnectHouse) -> None:
    (account,) = connected(house, METER)
    house.simulate("POST", "faults", {"path": TOKEN_PATH, "status": 503, "body": "<html>", "count": 3})
    renew_ending(house.runtime)
    with pytest.raises(SupplierUnavailable):
        house.runtime.tokens_of(account).renew(house.runtime.tokens_of(account).current())
    assert house.runtime.registry.get(account).active
    house.simulate("POST", "switches", {"token_life_s": 12_600})
    assert renew_ending(house.runtime) == 1  # the token had not been taken


def test_a_consent_given_during_a_renewal_wins(house: ConnectHouse) -> None:
    (account,) = connected(house, METER)
    house.simulate("POST", "faults", {"path": TOKEN_PATH, "delay_s": 1.0})  # holds the renewal
    started = Event()

    def renew() -> None:
        started.set()
        house.runtime.tokens_of(account).current()

    renewal = Thread(target=renew)
    renewal.start()
    started.wait()
    while house.simulate("GET", "faults")[0]["hits"] == 0:
        pass
    house.simulate("POST", "switches", {"token_life_s": 12_600})
    connected(house, METER)
    given = house.runtime.registry.load_token(account)
    renewal.join()
    assert house.runtime.registry.load_token(account) == given


def test_a_tick_spends_at_most_its_share_of_the_quota(house: ConnectHouse) -> None:
    for number in range(4):
        connected(house, f"3000164000001{number}")
    settings = house.runtime.settings.model_copy(update={"calls_per_hour": 1200})
    house.runtime.settings = settings
    house.simulate("POST", "switches", {"token_life_s": 12_600})
    assert renew_ending(house.runtime) == 2
