"""Invitations on the operator's page: the form, the link that is shown once, the list, and who may use them."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.support.api_service import ApiService, open_api_service
from tests.support.gas_homes import GAS_SETTINGS
from tests.support.household_pages import csrf_of
from tests.support.mail_server import mail_receiver
from tests.support.operators import signed_in
from worker.runtime.consent_parts import build_inviter
from worker.web.pages.operator_invitations import MOST_INVITATIONS

METER, OTHER_METER = "30001640000011", "30001640000022"
LINK = re.compile(r"http://127\.0\.0\.1:\d+/invitation#(invite_[a-z0-9]{12}_[\w-]{43})")


def operator(service: ApiService) -> TestClient:
    return signed_in(service.app, service.parts)


def invite(browser: TestClient, **form: str) -> Response:
    return browser.post(
        "/operator/invitations", data={"csrf": csrf_of(browser.get("/operator/invitations").text), **form}
    )


def test_an_account_is_invited_and_its_link_shown_once(service: ApiService) -> None:
    account, browser = service.add(11), operator(service)
    page = invite(browser, whom=f" {account} ")
    match = LINK.search(page.text)
    assert page.status_code == 200 and match
    assert page.headers["Cache-Control"] == "no-store"
    (invitation,) = service.parts.stores.registry.invitations.list_invitations()
    assert service.parts.stores.registry.invitations.find(match[1]) == invitation
    assert (invitation.account_id, invitation.created_by) == (account, "operator alice")
    listed = browser.get("/operator/invitations").text
    assert f"Account {account}" in listed and "invite_" not in listed


def test_a_meter_is_invited_by_its_number_with_or_without_spaces(service: ApiService) -> None:
    browser = operator(service)
    assert LINK.search(invite(browser, whom="300 016 400 000 22").text)
    (invitation,) = service.parts.stores.registry.invitations.list_invitations()
    assert (invitation.purpose, invitation.usage_point_id) == ("meter", OTHER_METER)
    listed = browser.get("/operator/invitations").text
    assert "Meter …0022" in listed and OTHER_METER not in listed


@pytest.mark.parametrize(
    "form, status, fault",
    [
        ({"whom": "nobody"}, 404, "neither an account id"),
        ({"whom": ""}, 404, "neither an account id"),
        ({"whom": "123"}, 404, "neither an account id"),
        ({"whom": METER}, 409, "For a new holder, tick the box"),
        ({"whom": OTHER_METER, "new_holder": "yes"}, 409, "untick the box"),
        ({"whom": "nobody", "new_holder": "yes"}, 422, "enter the meter number"),
        ({"whom": OTHER_METER, "address": "a@example.org"}, 422, "name@example.org"),  # No mail service is set.
        ({"whom": "<script>x</script>"}, 404, "neither an account id"),
    ],
)
def test_what_cannot_be_invited_is_said_on_the_page_and_the_form_kept(
    service: ApiService, form: dict[str, str], status: int, fault: str
) -> None:
    account, browser = service.add(11), operator(service)
    page = invite(browser, **form)
    assert page.status_code == status
    assert fault in unescape(page.text)
    assert (account in page.text) == (form["whom"] == METER)
    assert "<script>x" not in page.text
    assert ("checked" in page.text) == ("new_holder" in form)
    assert service.parts.stores.registry.invitations.list_invitations() == []


def test_the_new_holder_of_a_meter_is_invited(service: ApiService) -> None:
    service.add(11)
    browser = operator(service)
    assert LINK.search(invite(browser, whom=METER, new_holder="yes").text)
    assert "Meter …0011, new holder" in browser.get("/operator/invitations").text


def test_an_invitation_is_revoked_by_its_button(service: ApiService) -> None:
    browser = operator(service)
    match = LINK.search(invite(browser, whom=METER).text)
    assert match
    page = browser.get("/operator/invitations").text
    action = re.search(r'action="(/operator/invitations/[a-z0-9]{12}/revoke)"', page)
    assert action
    answer = browser.post(action[1], data={"csrf": csrf_of(page)}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/operator/invitations")
    assert service.parts.stores.registry.invitations.open(match[1], "a" * 64) is None
    assert "/revoke" not in browser.get("/operator/invitations").text
    unknown = browser.post("/operator/invitations/nobody/revoke", data={"csrf": csrf_of(page)})
    assert unknown.status_code == 404


def test_without_login_or_our_form_nothing_is_made_or_revoked(service: ApiService) -> None:
    account, inside = service.add(11), operator(service)
    invitation, _ = build_inviter(service.parts.stores).invite_account(account, "x")
    outside, household = TestClient(service.app), service.browser(account)
    csrf = csrf_of(outside.get("/operator/invitations").text)
    tries = [
        (inside, ""),
        (inside, csrf),  # Of another session.
        (outside, csrf),  # A good field, but no login.
        (household, household.headers["X-CSRF-Token"]),
    ]
    for browser, field in tries:
        for path in ("/operator/invitations", f"/operator/invitations/{invitation.id}/revoke"):
            answer = browser.post(path, data={"csrf": field, "whom": METER, "new_holder": "yes"})
            assert answer.status_code == 403
            assert not LINK.search(answer.text)
    assert [one.id for one in service.parts.stores.registry.invitations.list_invitations(open_only=True)] == [
        invitation.id
    ]


def test_an_operator_who_was_ended_meanwhile_makes_nothing(service: ApiService) -> None:
    browser, operators = operator(service), service.parts.access.operators
    csrf = csrf_of(browser.get("/operator/invitations").text)
    operators.add("bob")
    operators.end(operators.find("alice").id)
    assert browser.post("/operator/invitations", data={"csrf": csrf, "whom": METER}).status_code == 403


def test_the_list_has_the_newest_alone_and_says_so(service: ApiService) -> None:
    browser = operator(service)
    for number in range(MOST_INVITATIONS + 1):
        build_inviter(service.parts.stores).invite_meter("enedis", f"{30001640000000 + number}", "x")
    page = browser.get("/operator/invitations").text
    assert page.count("/revoke") == MOST_INVITATIONS
    assert "Only the newest" in page


def test_the_link_is_mailed_where_the_operator_gives_an_address(redis_url: str, tmp_path: Path) -> None:
    with mail_receiver() as box:
        url = f"mailto://127.0.0.1:{box.port}?from=releve@example.org&to=support@example.org"
        with open_api_service(redis_url, tmp_path, notify_url=url) as service:
            browser = operator(service)
            bad = invite(browser, whom=METER, address="nobody")
            sent = invite(browser, whom=METER, address="holder@example.net")
            box.refusal = "550 no such user"
            refused = invite(browser, whom=METER, address="holder@example.net")
    assert bad.status_code == 422 and "name@example.org" in bad.text
    assert "The email was sent" in sent.text and box.recipients == [["holder@example.net"]]
    assert "The email could not be sent (status 550)" in refused.text and LINK.search(refused.text)


# Several tenants


def test_the_form_has_a_choice_of_tenants_where_there_are_several(service: ApiService) -> None:
    browser = operator(service)
    assert 'name="tenant"' not in browser.get("/operator/invitations").text
    service.parts.stores.registry.tenants.save("kilowatt", "Kilowatt & Club")
    assert LINK.search(invite(browser, whom=OTHER_METER, tenant="kilowatt").text)
    (invitation,) = service.parts.stores.registry.invitations.list_invitations()
    assert invitation.tenant == "kilowatt"
    page = browser.get("/operator/invitations").text
    assert '<option value="kilowatt" >Kilowatt &amp; Club</option>' in page
    assert page.count("Kilowatt &amp; Club") == 2  # In the form, and beside the invitation.
    assert invite(browser, whom=OTHER_METER, tenant="nobody").status_code == 422
    assert service.parts.stores.registry.invitations.list_invitations() == [invitation]


def test_an_account_keeps_its_tenant_and_anothers_meter_is_told_by_the_services_name(service: ApiService) -> None:
    service.parts.stores.registry.tenants.save("kilowatt", "Kilowatt Club")
    account, browser = service.add(11, "kilowatt"), operator(service)
    assert LINK.search(invite(browser, whom=account).text)
    (invitation,) = service.parts.stores.registry.invitations.list_invitations()
    assert invitation.tenant == "kilowatt"
    for form in ({}, {"new_holder": "yes"}):
        page = invite(browser, whom=METER, **form)
        assert (
            page.status_code == 409 and "An account of the service Kilowatt Club already reads this meter" in page.text
        )
    assert service.parts.stores.registry.invitations.list_invitations() == [invitation]


@pytest.mark.parametrize("pce", ["21546000000123", "gi 000 456"])
def test_a_gas_meter_is_invited_by_its_pce(redis_url: str, tmp_path: Path, pce: str) -> None:
    with open_api_service(redis_url, tmp_path, **GAS_SETTINGS) as service:
        browser = operator(service)
        assert LINK.search(invite(browser, whom=pce, energy="grdf").text)
        (invitation,) = service.parts.stores.registry.invitations.list_invitations()
        assert (invitation.supplier, invitation.usage_point_id) == ("grdf", pce.replace(" ", "").upper())
        assert invite(browser, whom="GI12", energy="grdf").status_code == 404


def test_the_form_of_a_service_without_gas_names_no_energy(service: ApiService) -> None:
    page = operator(service).get("/operator/invitations").text
    assert 'name="energy"' not in page and "PCE" not in page
    assert LINK.search(invite(operator(service), whom=METER, energy="grdf").text)
    (invitation,) = service.parts.stores.registry.invitations.list_invitations()
    assert invitation.supplier == "enedis"
