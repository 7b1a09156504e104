"""A browser whose session somebody has ended gets no other one by what it has kept: names, and a used invitation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from fastapi.testclient import TestClient

from tests.integration.web.test_holders import Crash, shown, sign_in_elsewhere
from tests.support.connect_service import ConnectService
from tests.support.household_pages import csrf_of
from worker.stores.registry.households import HouseholdTable


def end_by_command(service: ConnectService, lost: TestClient, phone: TestClient) -> None:
    """As `releve access remove session --account` does."""
    (account,) = service.accounts()
    assert service.parts.stores.registry.sessions.end_of(
        service.parts.stores.registry.sessions.households_of([account.id])
    )


def end_others(service: ConnectService, lost: TestClient, phone: TestClient) -> None:
    csrf = csrf_of(phone.get("/access/sessions").text)
    assert phone.post("/access/sessions/end-others", data={"csrf": csrf}).status_code == 303


def end_one(service: ConnectService, lost: TestClient, phone: TestClient) -> None:
    csrf = csrf_of(phone.get("/access/sessions").text)
    ending = phone.post(f"/access/sessions/{service.session(lost).sid}/end", data={"csrf": csrf})
    assert ending.status_code == 303


@pytest.mark.parametrize("end", [end_by_command, end_others, end_one])
@pytest.mark.parametrize("is_renewal", [False, True])
def test_a_used_invitation_is_no_way_back_in_for_a_lost_device(
    service: ConnectService, end: Callable[[ConnectService, TestClient, TestClient], None], is_renewal: bool
) -> None:
    lost, secret = service.browser(), service.invite()
    back = service.agree(service.open_invitation(lost, secret).headers["location"])
    service.come_back(lost, back)
    if is_renewal:  # In a session that shows the account already.
        secret = service.invite()
        back = service.agree(service.open_invitation(lost, secret).headers["location"])
        service.come_back(lost, back)
    (account,) = service.accounts()
    assert service.open_invitation(lost, secret).headers["location"] == f"/accounts/{account.id}"
    phone = sign_in_elsewhere(service, lost)
    end(service, lost, phone)
    assert service.open_invitation(lost, secret).status_code == 410
    assert service.come_back(lost, back).status_code == 403
    assert not shown(service, lost) and not service.session(lost).accounts


def test_a_crash_before_the_session_leaves_a_way_in_by_the_invitation(
    service: ConnectService, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, secret = service.browser(), service.invite()
    back = service.agree(service.open_invitation(browser, secret).headers["location"])

    def die(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch, suppress(Crash):
        patch.setattr(HouseholdTable, "create", die)
        service.come_back(browser, back)
    (account,) = service.accounts()
    assert not shown(service, browser)
    assert service.open_invitation(browser, secret).headers["location"] == f"/accounts/{account.id}"
    assert shown(service, browser) == {account.id}
