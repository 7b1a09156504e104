"""The API of invitations: who may make, list and revoke them, and what an answer shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import ApiService, open_api_service
from tests.support.gas_homes import GAS_SETTINGS
from tests.support.mail_server import mail_receiver, mail_url
from worker.domain.sessions import Scope
from worker.runtime.consent_parts import build_inviter, erase

METER, OTHER_METER = "30001640000011", "30001640000022"
LINK = re.compile(r"http://127\.0\.0\.1:\d+/invitation#invite_[a-z0-9]{12}_[\w-]{43}")


@pytest.fixture
def client(service: ApiService) -> TestClient:
    return service.client()


def test_an_account_is_invited_and_the_link_opens(service: ApiService, client: TestClient) -> None:
    account = service.add(11)
    answer = client.post("/api/invitations", json={"account": account})
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json()
    (invitation,) = service.parts.stores.registry.invitations.list_invitations()
    assert body == {
        "invitation": invitation.id,
        "link": body["link"],
        "expires_at": invitation.expires_at.isoformat().replace("+00:00", "Z"),
        "account": account,
        "mailed": False,
    }
    assert LINK.fullmatch(body["link"])
    assert service.parts.stores.registry.invitations.find(body["link"].partition("#")[2]) == invitation
    (token,) = service.parts.stores.registry.api_tokens.list_tokens()
    assert invitation.created_by == f"token:{token.id}"


def test_a_meter_is_invited_and_its_new_holder_too(service: ApiService, client: TestClient) -> None:
    account = service.add(11)
    free = client.post("/api/invitations", json={"usage_point": OTHER_METER})
    assert (free.status_code, free.json()["account"]) == (201, None)
    taken = client.post("/api/invitations", json={"usage_point": METER})
    assert (taken.status_code, taken.json()["error"]) == (409, "meter_has_account")
    assert account in taken.json()["message"] and METER not in taken.text and "releve " not in taken.text
    moved = client.post("/api/invitations", json={"usage_point": METER, "new_holder": True})
    assert moved.status_code == 201
    wrong = client.post("/api/invitations", json={"usage_point": OTHER_METER, "new_holder": True})
    assert (wrong.status_code, wrong.json()["error"]) == (409, "meter_has_no_account")
    assert {one.purpose for one in service.parts.stores.registry.invitations.list_invitations()} == {
        "meter",
        "new_holder",
    }


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"account": "k3q7d0fr2mxx", "usage_point": METER},
        {"account": "k3q7d0fr2mxx", "new_holder": True},
        {"usage_point": "123"},
        {"account": METER},
        {"usage_point": METER, "mail": "nobody"},
        {"usage_point": METER, "mail": "a@example.org\r\nBcc: b@example.org"},
        {"usage_point": METER, "mail": "Name <a@example.org>"},
        {"usage_point": METER, "link": "x"},
    ],
)
def test_what_is_no_invitation_is_refused_without_repeating_it(
    service: ApiService, client: TestClient, body: dict[str, object]
) -> None:
    answer = client.post("/api/invitations", json=body)
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")
    assert METER not in answer.text and "example.org\r" not in answer.text
    assert service.parts.stores.registry.invitations.list_invitations() == []


def test_an_unknown_or_removed_account_is_not_invited(service: ApiService, client: TestClient) -> None:
    removed = service.add(11)
    erase(service.parts.stores, removed)
    for account in (removed, "nobody"):
        answer = client.post("/api/invitations", json={"account": account})
        assert (answer.status_code, answer.json()["error"]) == (404, "unknown_account")


def test_the_list_comes_in_pages_without_secrets_and_meters(service: ApiService, client: TestClient) -> None:
    account = service.add(11)
    ids = [client.post("/api/invitations", json={"account": account}).json()["invitation"] for _ in range(2)]
    for number in range(22, 25):
        body = {"usage_point": f"300016400000{number}"}
        ids.append(client.post("/api/invitations", json=body).json()["invitation"])
    rows, path = [], "/api/invitations?limit=2"
    while path:
        answer = client.get(path)
        without_times = re.sub(r'"20[^"]*Z"', "", answer.text)  # A time may have any digits.
        assert "invite_" not in answer.text and "0022" not in without_times
        page = answer.json()
        assert len(page["invitations"]) <= 2
        rows += page["invitations"]
        path = page["next"]
    assert [row["invitation"] for row in rows] == sorted(ids)
    states = {row["invitation"]: (row["state"], row["purpose"], row["account"]) for row in rows}
    assert states[ids[0]] == ("revoked", "account", account)
    assert states[ids[2]] == ("sent", "meter", None)
    still_open = client.get("/api/invitations?open=true&limit=3").json()
    assert {row["state"] for row in still_open["invitations"]} == {"sent"}
    rest = client.get(still_open["next"]).json()
    assert len(still_open["invitations"]) + len(rest["invitations"]) == 4


def test_an_invitation_is_revoked_and_revoking_it_again_is_safe(service: ApiService, client: TestClient) -> None:
    made = client.post("/api/invitations", json={"usage_point": METER}).json()
    first, again = (client.delete(f"/api/invitations/{made['invitation']}") for _ in range(2))
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert first.json()["state"] == "revoked"
    assert service.parts.stores.registry.invitations.open(made["link"].partition("#")[2], "a" * 64) is None
    unknown = client.delete("/api/invitations/nobodyknows0")
    assert (unknown.status_code, unknown.json()["error"]) == (404, "unknown_invitation")


def test_each_call_needs_its_scope_and_a_token(service: ApiService) -> None:
    account = service.add(11)
    invitation, _ = build_inviter(service.parts.stores).invite_account(account, "x")
    calls = {
        "POST": ("/api/invitations", {"account": account}, Scope.WRITE_ACCOUNTS),
        "GET": ("/api/invitations", None, Scope.READ_ACCOUNTS),
        "DELETE": (f"/api/invitations/{invitation.id}", None, Scope.WRITE_ACCOUNTS),
    }
    for method, (path, body, scope) in calls.items():
        assert service.stranger().request(method, path, json=body).status_code == 401
        household = service.browser(account).request(method, path, json=body)
        assert household.status_code == 403
        assert invitation.id not in household.text
        others = service.client(*(set(Scope) - {scope})).request(method, path, json=body)
        assert (others.status_code, others.json()["error"]) == (403, "scope_needed")
    assert [one.id for one in service.parts.stores.registry.invitations.list_invitations()] == [invitation.id]


def test_without_a_mail_service_nothing_is_made(service: ApiService, client: TestClient) -> None:
    answer = client.post("/api/invitations", json={"usage_point": METER, "mail": "holder@example.net"})
    assert (answer.status_code, answer.json()["error"]) == (409, "no_mail_service")
    assert service.parts.stores.registry.invitations.list_invitations() == []


def test_the_link_is_mailed_and_a_mail_that_fails_leaves_it(redis_url: str, tmp_path: Path) -> None:
    with mail_receiver() as box, open_api_service(redis_url, tmp_path, notify_url=mail_url(box)) as service:
        client, new = service.client(), {"usage_point": METER, "mail": "holder@example.net"}
        sent = client.post("/api/invitations", json=new)
        box.refusal = "550 no such user"
        refused = client.post("/api/invitations", json=new)
    assert (sent.status_code, sent.json()["mailed"]) == (201, True)
    assert (refused.status_code, refused.json()["mailed"]) == (201, False)
    assert box.recipients == [["holder@example.net"]]
    assert sent.json()["link"] in box.messages[0].get_content()


def test_the_description_says_that_a_session_opens_none_of_it(client: TestClient) -> None:
    paths = client.get("/api/openapi.json").json()["paths"]
    operations = [*paths["/api/invitations"].values(), *paths["/api/invitations/{invitation_id}"].values()]
    assert [operation["security"] for operation in operations] == [[{"token": []}]] * 3


@pytest.mark.parametrize("pce", ["21546000000123", "GI000456"])
def test_a_gas_meter_is_invited_by_its_pce(redis_url: str, tmp_path: Path, pce: str) -> None:
    with open_api_service(redis_url, tmp_path, **GAS_SETTINGS) as service:
        made = service.client().post("/api/invitations", json={"pce": pce})
        assert made.status_code == 201 and pce not in made.text
        (invitation,) = service.parts.stores.registry.invitations.list_invitations()
        assert (invitation.supplier, invitation.usage_point_id) == ("grdf", pce)


@pytest.mark.parametrize(
    "body",
    [
        {"pce": "1234"},
        {"pce": "GI12345"},
        {"pce": "21546000000123", "usage_point": "30001640000011"},
        {"pce": "21546000000123", "account": "k3qd0fr2mw7x"},
        {},
    ],
)
def test_exactly_one_of_account_meter_and_pce_is_invited(redis_url: str, tmp_path: Path, body: dict[str, str]) -> None:
    with open_api_service(redis_url, tmp_path, **GAS_SETTINGS) as service:
        refused = service.client().post("/api/invitations", json=body)
        assert (refused.status_code, refused.json()["error"]) == (422, "invalid_request")
        assert "21546000000123" not in refused.text


def test_a_service_without_gas_invites_to_no_gas_meter(service: ApiService) -> None:
    refused = service.client().post("/api/invitations", json={"pce": "21546000000123"})
    assert refused.status_code == 422 and "gas is not set up" in refused.text
