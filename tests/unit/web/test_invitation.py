"""An invitation that was used already."""

from __future__ import annotations

import hashlib
from typing import Any

from fastapi.testclient import TestClient

from tests.support.api_service import ApiService
from tests.support.factories import NOW
from tests.support.household_pages import csrf_of
from tests.support.registries import METER, record_consent
from worker.domain.consents import ConsentKind
from worker.domain.invitation import InvitationPurpose
from worker.web.pages.consent_callback import BROWSER_COOKIE


def press(browser: TestClient, secret: str) -> Any:
    csrf = csrf_of(browser.get("/invitation").text)
    return browser.post("/invitation", data={"invitation": secret, "csrf": csrf})


def use_invitation(
    service: ApiService, browser: TestClient, purpose: InvitationPurpose = InvitationPurpose.METER
) -> str:
    """Let the browser open an invitation for the meter, use it up, and return its secret."""
    parts = service.parts
    invitation, secret = parts.stores.registry.invitations.create(purpose, "enedis", "cli:test", usage_point_id=METER)
    assert press(browser, secret).status_code == 303
    with parts.stores.registry.database.writing() as connection:
        assert parts.stores.registry.invitations.use(connection, invitation.id)
    return secret


def bring_consent(service: ApiService, browser: TestClient, account_id: str) -> None:
    """Record a consent that the browser has brought under its newest name."""
    name = hashlib.sha256(browser.cookies[BROWSER_COOKIE].partition(".")[0].encode()).hexdigest()
    record_consent(
        service.parts.stores.registry.consents, account_id, ConsentKind.AUTORISATION, NOW, browser=name, reference=name
    )


def test_a_used_invitation_opens_its_account_for_its_own_browser_while_that_ones_consent_is_in_force(
    service: ApiService,
) -> None:
    parts = service.parts
    browsers = [TestClient(service.app, follow_redirects=False) for _ in range(2)]
    secrets = [use_invitation(service, browser) for browser in browsers]
    assert press(browsers[0], secrets[0]).status_code == 410, "the meter has no account"
    account = parts.stores.registry.accounts.add("enedis", METER, NOW, token_needed=False)[0]
    assert press(browsers[0], secrets[0]).status_code == 410, "the account has no consent"
    for browser in browsers:
        bring_consent(service, browser, account.id)
    for browser, secret in ((0, 0), (0, 1), (1, 0)):
        assert press(browsers[browser], secrets[secret]).status_code == 410
    assert press(browsers[1], secrets[1]).headers["location"] == f"/accounts/{account.id}"


def test_a_used_invitation_opens_no_account_that_its_browser_brought_before(service: ApiService) -> None:
    """A new holder's right of gas waits for GRDF, in the browser of the holder before."""
    shared = TestClient(service.app, follow_redirects=False)
    shared.get("/invitation")
    use_invitation(service, shared)
    account = service.parts.stores.registry.accounts.add("enedis", METER, NOW, token_needed=False)[0]
    bring_consent(service, shared, account.id)
    secret = use_invitation(service, shared, InvitationPurpose.NEW_HOLDER)
    assert press(shared, secret).status_code == 410
