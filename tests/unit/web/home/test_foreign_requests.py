"""What other sites have a browser send to a home is refused: by the name asked for, and by where it comes from."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import ApiService
from tests.support.household_pages import csrf_of

HERE = "127.0.0.1"


def browser(home: ApiService, host: str = "127.0.0.1:8000") -> TestClient:
    client = TestClient(home.app, "http://127.0.0.1:8000", client=(HERE, 50_000), headers={"Accept-Language": "en"})
    client.headers["Host"] = host
    client.follow_redirects = False
    return client


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "8.8.8.8", "[2606:4700::1]", "a.b@c.d:x", ""],
)
@pytest.mark.parametrize("path", ["/", "/api/accounts", "/static/page.css", "/nothing"])
def test_a_foreign_host_is_refused(home: ApiService, host: str, path: str) -> None:
    answer = browser(home, host).get(path)
    assert answer.status_code == 421
    assert "0077" not in answer.text


@pytest.mark.parametrize(
    "host",
    [
        *("localhost:8000", "[::1]:8000", "192.168.1.5", "10.0.0.2:80", "100.100.1.2", "[fd00::2]:8000"),
        *("raspberrypi", "RaspberryPi.local.", "nas.lan", "nas.home.arpa", "relay.internal"),
    ],
)
def test_names_and_addresses_of_the_network_lead_here(home: ApiService, host: str) -> None:
    assert browser(home, host).get("/sign-in").status_code == 200


def test_the_host_of_the_public_address_leads_here(home: ApiService) -> None:
    home.parts.change_settings(public_url="https://home.example.org")
    assert browser(home, "home.example.org").get("/sign-in").status_code == 200
    assert browser(home, "other.example.org").get("/sign-in").status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},  # Another program on this computer.
        {"Origin": "https://127.0.0.1:8000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_form_of_another_site_changes_nothing(home: ApiService, headers: dict[str, str]) -> None:
    client = browser(home)
    form = {"csrf": csrf_of(client.get("/").text)}  # Even with the value of our own page.
    (account,) = home.parts.stores.registry.accounts.list_accounts()
    for path in ("/home/password", "/home/token", f"/accounts/{account.id}/remove", "/sign-in/code"):
        answer = client.post(path, data=form, headers=headers)
        assert answer.status_code == 403 and "another site" in answer.text
    assert client.delete(f"/api/accounts/{account.id}", headers=headers).json()["error"] == "foreign_origin"
    assert not home.parts.access.home.has_password()
    assert [one.id for one in home.parts.stores.registry.accounts.list_accounts()] == [account.id]


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://127.0.0.1:8000"}, {"Sec-Fetch-Site": "same-origin"}])
def test_our_own_form_is_taken_with_its_value_alone(home: ApiService, headers: dict[str, str]) -> None:
    client = browser(home)
    assert client.post("/home/password", headers=headers).status_code == 403
    form = {"csrf": csrf_of(client.get("/").text)}
    assert client.post("/home/password", data=form, headers=headers).status_code == 200


def test_a_fleet_answers_any_host_as_before(service: ApiService) -> None:
    client = TestClient(service.app, headers={"Host": "evil.example"})
    assert client.get("/sign-in").status_code == 200
