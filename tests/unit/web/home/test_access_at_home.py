"""Who gets into the pages of a home: its own computer without a word, other devices with the password."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from tests.support.api_service import ApiService
from tests.support.household_pages import csrf_of
from tests.support.own_home import gateway_token
from worker.ops.machine import in_container
from worker.runtime.consent_parts import erase
from worker.web.pages.sign_in import WRONG_OF_ADDRESS

HERE, THERE = "127.0.0.1", "192.168.1.20"


def browser(
    home: ApiService, host: str = f"{HERE}:8000", address: str = HERE, headers: dict[str, str] | None = None
) -> TestClient:
    client = TestClient(home.app, f"http://{host}", client=(address, 50_000), headers={"Accept-Language": "en"})
    client.headers.update(headers or {})
    client.follow_redirects = False
    return client


def phone_of(home: ApiService) -> TestClient:
    return browser(home, "192.168.1.5:8000", THERE)


def asks_password(answer: Any) -> bool:
    return bool(answer.status_code == 303 and answer.headers["location"] == "/sign-in")


def enter(client: TestClient, password: str) -> Any:
    form = {"csrf": csrf_of(client.get("/sign-in").text), "code": password}
    return client.post("/sign-in/code", data=form)


@pytest.mark.parametrize("host, address", [("127.0.0.1:8000", HERE), ("localhost", HERE), ("[::1]:8000", "::1")])
def test_the_homes_own_computer_sees_every_account_without_a_cookie(home: ApiService, host: str, address: str) -> None:
    (account,) = home.parts.stores.registry.accounts.list_accounts()
    client = browser(home, host, address)
    page = client.get("/")
    assert page.status_code == 200 and f"/accounts/{account.id}" in page.text and "set-cookie" not in page.headers
    assert client.get(f"/accounts/{account.id}").status_code == 200
    assert client.get(f"/api/accounts/{account.id}").status_code == 200


@pytest.mark.parametrize(
    "host, address, headers",
    [
        ("192.168.1.5:8000", THERE, {}),  # Another device of the network.
        ("127.0.0.1:8000", THERE, {}),  # A container's port, or a name that it makes up.
        ("raspberrypi.local", HERE, {}),  # A name of this machine that others could have too.
        ("127.0.0.1:8000", HERE, {"X-Forwarded-For": "203.0.113.5"}),
        ("127.0.0.1:8000", HERE, {"X-Forwarded-For": HERE}),
        ("127.0.0.1:8000", HERE, {"X-Forwarded-Proto": "https"}),
        ("127.0.0.1:8000", HERE, {"Forwarded": "for=203.0.113.5"}),
        ("127.0.0.1:8000", HERE, {"X-Real-IP": "203.0.113.5"}),
        ("127.0.0.1:8000", HERE, {"Via": "1.1 a-proxy"}),
    ],
)
def test_everybody_else_is_asked_for_the_password(
    home: ApiService, host: str, address: str, headers: dict[str, str]
) -> None:
    (account,) = home.parts.stores.registry.accounts.list_accounts()
    client = browser(home, host, address, headers)
    assert asks_password(client.get("/"))
    assert client.get(f"/accounts/{account.id}").status_code == 404
    assert client.get(f"/api/accounts/{account.id}").status_code == 401
    assert asks_password(client.post("/home/token", data={"token": "x"}))
    assert asks_password(client.post("/home/password"))


def test_a_container_has_no_own_computer(home: ApiService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("container", "podman")
    assert in_container()
    contained = ApiService(home.parts, home.parts.create_app())
    assert asks_password(browser(contained).get("/"))
    assert enter(browser(contained), home.parts.access.home.create_password()).headers["location"] == "/"


@pytest.mark.parametrize(
    "public_url, is_open",
    [
        ("https://home.example.org", False),
        ("https://nas.lan", False),
        ("http://home.example.org", False),
        ("http://127.0.0.1:8000", True),
        ("http://nas.lan:8000", True),
    ],
)
def test_behind_a_proxy_that_adds_no_header_everybody_is_asked(
    home: ApiService, monkeypatch: pytest.MonkeyPatch, public_url: str, is_open: bool
) -> None:
    """As it is shipped, nginx asks for the address that it passes requests on to, and says nothing of the browser's."""
    monkeypatch.setattr("worker.web.asgi.in_container", lambda: False)
    home.parts.change_settings(public_url=public_url)
    passed_on = browser(ApiService(home.parts, home.parts.create_app()))
    assert asks_password(passed_on.get("/")) is not is_open


def test_a_redirect_and_a_refused_form_let_a_browser_name_its_page_as_all_answers_of_a_home(home: ApiService) -> None:
    """Without a referrer, a browser hides the origin of our own forms too."""
    phone = phone_of(home)
    answers = [phone.get("/sign-in"), phone.get("/"), phone.post("/home/password"), phone.post("/access/log-out")]
    assert [answer.status_code for answer in answers] == [200, 303, 303, 403]
    assert {answer.headers["Referrer-Policy"] for answer in answers} == {"same-origin"}


def test_the_password_opens_as_often_as_it_is_typed_until_it_is_renewed(home: ApiService) -> None:
    first = home.parts.access.home.create_password()
    phones = [phone_of(home), phone_of(home)]
    for phone in phones:
        entered = enter(phone, first.lower().replace("-", " "))
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        assert phone.get("/").status_code == 200
    second = home.parts.access.home.create_password()
    assert enter(phone_of(home), first).status_code == 403
    assert enter(phone_of(home), second).status_code == 303
    assert phones[0].get("/").status_code == 200  # Who is in stays in.


def test_wrong_passwords_are_slowed_and_the_right_one_is_heard(home: ApiService) -> None:
    password = home.parts.access.home.create_password()
    guesser = phone_of(home)
    form = {"csrf": csrf_of(guesser.get("/sign-in").text)}
    answers = [
        guesser.post("/sign-in/code", data={**form, "code": f"{number:028}"}).status_code
        for number in range(WRONG_OF_ADDRESS.calls + 1)
    ]
    assert answers[0] == 403 and answers[-1] == 429
    refused = guesser.post("/sign-in/link", data={**form, "link": f"sign_in_{'0' * 43}"})
    assert (refused.status_code, "again in 5 min" in refused.text) == (429, True)
    assert enter(guesser, password).status_code == 303


def test_a_session_shows_an_account_that_came_later(empty_home: ApiService) -> None:
    phone = phone_of(empty_home)
    enter(phone, empty_home.parts.access.home.create_password())
    assert "/accounts/" not in phone.get("/").text
    empty_home.parts.consent.assertion.add_by_token(gateway_token(), "cli:anna")
    assert "/accounts/" in phone.get("/").text


def test_a_home_whose_first_meter_goes_keeps_its_password_and_its_sessions(home: ApiService) -> None:
    phone = phone_of(home)
    enter(phone, home.parts.access.home.create_password())
    (first,) = home.parts.stores.registry.accounts.list_accounts()
    home.parts.consent.assertion.add_by_token(gateway_token("30001640000022"), "cli:anna")
    assert "/accounts/" in phone.get("/").text
    erase(home.parts.stores, first.id)
    assert home.parts.access.home.has_password() and "/accounts/" in phone.get("/").text


def test_the_local_session_that_was_ended_is_made_anew(home: ApiService) -> None:
    client = browser(home)
    form = {"csrf": csrf_of(client.get("/").text)}
    assert client.post("/access/log-out", data=form).status_code == 303
    assert client.get("/").status_code == 200
    assert csrf_of(client.get("/").text) != form["csrf"]


@pytest.mark.parametrize(
    "path", ["/connect/enedis", "/connect/gateway", "/invitation", "/operator", "/proxy/enedis/auth"]
)
def test_what_makes_no_sense_in_a_home_is_not_there(home: ApiService, path: str) -> None:
    assert browser(home).get(path).status_code == 404


def test_a_fleet_has_no_pages_of_a_home(service: ApiService) -> None:
    client = TestClient(service.app, f"http://{HERE}:8000", client=(HERE, 50_000))
    assert client.post("/home/token").status_code == 404
    assert "/sign-in" in client.get("/").text  # Its own computer is nobody.


def test_every_route_of_a_home_is_one_of_a_fleets_table_or_has_tests_here(
    home: ApiService, service: ApiService
) -> None:
    def routes(of: ApiService) -> set[tuple[str, str]]:
        return {(method, route.path) for route in iter_route_contexts(of.app.routes) for method in route.methods or ()}

    assert routes(home) - routes(service) == {("POST", "/home/token"), ("POST", "/home/password")}
