"""Callbacks that are typed by somebody who knows a meter or a consent that is another person's (H1, H2, H6)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient

from tests.support.connect_service import INVITED_PRESETS, OTHER, ConnectService, changed, query_of
from tests.support.registries import all_rows
from worker.domain.account import AccountState

WITHDRAWN = "USER_ACTION_NEEDED.OAUTH_OUTDATED"
NEXT_STEPS = ('href="/invitation"', 'href="/connect/enedis"')


def type_callback_of(browser: TestClient, back: str) -> str:
    """Begin a consent, and return a callback of it that names meter and consent of another, with a made-up code."""
    state = query_of(browser.get("/connect/enedis").headers["location"])["state"]
    told = {name: text for name, text in query_of(back).items() if name in ("usage_point_id", "autorisation_id")}
    return f"/callback/enedis?{urlencode({'state': state, 'code': 'a-code-that-was-made-up', **told})}"


def sees_nothing(service: ConnectService, thief: TestClient) -> bool:
    paths = [f"/accounts/{account.id}" for account in service.accounts()]
    statuses = [thief.get(path).status_code for path in (*paths, "/api/accounts")]
    return statuses == [404] * len(paths) + [401] and not service.session(thief).accounts


@pytest.mark.generations
def test_h1_a_typed_callback_opens_nothing_and_its_holder_comes_in_all_the_same(service: ConnectService) -> None:
    holder, thief = service.browser(), service.browser()
    back = service.begin(holder)  # The holder has consented, and is not back yet.
    before = all_rows(service.parts.stores.registry.database)
    refused = service.come_back(thief, type_callback_of(thief, back))
    assert refused.status_code in (400, 403) and any(link in refused.text for link in NEXT_STEPS)
    assert all_rows(service.parts.stores.registry.database) == before and sees_nothing(service, thief)
    assert service.come_back(holder, back).status_code == 303
    (account,) = service.accounts()
    assert holder.get(f"/accounts/{account.id}").status_code == 200 and sees_nothing(service, thief)


def test_h1_of_many_at_the_same_moment_the_holder_alone_comes_in(service: ConnectService) -> None:
    holder, thieves = service.browser(), [service.browser() for _ in range(8)]
    back = service.begin(holder)
    visits = [(thief, type_callback_of(thief, back)) for thief in thieves]
    visits.insert(4, (holder, back))
    with ThreadPoolExecutor(len(visits)) as threads:
        list(threads.map(lambda visit: visit[0].get(visit[1]), visits))
    service.work()
    with ThreadPoolExecutor(len(visits)) as threads:
        answers = list(threads.map(lambda visit: visit[0].get(visit[1]), visits))
    (account,) = service.accounts()
    assert answers.pop(4).headers["location"] == f"/accounts/{account.id}"
    assert all(answer.status_code in (400, 403) for answer in answers)
    assert all(sees_nothing(service, thief) for thief in thieves)


@pytest.mark.parametrize("service", INVITED_PRESETS, indirect=True)
def test_h1_an_invitation_is_no_proof_of_another_meter_and_serves_for_its_own_all_the_same(
    service: ConnectService,
) -> None:
    holder, invited, secret = service.browser(), service.browser(), service.invite(OTHER)
    known = query_of(service.begin(holder))
    page = service.open_invitation(invited, secret).headers["location"]
    told = {name: known.get(name) for name in ("usage_point_id", "autorisation_id")}
    assert service.come_back(invited, changed(service.agree(page), **told)).status_code == 403
    assert service.accounts() == []
    again = service.open_invitation(invited, secret).headers["location"]
    assert service.come_back(invited, service.agree(again)).status_code == 303
    assert [account.usage_point_id for account in service.accounts()] == [OTHER]


def test_h2_a_consent_of_yesterday_is_no_proof_today(v2026: ConnectService) -> None:
    """An invitation proves the meter, but a consent that is older than the handshake may be another person's."""
    late, secret = v2026.browser(), v2026.invite()
    v2026.simulate("POST", "clock", {"now": "2024-07-24T20:00+02:00"})
    given = query_of(v2026.begin_uninvited(v2026.browser()))["autorisation_id"]
    v2026.simulate("POST", "clock", {"now": "2024-07-25T09:00+02:00"})
    state = query_of(v2026.open_invitation(late, secret).headers["location"])["state"]
    refused = v2026.come_back(late, f"/callback/enedis?state={state}&autorisation_id={given}")
    assert refused.status_code == 403 and v2026.accounts() == []
    page = v2026.open_invitation(late, secret).headers["location"]
    anew = v2026.agree(page)  # The consent is given anew, under the same id.
    assert query_of(anew)["autorisation_id"] == given
    assert v2026.come_back(late, anew).status_code == 303


def test_h6_a_strangers_callback_changes_nothing_of_a_withdrawn_account(v2026: ConnectService) -> None:
    holder, stranger = v2026.browser(), v2026.browser()
    back = v2026.begin(holder)
    v2026.come_back(holder, back)
    (account,) = v2026.accounts()
    v2026.parts.stores.registry.accounts.set_state(
        account.id, AccountState.ACTION_NEEDED, WITHDRAWN, now=v2026.parts.stores.now()
    )
    before = all_rows(v2026.parts.stores.registry.database)
    assert v2026.come_back(stranger, type_callback_of(stranger, back)).status_code == 403
    assert all_rows(v2026.parts.stores.registry.database) == before and sees_nothing(v2026, stranger)
