"""The first page of a home: the token's form, the way to the files, the password."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import ApiService
from tests.support.household_pages import csrf_of
from tests.support.own_home import METER, OPAQUE, OTHER_METER, gateway_token
from tests.support.registries import add_ready
from tests.support.ways_back import CODE
from worker.domain.account import AccountState
from worker.domain.series import Series
from worker.errors import TokenRefused
from worker.texts import translate
from worker.web import dependencies as context


@pytest.fixture(autouse=True)
def backfills(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The accounts whose backfill was published."""
    published: list[str] = []
    monkeypatch.setattr(context, "enqueue_backfill", lambda account_id, broker_url: published.append(account_id))
    return published


def here(home: ApiService, language: str = "en") -> TestClient:
    client = TestClient(home.app, "http://127.0.0.1:8000", client=("127.0.0.1", 50_000))
    client.headers["Accept-Language"] = language
    client.follow_redirects = False
    return client


def give(client: TestClient, token: str, **more: str) -> Any:
    form = {"csrf": csrf_of(client.get("/").text), "token": token, **more}
    return client.post("/home/token", data=form)


def test_an_empty_home_offers_the_token_and_the_files(empty_home: ApiService) -> None:
    page = here(empty_home).get("/").text
    assert "Add your token" in page and "releve import" in page
    assert "Ajouter votre jeton" in here(empty_home, "fr").get("/").text


def test_a_token_makes_its_accounts(empty_home: ApiService, backfills: list[str]) -> None:
    client = here(empty_home)
    answer = give(client, gateway_token())
    (account,) = empty_home.parts.stores.registry.accounts.list_accounts()
    assert answer.headers["location"] == f"/accounts/{account.id}" and backfills == [account.id]
    assert client.get(f"/accounts/{account.id}").status_code == 200
    assert give(client, gateway_token(METER, OTHER_METER)).headers["location"] == "/"
    assert len(empty_home.parts.stores.registry.accounts.list_accounts()) == 2


def test_a_token_is_tried_once_and_its_meters_page_says_what_came_of_it(empty_home: ApiService) -> None:
    """Nobody is at the gateway's address: the token is kept all the same."""
    client = here(empty_home)
    page = client.get(give(client, gateway_token()).headers["location"]).text
    (account,) = empty_home.parts.stores.registry.accounts.list_accounts()
    outcome = empty_home.parts.stores.registry.outcomes.load(account.id)[Series.DAILY]
    assert outcome.code == "VENDOR_DOWN.UNREACHABLE" and translate("state.retrying.headline", "en") in page
    assert empty_home.parts.stores.registry.tokens.find_token_id(account.id) is not None


def test_a_token_that_tells_no_meter_comes_with_its_number(empty_home: ApiService) -> None:
    client = here(empty_home)
    assert give(client, OPAQUE).status_code == 422
    assert "14 digits" in give(client, OPAQUE, usage_point="123").text
    assert give(client, OPAQUE, usage_point="300016 400000 77").status_code == 303


@pytest.mark.parametrize("token", ["", "x", "eyJhbGciOiJIUzI1NiJ9.cut", "<script>alert(1)</script>"])
def test_a_bad_token_is_said_in_words_and_not_shown_again(empty_home: ApiService, token: str) -> None:
    answer = give(here(empty_home), token)
    assert answer.status_code == 422 and "This token is not valid" in answer.text
    assert len(token) < 2 or token not in answer.text
    assert empty_home.parts.stores.registry.accounts.list_accounts() == []


def test_a_meter_of_a_consent_is_left_alone(empty_home: ApiService) -> None:
    theirs = add_ready(empty_home.parts.stores.registry, METER)
    answer = give(here(empty_home), gateway_token())
    assert answer.status_code == 409 and "It needs no token" in answer.text
    assert empty_home.parts.stores.registry.tokens.find_token_id(theirs) is None


def test_the_password_is_shown_once(home: ApiService) -> None:
    client = here(home)
    assert "There is no password yet" in client.get("/").text
    page = client.post("/home/password", data={"csrf": csrf_of(client.get("/").text)}).text
    shown = CODE.search(page)
    assert shown and home.parts.access.home.check_password(shown[0]) is not None
    assert not CODE.search(client.get("/").text)


def test_a_page_that_waits_for_a_token_leads_to_the_form(home: ApiService) -> None:
    (account,) = home.parts.stores.registry.accounts.list_accounts()
    home.parts.stores.registry.accounts.set_state(
        account.id, AccountState.ACTION_NEEDED, TokenRefused.code, now=home.parts.stores.now()
    )
    page = here(home).get(f"/accounts/{account.id}").text
    assert 'href="/#token"' in page and "/connect/" not in page and "/invitation" not in page


def test_no_page_of_an_account_leads_to_what_a_home_has_not(home: ApiService) -> None:
    (account,) = home.parts.stores.registry.accounts.list_accounts()
    client = here(home)
    of_account = [
        f"/accounts/{account.id}{path}" for path in ("", "/connection", "/stop", "/remove", "/series", "/download")
    ]
    for path in (*of_account, "/", "/access/sessions", "/sign-in"):
        page = client.get(path)
        assert page.status_code == 200
        for gone in ("/connect/", "/invitation", "/operator", 'href="/access"'):
            assert gone not in page.text, (path, gone)
    removed = client.post(f"/accounts/{account.id}/remove", data={"csrf": csrf_of(client.get("/").text)})
    assert removed.status_code == 200 and "create a new token on the gateway" in removed.text
    assert client.get("/").status_code == 200
