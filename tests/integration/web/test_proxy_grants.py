"""The household sees what other programs may read of its meter, and ends it; the operator does so by a command."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from tests.support.connect_service import INVITED_PRESETS, METER, OTHER, ConnectService
from tests.support.household_pages import csrf_of
from tests.support.proxy_stack import ProxyStack
from worker.domain.audit_entry import AuditFilter
from worker.domain.consents import EndReason

pytestmark = pytest.mark.generations


@pytest.fixture
def holder(service: ConnectService) -> TestClient:
    """Return a browser whose household has an account of the meter."""
    browser = service.browser()
    service.connect(browser)
    return browser


@pytest.fixture
def stack(service: ConnectService) -> ProxyStack:
    return ProxyStack.register(service)


def page_of(service: ConnectService) -> str:
    return f"/accounts/{service.accounts()[0].id}/connection"


def buttons_of(page: str) -> list[str]:
    return re.findall(r'action="(/accounts/\w+/grants/\w+/end)"', page)


def is_in_force(service: ConnectService, stack: ProxyStack, tokens: dict[str, str]) -> bool:
    if service.parts.sync.suppliers.main.account_tokens:
        return stack.refresh(tokens["refresh_token"]).status_code == 200
    return stack.read(tokens["access_token"], tokens["usage_point_id"]).status_code == 200


def test_o5_the_page_lists_the_grants_of_its_meter_and_a_button_ends_one(
    service: ConnectService, stack: ProxyStack, holder: TestClient
) -> None:
    page = page_of(service)
    assert "Autres services autorisés" not in holder.get(page).text
    first, second = (stack.exchange(stack.walk(holder)["code"]) for _ in range(2))
    other = stack.exchange(stack.walk(meter=OTHER)["code"])
    shown = holder.get(page).text
    assert "Autres services autorisés" in shown and "My Cozy" in shown
    end, _ = buttons_of(shown)  # The other meter's is not there.
    assert ("3 h 30" in shown) is service.parts.sync.suppliers.main.account_tokens
    ended = holder.post(end, data={"csrf": csrf_of(shown)})
    assert (ended.status_code, ended.headers["location"]) == (303, f"{page}#grants")
    assert not is_in_force(service, stack, first)
    assert is_in_force(service, stack, second) and is_in_force(service, stack, other)
    assert len(buttons_of(holder.get(page).text)) == 1
    (grant,) = [one for one in service.parts.stores.registry.proxy_grants.list_grants() if one.ended_at is not None]
    assert grant.end_reason == EndReason.WITHDRAWN
    (entry,) = service.parts.stores.registry.audit.page(AuditFilter(action="grant.end"), 10)
    assert (entry.actor_kind, entry.subject, entry.outcome) == ("household", grant.id, "ok")


def test_o5_nobody_ends_the_grant_of_another_meter(
    service: ConnectService, stack: ProxyStack, holder: TestClient
) -> None:
    mine, theirs = stack.exchange(stack.walk(holder)["code"]), stack.exchange(stack.walk(meter=OTHER)["code"])
    shown = holder.get(page_of(service)).text
    (end,) = buttons_of(shown)
    own, other = (grant.id for grant in service.parts.stores.registry.proxy_grants.list_grants())
    form = {"csrf": csrf_of(shown)}
    assert holder.post(end.replace(own, other), data=form).status_code == 404
    assert holder.post(end, data={"csrf": "0" * 64}).status_code == 403
    assert service.browser().post(end, data=form).status_code in (403, 404)
    assert is_in_force(service, stack, mine) and is_in_force(service, stack, theirs)


def test_o5_stop_ends_the_grants_of_the_meter(service: ConnectService, stack: ProxyStack, holder: TestClient) -> None:
    stop = page_of(service).replace("/connection", "/stop")
    assert "Les autres services autorisés" not in holder.get(stop).text
    tokens, other = stack.exchange(stack.walk(holder)["code"]), stack.exchange(stack.walk(meter=OTHER)["code"])
    form = holder.get(stop).text
    assert "Les autres services autorisés" in form
    assert ("3 h 30" in form) is service.parts.sync.suppliers.main.account_tokens
    assert holder.post(stop, data={"csrf": csrf_of(form)}).status_code == 303
    assert not is_in_force(service, stack, tokens) and is_in_force(service, stack, other)
    assert "My Cozy" not in holder.get(page_of(service)).text


@pytest.mark.parametrize("service", INVITED_PRESETS, indirect=True)
def test_o5_the_page_tells_the_day_of_the_last_read(
    service: ConnectService, stack: ProxyStack, holder: TestClient
) -> None:
    tokens = stack.exchange(stack.walk(holder)["code"])
    assert "Aucune lecture pour l’instant" in holder.get(page_of(service)).text
    assert stack.read(tokens["access_token"], OTHER).status_code == 403  # It reads nothing.
    assert "Aucune lecture pour l’instant" in holder.get(page_of(service)).text
    assert stack.read(tokens["access_token"]).status_code == 200
    assert "Dernier accès le" in holder.get(page_of(service)).text
    (grant,) = service.parts.stores.registry.proxy_grants.list_grants()
    assert grant.last_used_on == service.parts.sync.history.today()


def test_o5_a_grant_whose_consent_is_over_is_not_listed(
    service: ConnectService, stack: ProxyStack, holder: TestClient
) -> None:
    stack.exchange(stack.walk(holder)["code"])
    (grant,) = service.parts.stores.registry.proxy_grants.list_grants()
    assert grant.meter and grant.consent_until is not None
    assert grant.consent_until > service.parts.sync.history.today() + timedelta(days=30)
    service.parts.stores.registry.proxy_grants.apply_retention(
        grant.consent_until + timedelta(days=1), service.parts.stores.now() - timedelta(days=1)
    )
    assert buttons_of(holder.get(page_of(service)).text) == []
    assert service.parts.stores.registry.accounts.find("enedis", METER) is not None
