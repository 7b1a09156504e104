"""An erasure holds: what was under way, what comes at the same moment, and the ledger that has it first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from tests.support.connect_service import METER, OTHER, ConnectService
from tests.support.household_pages import csrf_of
from tests.support.registries import all_rows
from worker.accounts.token_upkeep import revoke_tokens
from worker.domain.account import AccountState
from worker.errors import StoreUnavailable
from worker.runtime.consent_parts import erase, stop_consent
from worker.stores.erasure_ledger import LedgerEntry, LedgerKind
from worker.stores.redis.pending_consents import ConnectionRequests
from worker.stores.registry.accounts import AccountTable
from worker.stores.token_store import token_lock


def press(browser: TestClient, path: str) -> httpx2.Response:
    """Press the button of a page's form, which goes to the page's own address."""
    return browser.post(path, data={"csrf": csrf_of(browser.get(path).text)})


def erase_by_page(browser: TestClient, account: str) -> httpx2.Response:
    done = press(browser, f"/accounts/{account}/remove")
    assert done.status_code == 200, done.text
    return done


def only_account(service: ConnectService) -> str:
    (account,) = service.accounts()
    return account.id


def connected(service: ConnectService) -> tuple[TestClient, str]:
    browser = service.browser()
    service.connect(browser)
    return browser, only_account(service)


def entries(service: ConnectService) -> list[LedgerEntry]:
    ledger = service.parts.stores.erasure_ledger.file
    return ledger.read_all()


def keep_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests outlive the erasure, as where Redis has lost their index: the proof itself is looked at."""
    monkeypatch.setattr(ConnectionRequests, "end_for", lambda *_: 0)


def ask_as_another(v4: ConnectService) -> tuple[TestClient, dict[str, str]]:
    """Prove a meter that has another person's account, and return the browser with the form that it is asked."""
    other = v4.browser()
    asked = v4.connect(other)
    request_id = asked.text.partition('name="connection" value="')[2].partition('"')[0]
    assert request_id
    return other, {"connection": request_id, "csrf": csrf_of(asked.text)}


# What was under way


@pytest.mark.parametrize("kept", [False, True])
def test_h3_a_callback_of_before_shows_and_makes_no_account(
    service: ConnectService, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    if kept:
        keep_requests(monkeypatch)
    browser = service.browser()
    way_back = service.begin(browser)
    service.come_back(browser, way_back)
    account = only_account(service)
    erase_by_page(browser, account)
    again = service.come_back(browser, way_back)
    # An outcome that was kept has opened its session before.
    assert again.status_code == (403 if kept else 400) and service.session(browser).accounts == {}
    assert service.accounts() == [] and browser.get("/api/accounts").json().get("accounts", []) == []
    assert browser.get(f"/accounts/{account}").status_code == 404


@pytest.mark.parametrize("kept", [False, True])
def test_h3_a_second_tab_that_was_begun_before_makes_no_account(
    service: ConnectService, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    if kept:
        keep_requests(monkeypatch)
    browser, account = connected(service)
    second_tab = service.begin(browser)
    erase_by_page(browser, account)
    answer = service.come_back(browser, second_tab)
    assert answer.status_code in (403, 410), answer.text
    assert service.accounts() == [] and service.session(browser).accounts == {}


def test_the_page_of_an_older_proof_says_what_to_do(v4: ConnectService) -> None:
    browser, account = connected(v4)
    second_tab = v4.begin(browser)
    erase_by_page(browser, account)
    answer = v4.come_back(browser, second_tab)
    assert answer.status_code == 410
    assert "ont été effacées" in answer.text and 'href="/connect/enedis"' in answer.text and METER not in answer.text


@pytest.mark.parametrize("kept", [False, True])
def test_a_person_who_is_asked_whether_the_meter_changed_hands_gets_no_account(
    v4: ConnectService, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    holder, account = connected(v4)
    other, answer = ask_as_another(v4)
    if kept:
        keep_requests(monkeypatch)
    erase_by_page(holder, account)
    assert other.post("/connect/new-holder", data=answer).status_code == (410 if kept else 400)
    assert v4.accounts() == []


def test_an_invitation_made_after_it_opens_the_meter_for_a_consent_begun_after_it(service: ConnectService) -> None:
    browser, account = connected(service)
    erase_by_page(browser, account)
    assert service.connect(service.browser()).status_code == 303
    assert only_account(service) != account


def test_a_first_tab_of_before_with_a_younger_account_changes_nothing(v4: ConnectService) -> None:
    """The household has erased, and come again: the tab of before renews nothing of the new account."""
    browser, account = connected(v4)
    second_tab = v4.begin(browser)
    erase_by_page(browser, account)
    v4.connect(browser)
    rows = all_rows(v4.parts.stores.registry.database)
    assert v4.come_back(browser, second_tab).status_code == 410
    assert all_rows(v4.parts.stores.registry.database) == rows


def test_another_meter_of_the_same_browser_is_not_touched(service: ConnectService) -> None:
    browser, account = connected(service)
    second_tab = service.begin(browser, OTHER)
    erase_by_page(browser, account)
    assert service.come_back(browser, second_tab).status_code == 303
    assert [account.usage_point_id for account in service.accounts()] == [OTHER]


def test_an_erasure_between_the_proof_and_its_account_wins(
    service: ConnectService, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_requests(monkeypatch)
    browser, account = connected(service)
    second_tab, add_all, erased = service.begin(browser), AccountTable.add_all, []

    def erase_before(*args: Any, **options: Any) -> Any:
        if not erased:
            erased.append(erase(service.parts.stores, account))
        return add_all(*args, **options)

    monkeypatch.setattr(AccountTable, "add_all", erase_before)
    for _ in range(2):  # The first try finds that the account is another one meanwhile.
        try:
            service.come_back(browser, second_tab)
        except StoreUnavailable:
            service.hours = 0
    assert erased and service.accounts() == []


# The receipt


@pytest.mark.generations
def test_the_receipt_says_how_to_begin_again(service: ConnectService) -> None:
    browser, account = connected(service)
    receipt = erase_by_page(browser, account).text
    assert "Relier de nouveau ce compteur" in receipt
    says = [
        words in receipt for words in ("Supprimez d’abord le partage", "nouvelle invitation", "page d’accueil, comme")
    ]
    v4, v2026 = service.parts.sync.suppliers.main.account_tokens, service.parts.stores.settings.preset == "enedis-2026"
    assert says == [v2026, not v4, v4]


# The ledger


def test_each_end_is_in_the_ledger_once_and_names_no_meter(service: ConnectService) -> None:
    browser, account = connected(service)
    press(browser, f"/accounts/{account}/stop")
    stop_consent(service.parts.stores, account)
    assert [(entry.kind, entry.account_id) for entry in entries(service)] == [(LedgerKind.STOPPED, account)]
    erase_by_page(browser, account)
    erase(service.parts.stores, account)
    stopped, erased = entries(service)
    digest = service.parts.stores.registry.erasures.digests("enedis", METER)[0]
    assert (erased.kind, erased.account_id, erased.meter) == (LedgerKind.ERASED, account, digest)
    assert erased.at > stopped.at  # The service pretends to be in the past; an erasure has the real moment.
    assert erased.forget_on is not None and erased.forget_on > service.parts.sync.history.today()
    assert METER not in service.parts.stores.erasure_ledger.file.path.read_text()


def test_an_account_that_was_closed_is_in_the_ledger_and_its_erasure_closes_no_meter(v4: ConnectService) -> None:
    _, old = connected(v4)
    other, answer = ask_as_another(v4)
    other.post("/connect/new-holder", data=answer)
    erase(v4.parts.stores, old)
    closed, erased = entries(v4)
    assert (closed.kind, closed.account_id, closed.meter) == (LedgerKind.CLOSED, old, None)
    assert (erased.kind, erased.account_id, erased.meter, erased.forget_on) == (LedgerKind.ERASED, old, None, None)
    with v4.parts.stores.registry.database.reading() as connection:
        assert v4.parts.stores.registry.erasures.find(connection, "enedis", METER) is None
    assert v4.connect(other).status_code == 303


def test_without_the_ledger_nothing_is_half_done(service: ConnectService) -> None:
    browser, account = connected(service)
    rows = all_rows(service.parts.stores.registry.database)
    block_ledger(service.parts.stores.erasure_ledger.file.path)
    for path in (f"/accounts/{account}/remove", f"/accounts/{account}/stop"):
        answer = press(browser, path)
        assert answer.status_code == 503 and "Réessayez" in answer.text
    with pytest.raises(StoreUnavailable, match="RELEVE_LEDGER_FILE"):
        erase(service.parts.stores, account)
    assert all_rows(service.parts.stores.registry.database) == rows
    assert service.parts.stores.registry.accounts.get(account).state is AccountState.READY


def test_without_the_ledger_no_account_is_closed_and_none_takes_its_place(v4: ConnectService) -> None:
    _, account = connected(v4)
    other, answer = ask_as_another(v4)
    rows = all_rows(v4.parts.stores.registry.database)
    block_ledger(v4.parts.stores.erasure_ledger.file.path)
    assert other.post("/connect/new-holder", data=answer).status_code == 503
    assert all_rows(v4.parts.stores.registry.database) == rows
    v4.parts.stores.erasure_ledger.file.path.rmdir()
    assert other.post("/connect/new-holder", data=answer).status_code == 303
    assert v4.parts.stores.registry.accounts.get(account).state is AccountState.CLOSED


def test_an_erasure_that_died_after_the_ledger_is_repeated(
    service: ConnectService, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, account = connected(service)
    with monkeypatch.context() as patch:
        patch.setattr(AccountTable, "remove", _die)
        with pytest.raises(KeyboardInterrupt):
            erase(service.parts.stores, account)
    assert service.parts.stores.registry.accounts.get(account).state is AccountState.READY
    erase_by_page(browser, account)
    first, second = entries(service)
    assert (first.kind, first.meter, first.forget_on) == (second.kind, second.meter, second.forget_on)
    with service.parts.stores.registry.database.reading() as connection:
        assert service.parts.stores.registry.erasures.find(connection, "enedis", METER) == second.at


def block_ledger(path: Path) -> None:
    """Put a folder where the ledger is to be."""
    path.unlink(missing_ok=True)
    path.mkdir()


def _die(*_: object) -> None:
    raise KeyboardInterrupt


# The token (v4)


def revoke(service: ConnectService) -> int:
    stores, suppliers = service.parts.stores, service.parts.sync.suppliers
    return revoke_tokens(stores.registry.tokens, suppliers.main.revoke_token, token_lock(stores.windows))


def test_h3_the_token_of_an_ended_consent_is_revoked_at_the_supplier(v4: ConnectService) -> None:
    browser, account = connected(v4)
    press(browser, f"/accounts/{account}/stop")
    assert revoke(v4) == 1
    assert v4.simulate("GET", "report")["tokens"]["revoke"] == 2  # The refresh token and the access token.
    v4.connect(browser)
    erase_by_page(browser, account)
    assert revoke(v4) == 1
    assert revoke(v4) == 0
    assert v4.simulate("GET", "report")["tokens"]["revoke"] == 4
