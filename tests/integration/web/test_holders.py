"""Whose account it is: a later proof wins, another person gets an account of their own, a crash locks nobody out."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from tests.support.connect_service import INVITED_PRESETS, METER, OTHER, ConnectService, ConnectServices, changed
from tests.support.household_pages import csrf_of
from tests.support.registries import all_rows
from worker.domain.account import AccountState
from worker.domain.connection_request import ConnectionRequest, RequestState
from worker.domain.consents import EndReason, Proof
from worker.domain.documents import Entry, period_key, to_document
from worker.domain.notice import NoticeKind
from worker.domain.series import Doctype, Series
from worker.domain.sessions import KeyKind
from worker.domain.windows import DateWindow, local_midnight
from worker.runtime.consent_parts import build_inviter, erase
from worker.stores.redis.pending_consents import ConnectionRequests
from worker.web.dependencies import SESSION_COOKIE

TODAY = date(2024, 7, 25)


class Crash(Exception):
    """The process dies here."""


def come_as_new_holder(service: ConnectService, browser: TestClient) -> httpx2.Response:
    """Prove the meter as another person, by the means of the generation."""
    if service.parts.sync.suppliers.main.account_tokens:
        asked = service.connect(browser)
        assert asked.status_code == 200 and "a déjà un compte" in asked.text
        return confirm(browser, asked)
    page = service.open_invitation(browser, service.invite(new_holder=True)).headers["location"]
    return service.come_back(browser, service.agree(page))


def confirm(browser: TestClient, asked: httpx2.Response) -> httpx2.Response:
    request_id = asked.text.partition('name="connection" value="')[2].partition('"')[0]
    return browser.post("/connect/new-holder", data={"connection": request_id, "csrf": csrf_of(asked.text)})


def store_day(service: ConnectService, account_id: str) -> None:
    document = to_document(
        account_id,
        Doctype.DAY,
        Entry(period_key(local_midnight(date(2024, 7, 20)), Doctype.DAY), 5_000_000),
        service.parts.stores.now(),
    )
    service.parts.stores.measures.write({Doctype.DAY: [document]})


@pytest.mark.generations
def test_n6_a_new_holder_and_the_one_before_see_nothing_of_each_other(service: ConnectService) -> None:
    before, after = service.browser(), service.browser()
    service.connect(before)
    (old,) = service.accounts()
    store_day(service, old.id)
    done = come_as_new_holder(service, after)
    closed, new = (
        service.parts.stores.registry.accounts.get(old.id),
        next(a for a in service.accounts() if a.id != old.id),
    )
    assert done.headers["location"] == f"/accounts/{new.id}"
    assert (closed.state, closed.usage_point_id, new.usage_point_id) == (AccountState.CLOSED, None, METER)
    assert [notice.kind for notice in service.parts.stores.registry.notices.list_for_account(old.id)] == [
        NoticeKind.ACCOUNT_CLOSED
    ]
    # The old one's sessions have ended, its history stays, and nothing of it is the new holder's.
    assert before.get(f"/accounts/{old.id}").status_code == 404
    assert before.get(f"/api/accounts/{old.id}/measures?by=day").status_code == 404
    assert after.get(f"/accounts/{old.id}").status_code == 404
    assert after.get(f"/api/accounts/{new.id}/measures?by=day").json()["documents"] == []
    assert before.get(f"/accounts/{new.id}").status_code == 404
    assert service.parts.stores.measures.read(old.id, {Doctype.DAY: ("2024", "2025")})[Doctype.DAY]
    (ended,) = service.parts.stores.registry.consents.list_proofs(old.id)
    assert ended.end_reason == EndReason.HOLDER_CHANGED
    now = service.parts.stores.now()
    assert {row.account_id for row in service.parts.stores.registry.due.list_nightly(Series.DAILY, 1, now, now, 9)} == {
        new.id
    }


def test_n6_the_data_of_a_new_holder_begin_on_the_day_of_the_proof(service: ConnectService) -> None:
    service.connect(service.browser())
    (old,) = service.accounts()
    come_as_new_holder(service, service.browser())
    (new,) = (account for account in service.accounts() if account.id != old.id)
    assert new.data_from == TODAY
    service.simulate("DELETE", "report")
    parts = service.parts
    for window in (DateWindow(date(2024, 6, 25), TODAY), DateWindow(date(2023, 7, 1), date(2023, 7, 30))):
        parts.sync.window.sync_window(parts.sync.claims.to_job(new.id, Series.DAILY, window))
    assert parts.stores.measures.read(new.id, {Doctype.DAY: ("2020", "2025")})[Doctype.DAY] == []
    assert service.simulate("GET", "report")["calls"] == 0


def sign_in_elsewhere(service: ConnectService, browser: TestClient) -> TestClient:
    """Return another device of the browser's household."""
    household, device = service.session(browser).household, service.browser()
    assert household is not None
    _, text = service.parts.access.keys.create(KeyKind.HOUSEHOLD_SESSION, household.id)
    device.cookies.set(SESSION_COOKIE, text, domain="testserver.local", path="/")
    return device


def shown(service: ConnectService, browser: TestClient) -> set[str]:
    """Return the accounts whose pages the browser sees."""
    return {one.id for one in service.accounts() if browser.get(f"/accounts/{one.id}").status_code == 200}


def take_over(service: ConnectService, browser: TestClient) -> httpx2.Response:
    """Use the operator's invitation for a new holder."""
    page = service.open_invitation(browser, service.invite(new_holder=True)).headers["location"]
    return service.come_back(browser, service.agree(page))


@pytest.mark.generations
def test_n6_an_invited_new_holder_is_another_person_where_the_one_before_is_still_signed_in(
    service: ConnectService,
) -> None:
    shared = service.browser()
    service.connect(shared)
    (old,) = service.accounts()
    service.connect(shared, OTHER)
    (other,) = (account for account in service.accounts() if account.id != old.id)
    phone = sign_in_elsewhere(service, shared)
    assert shown(service, shared) == shown(service, phone) == {old.id, other.id}
    done = take_over(service, shared)
    (new,) = (account for account in service.accounts() if account.id not in (old.id, other.id))
    assert done.headers["location"] == f"/accounts/{new.id}"
    assert service.parts.stores.registry.accounts.get(old.id).state is AccountState.CLOSED
    assert service.parts.stores.registry.consents.list_proofs(old.id)[0].end_reason == EndReason.HOLDER_CHANGED
    assert (new.usage_point_id, new.data_from) == (METER, TODAY)
    # This browser's session of the household before has ended, with what else it showed; other devices stay.
    assert shown(service, shared) == {new.id}
    assert shown(service, phone) == {other.id}


def test_n6_an_invited_new_holder_of_one_meter_keeps_their_own_account_of_another(v4: ConnectService) -> None:
    """The supplier's answer names both: the inviter's word is about the invited one alone."""
    before, mine = v4.browser(), v4.browser()
    v4.connect(before)
    (old,) = v4.accounts()
    v4.connect(mine, OTHER)
    (own,) = (account for account in v4.accounts() if account.id != old.id)
    page = v4.open_invitation(mine, v4.invite(new_holder=True)).headers["location"]
    v4.come_back(mine, v4.agree(page.replace(METER, f"{METER},{OTHER}")))
    states = {account.id: account.state for account in v4.accounts()}
    assert len(states) == 3 and states[old.id] is AccountState.CLOSED
    assert (states[own.id], v4.parts.stores.registry.accounts.get(own.id).session_number) == (
        AccountState.READY,
        own.session_number,
    )


@pytest.mark.generations
def test_n6_an_invited_new_holder_is_another_person_where_the_one_before_has_only_signed_out(
    service: ConnectService,
) -> None:
    shared = service.browser()
    service.connect(shared)
    (old,) = service.accounts()
    shared.cookies.delete(SESSION_COOKIE)
    take_over(service, shared)
    (new,) = (account for account in service.accounts() if account.id != old.id)
    assert service.parts.stores.registry.accounts.get(old.id).state is AccountState.CLOSED
    assert shown(service, shared) == {new.id}


@pytest.mark.generations
def test_n6_a_new_holders_step_that_is_repeated_after_a_crash_opens_the_same_account(
    service: ConnectService, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = service.browser()
    service.connect(shared)
    (old,) = service.accounts()
    page = service.open_invitation(shared, service.invite(new_holder=True)).headers["location"]
    back, save = service.agree(page), type(service.parts.consent.requests).save

    def die_after_the_commit(requests: ConnectionRequests, request: ConnectionRequest) -> None:
        if request.state is RequestState.CONNECTED:
            raise Crash
        save(requests, request)

    with monkeypatch.context() as patch:
        patch.setattr(ConnectionRequests, "save", die_after_the_commit)
        with suppress(Crash):
            service.come_back(shared, back)
    (new,) = (account for account in service.accounts() if account.id != old.id)
    assert service.come_back(shared, back).headers["location"] == f"/accounts/{new.id}"
    assert {account.id: account.state for account in service.accounts()} == {
        old.id: AccountState.CLOSED,
        new.id: AccountState.READY,
    }
    assert [proof.open for proof in service.parts.stores.registry.consents.list_proofs(new.id)] == [True]
    assert shown(service, shared) == {new.id}


def test_n6_the_same_person_may_decline_and_nothing_changes(v4: ConnectService) -> None:
    v4.connect(v4.browser())
    (account,) = v4.accounts()
    asked = v4.connect(v4.browser())
    assert asked.status_code == 200 and "Ne rien changer" in asked.text
    assert v4.accounts() == [account]
    (proof,) = v4.parts.stores.registry.consents.list_proofs(account.id)
    assert proof.open


def test_the_choice_is_the_browsers_own(v4: ConnectService) -> None:
    v4.connect(v4.browser())
    (account,) = v4.accounts()
    asked, stranger = v4.connect(v4.browser()), v4.browser()
    stranger.get("/invitation")
    request_id = asked.text.partition('name="connection" value="')[2].partition('"')[0]
    for csrf in ("", csrf_of(asked.text), csrf_of(stranger.get("/invitation").text)):
        answer = stranger.post("/connect/new-holder", data={"connection": request_id, "csrf": csrf})
        assert answer.status_code in (400, 403)
    assert v4.accounts() == [account]


def test_n6_an_invitation_opens_a_closed_accounts_history_without_a_consent(service: ConnectService) -> None:
    service.connect(service.browser())
    (old,) = service.accounts()
    store_day(service, old.id)
    come_as_new_holder(service, service.browser())
    _, link = build_inviter(service.parts.stores).invite_account(old.id, "cli:test")
    way_back = service.browser()
    done = service.open_invitation(way_back, link)
    assert done.headers["location"] == f"/accounts/{old.id}"
    assert way_back.get(f"/accounts/{old.id}").status_code == 200
    assert way_back.get(f"/api/accounts/{old.id}/measures?by=day").json()["documents"]
    (new,) = (account for account in service.accounts() if account.id != old.id)
    assert way_back.get(f"/accounts/{new.id}").status_code == 404
    assert service.parts.stores.registry.accounts.get(old.id).state is AccountState.CLOSED
    assert service.open_invitation(service.browser(), link).status_code == 410


def test_a_first_invitation_does_not_take_a_meter_that_has_got_an_account_since(v5: ConnectService) -> None:
    first, second = v5.invite(), v5.browser()
    browser = v5.browser()
    page = v5.open_invitation(second, first).headers["location"]
    v5.parts.stores.registry.accounts.add("enedis", METER, v5.parts.stores.now(), token_needed=False)
    asked = v5.come_back(second, v5.agree(page))
    assert asked.status_code == 200 and "a déjà un compte" in asked.text
    assert len(v5.accounts()) == 1 and not v5.session(browser).accounts


# Crashes


def steps_of(service: ConnectService) -> list[tuple[Any, str]]:
    """Return what a consent does after the supplier's answer, in order: the process may die before each."""
    return [
        (service.parts.stores.registry.accounts, "add_all"),
        (service.parts.stores.registry.consents, "record"),
        (service.parts.consent.requests, "save"),
    ]


@pytest.mark.parametrize("step", range(3))
@pytest.mark.parametrize("redis_lost", [False, True])
def test_a_crash_before_any_step_locks_nobody_out(
    service: ConnectService, monkeypatch: pytest.MonkeyPatch, step: int, redis_lost: bool
) -> None:
    browser, secret = service.browser(), service.invite()
    place, name = steps_of(service)[step]
    page = service.open_invitation(browser, secret).headers["location"]
    back = service.agree(page)

    def die(*_: Any, **__: Any) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(type(place), name, die)
        with suppress(Crash):
            service.come_back(browser, back)
    if redis_lost:
        for key in service.parts.stores.redis.scan_iter("releve:*"):
            service.parts.stores.redis.delete(key)
    answer = service.come_back(browser, back)
    if answer.status_code != 303:  # The same browser's next try.
        answer = service.open_invitation(browser, secret)
        if not answer.headers.get("location", "").startswith("/accounts/"):
            answer = service.come_back(browser, service.agree(answer.headers["location"]))
    (account,) = service.accounts()
    assert answer.headers["location"] == f"/accounts/{account.id}"
    assert browser.get(f"/accounts/{account.id}").status_code == 200
    assert account.state is AccountState.READY


def test_a_crash_after_the_commit_gives_the_account_to_its_own_browser_alone(
    service: ConnectService, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, secret = service.browser(), service.invite()
    back = service.agree(service.open_invitation(browser, secret).headers["location"])
    assert service.come_back(browser, back).status_code == 303
    for key in service.parts.stores.redis.scan_iter("releve:*"):
        service.parts.stores.redis.delete(key)
    browser.cookies.delete("releve_session")
    (account,) = service.accounts()
    assert service.open_invitation(service.browser(), secret).status_code == 410
    assert service.open_invitation(browser, secret).headers["location"] == f"/accounts/{account.id}"


# Bounds


@pytest.fixture
def bounded(kept_services: ConnectServices) -> ConnectService:
    return kept_services.empty("enedis-v4", new_accounts_per_browser="1", new_accounts_per_address="2")


def test_new_accounts_beyond_the_bounds_wait_for_the_operator(bounded: ConnectService) -> None:
    browser = bounded.browser()
    assert bounded.connect(browser).status_code == 303
    back = bounded.begin(browser, OTHER)
    held = bounded.come_back(browser, back)
    assert held.status_code == 202 and "doit être confirmée" in held.text
    assert len(bounded.accounts()) == 1
    (waiting,) = bounded.parts.consent.requests.list_held()
    accepted = bounded.parts.consent.connector.let_in(waiting.id, by="cli:test")
    assert accepted is not None and accepted.state is RequestState.CONNECTED
    done = bounded.join(browser, browser.get(back))
    assert done.headers["location"] == f"/accounts/{accepted.accounts[0].id}"
    assert {account.usage_point_id for account in bounded.accounts()} == {METER, OTHER}
    assert bounded.parts.consent.requests.list_held() == []


def test_what_the_operator_refuses_is_told_and_forgotten(bounded: ConnectService) -> None:
    browser = bounded.browser()
    bounded.connect(browser)
    back = bounded.begin(browser, OTHER)
    bounded.come_back(browser, back)
    (waiting,) = bounded.parts.consent.requests.list_held()
    bounded.parts.consent.connector.turn_away(waiting.id)
    assert browser.get(back).status_code == 403
    assert len(bounded.accounts()) == 1 and bounded.parts.consent.connector.let_in(waiting.id, by="cli:test") is None


def test_a_request_that_is_accepted_late_asks_who_holds_the_meter(bounded: ConnectService) -> None:
    browser, other = bounded.browser(), bounded.browser()
    bounded.connect(browser)
    back = bounded.begin(browser, OTHER)
    bounded.come_back(browser, back)
    (waiting,) = bounded.parts.consent.requests.list_held()
    page = bounded.open_invitation(other, bounded.invite(OTHER)).headers["location"]
    assert bounded.come_back(other, bounded.agree(page)).status_code == 303
    accounts = bounded.accounts()
    asked = bounded.parts.consent.connector.let_in(waiting.id, by="cli:test")
    assert asked is not None and asked.state is RequestState.CHOICE
    assert "a déjà un compte" in browser.get(back).text and bounded.accounts() == accounts


def test_who_is_invited_is_not_counted(bounded: ConnectService) -> None:
    browser = bounded.browser()
    bounded.connect(browser)
    page = bounded.open_invitation(browser, bounded.invite(OTHER)).headers["location"]
    assert bounded.join(browser, bounded.come_back(browser, bounded.agree(page))).status_code == 303
    assert len(bounded.accounts()) == 2


@pytest.mark.generations
def test_h7_eleven_meters_or_a_long_address_are_refused_as_a_whole(service: ConnectService) -> None:
    browser = service.browser()
    back = service.begin(browser)
    meters = ";".join(f"300016400{number:05}" for number in range(11))
    before = set(service.parts.stores.redis.scan_iter("releve:*"))
    for way_back in (changed(back, usage_point_id=meters), f"{back}&x={'y' * 2048}"):
        assert browser.get(way_back).status_code == 400
    assert service.accounts() == [] and set(service.parts.stores.redis.scan_iter("releve:*")) == before
    assert service.come_back(browser, back).status_code == 303


def test_a_session_names_fifty_accounts_and_the_first_page_twenty_in_one_query(service: ConnectService) -> None:
    from worker.web.dependencies import SESSION_COOKIE, Session, open_session

    parts = service.parts
    accounts = [
        parts.stores.registry.accounts.add("enedis", f"300016400{n:05}", parts.stores.now(), token_needed=False)[0]
        for n in range(60)
    ]
    session, cookie = open_session(parts.access, Session(), accounts, "")
    assert list(session.accounts) == [account.id for account in accounts[10:]]
    browser = TestClient(service.app, cookies={SESSION_COOKIE: cookie})
    pages = [browser.get(f"/?page={page}").text for page in (1, 2, 3, 4)]
    assert [len(set(re.findall('href="/accounts/([a-z0-9]{12})"', page))) for page in pages] == [20, 20, 10, 0]


# Several browsers and tabs


def test_n5_the_wrong_browser_gets_a_clear_word_and_the_right_one_goes_on(service: ConnectService) -> None:
    right, wrong, secret = service.browser(), service.browser(), service.invite()
    page = service.open_invitation(right, secret).headers["location"]
    rows = all_rows(service.parts.stores.registry.database)
    refused = service.open_invitation(wrong, secret)
    assert refused.status_code == 410 and "plus valable" in refused.text
    assert all_rows(service.parts.stores.registry.database) == rows
    assert right.get("/api/accounts").status_code == wrong.get("/api/accounts").status_code == 401
    back = service.agree(page)
    assert wrong.get(back).status_code == 403
    assert service.come_back(right, back).status_code == 303


def test_a_second_tab_of_the_same_browser_is_the_same_consent(service: ConnectService) -> None:
    browser, secret = service.browser(), service.invite()
    pages = [service.open_invitation(browser, secret).headers["location"] for _ in range(2)]
    backs = [service.agree(page) for page in pages]
    answers = [service.come_back(browser, back) for back in backs]
    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.headers["location"] for answer in answers}) == len(service.accounts()) == 1


def test_n5_loading_the_page_of_an_invitation_uses_nothing_up(service: ConnectService) -> None:
    secret = service.invite()
    for _ in range(3):  # A mail program, without the fragment.
        assert service.browser().get("/invitation").status_code == 200
    assert service.open_invitation(service.browser(), secret).status_code == 303


def test_an_invitation_needs_its_own_pages_form(service: ConnectService) -> None:
    secret, browser = service.invite(), service.browser()
    assert browser.post("/invitation", data={"invitation": secret}).status_code == 403
    other = csrf_of(service.browser().get("/invitation").text)
    browser.get("/invitation")
    assert browser.post("/invitation", data={"invitation": secret, "csrf": other}).status_code == 403
    assert service.open_invitation(browser, secret).status_code == 303


def test_a_revoked_invitation_ends_a_consent_under_way(v5: ConnectService) -> None:
    browser, secret = v5.browser(), v5.invite()
    back = v5.agree(v5.open_invitation(browser, secret).headers["location"])
    (invitation,) = v5.parts.stores.registry.invitations.list_invitations()
    v5.parts.stores.registry.invitations.revoke(invitation.id)
    assert v5.come_back(browser, back).status_code == 403
    assert v5.accounts() == []


@pytest.mark.parametrize("service", INVITED_PRESETS, indirect=True)
def test_a_consent_begun_before_an_erasure_brings_nothing_back(service: ConnectService) -> None:
    browser = service.browser()
    service.connect(browser)
    second_tab = service.begin(browser)
    (account,) = service.accounts()
    erase(service.parts.stores, account.id)
    assert service.come_back(browser, second_tab).status_code == 403
    assert service.accounts() == []


# v4's exchange


def test_m3_a_token_answer_without_a_meter_is_no_consent(v4: ConnectService) -> None:
    v4.connect(v4.browser())
    (victim,) = v4.accounts()
    token = v4.parts.stores.registry.tokens.load(victim.id)
    v4.simulate("POST", "switches", {"token_without_meter": True})
    for own, named in ((METER, METER), (OTHER, METER), (METER, OTHER)):
        browser = v4.browser()
        answer = v4.come_back(browser, changed(v4.begin(browser, own), usage_point_id=named))
        assert answer.status_code == 400 and not v4.session(browser).accounts
    assert v4.accounts() == [victim] and v4.parts.stores.registry.tokens.load(victim.id) == token
    (proof,) = v4.parts.stores.registry.consents.list_proofs(victim.id)
    assert proof.proof is Proof.EXCHANGE
