"""The end of a consent by its household: only by our own form, only its own account, and nothing is erased."""

from __future__ import annotations

import pytest

from tests.support.api_service import ApiService
from tests.support.factories import NOW
from tests.support.household_pages import FRENCH, METER, csrf_of
from tests.support.registries import close_account
from worker.domain.account import AccountState
from worker.domain.documents import ALL_KEYS
from worker.domain.series import Doctype
from worker.web.dependencies import Session


def test_stopping_takes_a_form_of_ours_and_keeps_the_readings(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    stored = service.parts.stores.measures.read(account, dict.fromkeys(Doctype, ALL_KEYS))
    assert f'href="/accounts/{account}/stop"' in browser.get(f"/accounts/{account}/connection", headers=FRENCH).text
    form = browser.get(f"/accounts/{account}/stop", headers=FRENCH).text
    assert "espace client Enedis" in form and "…0011" in form and METER not in form
    done = browser.post(f"/accounts/{account}/stop", data={"csrf": csrf_of(form)}, headers=FRENCH)
    assert [step.status_code for step in done.history] == [303] and "Relevés arrêtés" in done.text
    row = service.parts.stores.registry.accounts.get(account)
    assert (row.state, row.reason, row.usage_point_id) == (AccountState.ACTION_NEEDED, "CONSENT_STOPPED", METER)
    assert service.parts.stores.measures.read(account, dict.fromkeys(Doctype, ALL_KEYS)) == stored
    assert service.parts.stores.registry.notices.list_due(NOW) == [], "nobody is told of what it did itself"
    assert f'/accounts/{account}/renew"' in done.text
    assert 'class="chart chart-wide"' in browser.get(f"/accounts/{account}").text
    assert 'class="card alert"' not in done.text and f"/accounts/{account}/stop" not in done.text


def test_what_is_stopped_already_stays_so(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    form = {"csrf": csrf_of(browser.get(f"/accounts/{account}/stop").text)}
    for _ in range(2):
        assert browser.post(f"/accounts/{account}/stop", data=form).status_code == 200
    assert browser.get(f"/accounts/{account}/stop", follow_redirects=False).status_code == 303
    service.parts.stores.registry.accounts.add("enedis", METER, NOW, token_needed=False)
    assert service.parts.stores.registry.accounts.get(account).active


def test_an_account_that_another_person_has_taken_over_has_nothing_to_stop(service: ApiService, account: str) -> None:
    close_account(service.parts.stores.registry.consents, account, NOW)
    browser = service.browser(account)
    assert browser.get(f"/accounts/{account}/stop", follow_redirects=False).status_code == 303
    assert browser.post(f"/accounts/{account}/stop", data={"csrf": browser.headers["X-CSRF-Token"]}).status_code == 200
    assert service.parts.stores.registry.accounts.get(account).state is AccountState.CLOSED


@pytest.mark.parametrize("csrf", [None, "", "0" * 64, "another session"])
def test_a_form_of_another_site_stops_nothing(service: ApiService, account: str, csrf: str | None) -> None:
    if csrf == "another session":
        csrf = service.parts.access.signer.csrf_token(Session().sid)
    fields = {} if csrf is None else {"csrf": csrf}
    refused = service.browser(account).post(f"/accounts/{account}/stop", data=fields, headers=FRENCH)
    assert refused.status_code == 403 and "Ce formulaire a expiré" in refused.text
    assert service.parts.stores.registry.accounts.get(account).state is AccountState.READY


def test_who_does_not_own_an_account_cannot_stop_it(service: ApiService, account: str) -> None:
    other = service.browser(service.add(12))
    csrf = other.headers["X-CSRF-Token"]
    assert other.post(f"/accounts/{account}/stop", data={"csrf": csrf}).status_code == 404
    assert service.parts.stores.registry.accounts.get(account).state is AccountState.READY
