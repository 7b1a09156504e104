"""What households see of tenants: nothing. Another tenant's meter ends on the page of those without a proof."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.support.connect_service import METER, OTHER, ConnectServers, ConnectService, open_connect_service
from tests.support.household_pages import csrf_of
from tests.support.registries import all_rows, close_account
from worker.domain.account import DEFAULT_TENANT
from worker.domain.connection_request import RequestState
from worker.domain.invitation import InvitationPurpose
from worker.errors import StoreUnavailable
from worker.runtime.consent_parts import build_inviter, stop_consent

THEIRS = "kilowatt"


def invite(service: ConnectService, meter: str = METER, tenant: str = THEIRS, *, new_holder: bool = False) -> str:
    """Return the secret of a tenant's invitation to a meter, whoever has its account by then."""
    purpose = InvitationPurpose.NEW_HOLDER if new_holder else InvitationPurpose.METER
    return service.parts.stores.registry.invitations.create(
        purpose, "enedis", "token:t", usage_point_id=meter, tenant=tenant
    )[1]


def accept(service: ConnectService, browser: TestClient, secret: str) -> Any:
    answer = service.open_invitation(browser, secret)
    assert answer.status_code == 303, answer.text
    return service.come_back(browser, service.agree(answer.headers["location"]))


def rows(service: ConnectService) -> dict[str, list[str]]:
    """Return the registry without its invitations, which each use changes."""
    found = all_rows(service.parts.stores.registry.database)
    del found["invitations"]
    return found


def test_an_account_belongs_to_the_tenant_of_its_invitation(service: ConnectService) -> None:
    assert accept(service, service.browser(), invite(service)).status_code == 303
    (account,) = service.accounts()
    assert (account.tenant, account.usage_point_id) == (THEIRS, METER)
    service.connect(service.browser(), OTHER)
    assert {account.usage_point_id: account.tenant for account in service.accounts()} == {
        METER: THEIRS,
        OTHER: DEFAULT_TENANT,
    }


@pytest.mark.parametrize("new_holder", [False, True])
def test_h4_another_person_with_another_tenants_invitation_sees_the_one_page_and_nothing_changes(
    service: ConnectService, new_holder: bool
) -> None:
    service.connect(service.browser())
    (account,) = service.accounts()
    before, queued = rows(service), service.queued()
    other = service.browser()
    answer = accept(service, other, invite(service, new_holder=new_holder))
    assert answer.status_code == 403 and not service.session(other).accounts
    assert rows(service) == before and service.queued() == queued
    assert account.id not in answer.text and THEIRS not in answer.text and "METER_ELSEWHERE" not in answer.text
    (invitation,) = service.parts.stores.registry.invitations.list_invitations(tenant=THEIRS)
    assert invitation.used_at is None
    if not service.parts.sync.suppliers.main.account_tokens:  # The page that a typed callback of nobody's meter gets.
        stranger = service.browser()
        typed = {"usage_point_id": OTHER, "autorisation_id": "987654321"}
        state = service.begin_uninvited(stranger).partition("state=")[2].partition("&")[0]
        page = stranger.get("/callback/enedis", params={"state": state, **typed})
        assert (page.status_code, page.text) == (answer.status_code, answer.text)


def test_the_request_of_another_tenant_keeps_no_token(v4: ConnectService) -> None:
    v4.connect(v4.browser())
    callback = v4.agree(v4.open_invitation(browser := v4.browser(), invite(v4)).headers["location"])
    assert v4.come_back(browser, callback).status_code == 403
    requests = [
        v4.parts.consent.requests.get(key.rpartition(":")[2])
        for key in v4.parts.stores.redis.scan_iter("releve:connection_request:*")
    ]
    (ended,) = [request for request in requests if request and request.state is RequestState.UNPROVEN]
    assert ended.proven is None and ended.code is None and ended.tenant == THEIRS


@pytest.mark.parametrize("stopped", [False, True])
def test_an_invitation_of_another_tenant_renews_nobodys_account(service: ConnectService, stopped: bool) -> None:
    browser, link = service.browser(), invite(service)
    service.connect(browser)
    (account,) = service.accounts()
    if stopped:
        stop_consent(service.parts.stores, account.id)
    before = rows(service)
    assert accept(service, browser, link).status_code == 403
    assert {name: row for name, row in rows(service).items() if name != "invitations"} == {
        name: row for name, row in before.items() if name != "invitations"
    }


def test_without_an_invitation_the_same_person_renews_in_the_accounts_own_tenant(v4: ConnectService) -> None:
    browser = v4.browser()
    accept(v4, browser, invite(v4))
    (account,) = v4.accounts()
    assert v4.connect(browser).headers["location"] == f"/accounts/{account.id}"
    assert [(row.id, row.tenant) for row in v4.accounts()] == [(account.id, THEIRS)]


def test_an_invitation_for_an_account_has_its_tenant_and_renews_it(service: ConnectService) -> None:
    accept(service, service.browser(), invite(service))
    (account,) = service.accounts()
    invitation, link = build_inviter(service.parts.stores).invite_account(account.id, "cli:test")
    assert invitation.tenant == THEIRS
    lost = service.browser()
    assert accept(service, lost, link.partition("#")[2]).headers["location"] == f"/accounts/{account.id}"
    assert [(row.id, row.tenant) for row in service.accounts()] == [(account.id, THEIRS)]


def test_without_an_invitation_a_person_connects_to_the_default_tenant_and_no_other(v4: ConnectService) -> None:
    accept(v4, v4.browser(), invite(v4))
    (account,) = v4.accounts()
    before = rows(v4)
    assert v4.connect(v4.browser()).status_code == 403
    assert rows(v4) == before and v4.accounts() == [account]


def test_a_choice_and_a_wait_for_the_operator_end_where_another_tenant_reads_the_meter_by_then(
    servers: ConnectServers, tmp_path: Any
) -> None:
    with open_connect_service(servers, tmp_path, "enedis-v4", new_accounts_per_address="1") as service:
        parts = service.parts
        service.connect(service.browser(), "30001640000033")
        held = service.browser()
        assert service.connect(held, OTHER).status_code == 202
        (request,) = parts.consent.requests.list_held()
        parts.consent.assertion.add(OTHER, "token:t", tenant=THEIRS)
        before = rows(service)
        ended = parts.consent.connector.let_in(request.id, by="cli:test")
        assert ended and (ended.state, ended.proven, ended.accounts) == (RequestState.UNPROVEN, None, ())
        assert rows(service) == before
        ours, _ = parts.consent.assertion.add(METER, "cli:ada")
        chooser = service.browser()
        asked = service.connect(chooser)
        request_id = asked.text.partition('name="connection" value="')[2].partition('"')[0]
        close_account(parts.stores.registry.consents, ours.id, parts.stores.now())
        parts.stores.registry.accounts.remove(ours.id, parts.stores.now())
        parts.consent.assertion.add(METER, "token:t", tenant=THEIRS)
        before = rows(service)
        form = {"connection": request_id, "csrf": csrf_of(asked.text)}
        assert chooser.post("/connect/new-holder", data=form).status_code == 403
        assert rows(service) == before


def test_a_tenant_that_adds_the_meter_meanwhile_gets_no_second_account(
    service: ConnectService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account comes between the look at the meter and the transaction."""
    parts, browser = service.parts, service.browser()
    find = parts.stores.registry.accounts.find

    def find_and_be_late(supplier: str, meter: str) -> Any:
        found = find(supplier, meter)
        monkeypatch.undo()
        parts.consent.assertion.add(meter, "token:t", tenant=THEIRS)
        return found

    callback = service.begin(browser)
    monkeypatch.setattr(type(parts.stores.registry.accounts), "find", lambda _, *words: find_and_be_late(*words))
    with suppress(StoreUnavailable):  # Worker and page try again.
        service.come_back(browser, callback)
    assert service.come_back(browser, callback).status_code == 403
    (account,) = service.accounts()
    assert account.tenant == THEIRS and not service.session(browser).accounts
