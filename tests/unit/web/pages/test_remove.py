"""The removal of an account: only by our own form, only by its household, with a receipt."""

from __future__ import annotations

import pytest

from tests.support.api_service import ApiService
from tests.support.household_pages import FRENCH, csrf_of
from worker.domain.account import AccountState
from worker.web.dependencies import SESSION_COOKIE, Session, load_session


def test_removing_takes_a_form_of_ours_and_gives_a_receipt(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    page = browser.get(f"/accounts/{account}/remove", headers=FRENCH).text
    done = browser.post(f"/accounts/{account}/remove", data={"csrf": csrf_of(page)}, headers=FRENCH)
    assert done.status_code == 200 and "Reçu" in done.text and account in done.text and "108" in done.text
    assert service.parts.stores.registry.accounts.get(account).state is AccountState.DELETED
    assert browser.get(f"/accounts/{account}").status_code == 404
    assert load_session(service.parts.access, browser.cookies[SESSION_COOKIE]).key is None


@pytest.mark.parametrize("csrf", [None, "", "0" * 64])
def test_a_form_of_another_site_removes_nothing(service: ApiService, account: str, csrf: str | None) -> None:
    fields = {} if csrf is None else {"csrf": csrf}
    refused = service.browser(account).post(f"/accounts/{account}/remove", data=fields, headers=FRENCH)
    assert refused.status_code == 403 and "Ce formulaire a expiré" in refused.text
    assert service.parts.stores.registry.accounts.get(account).state is AccountState.READY


def test_the_field_of_another_session_removes_nothing(service: ApiService, account: str) -> None:
    other = service.parts.access.signer.csrf_token(Session().sid)
    assert service.browser(account).post(f"/accounts/{account}/remove", data={"csrf": other}).status_code == 403


def test_who_does_not_own_an_account_cannot_remove_it(service: ApiService, account: str) -> None:
    other = service.browser(service.add(12))
    csrf = other.headers["X-CSRF-Token"]
    assert other.post(f"/accounts/{account}/remove", data={"csrf": csrf}).status_code == 404
    assert service.parts.stores.registry.accounts.get(account).state is AccountState.READY
