"""A person without an invitation proves their meter by a reading of its display (2026); whoever guesses does not."""

from __future__ import annotations

from dataclasses import replace

import httpx2
import pytest
from fastapi.testclient import TestClient

from tests.support.connect_service import METER, OTHER, ConnectService, ConnectServices, changed, query_of
from tests.support.household_pages import csrf_of, open_as_asked
from worker.cli.consents import _request_row
from worker.domain.account import Account, AccountState
from worker.domain.connection_request import ConnectionRequest, RequestState
from worker.domain.consents import MOST_TRIES_A_DAY, Proof
from worker.domain.notice import NoticeKind

FORM, OUTCOME = "/connect/reading", "/connect/reading/outcome"


@pytest.fixture
def service(v2026: ConnectService) -> ConnectService:
    return v2026


def shown_by(service: ConnectService, meter: str = METER) -> dict[str, int]:
    """Return what the meter's display shows at the last midnight that the supplier tells, in whole kWh."""
    days = service.simulate("GET", f"truth/{meter}?start=2024-07-20&end=2024-07-25&series=registers")["registers"]
    return {name: wh // 1000 for name, wh in days[max(days)]["registers"].items()}


def come_unproven(service: ConnectService, browser: TestClient, meter: str = METER) -> httpx2.Response:
    return browser.get(service.begin_uninvited(browser, meter))


def calls_of(service: ConnectService) -> int:
    """Return how many calls for data the supplier has had."""
    return int(service.simulate("GET", "report")["data_calls"])


def type_reading(browser: TestClient, shown: dict[str, int]) -> httpx2.Response:
    csrf = csrf_of(browser.get(FORM).text)
    return browser.post(FORM, data={"csrf": csrf, **{f"register_{name}": f"{kwh:06}" for name, kwh in shown.items()}})


def open_outcome(browser: TestClient) -> httpx2.Response:
    """Open the account that the outcome's page has a button for."""
    return open_as_asked(browser, browser.get(OUTCOME))


def outcome_of(service: ConnectService, browser: TestClient, shown: dict[str, int]) -> httpx2.Response:
    answer = type_reading(browser, shown)
    assert (answer.status_code, answer.headers["location"]) == (303, OUTCOME)
    assert browser.get(OUTCOME).status_code == 202  # A task asks the supplier, never a thread of the web.
    service.work()
    return browser.get(OUTCOME)


def test_a_right_reading_connects_the_meter(service: ConnectService) -> None:
    browser = service.browser()
    before = calls_of(service)
    unproven = come_unproven(service, browser)
    assert unproven.status_code == 403 and FORM in unproven.text
    assert calls_of(service) == before
    done = open_as_asked(browser, outcome_of(service, browser, shown_by(service)))
    (account,) = service.accounts()
    assert (done.status_code, done.headers["location"]) == (303, f"/accounts/{account.id}")
    assert account.usage_point_id == METER
    (proof,) = service.parts.stores.registry.consents.list_proofs(account.id)
    assert (proof.proof, proof.vouched_by) == (Proof.REGISTER, None)
    assert browser.get(f"/accounts/{account.id}").status_code == 200
    # What was answered is not kept: nobody had consented yet.
    assert list(service.parts.stores.registry.raw_answers.read_answers(account.id)) == []


def test_wrong_readings_lead_to_one_page_and_then_cost_no_call(service: ConnectService) -> None:
    wrong = {name: kwh + 5_000 for name, kwh in shown_by(service).items()}
    pages = set[tuple[int, str]]()
    for _ in range(MOST_TRIES_A_DAY):
        browser = service.browser()
        come_unproven(service, browser)
        answer = outcome_of(service, browser, wrong)
        pages.add((answer.status_code, answer.text))
    calls = calls_of(service)
    browser = service.browser()
    come_unproven(service, browser)
    answer = outcome_of(service, browser, shown_by(service))  # Right, and too late for today.
    pages.add((answer.status_code, answer.text))
    assert calls_of(service) == calls + 1  # Only the consent's meter was asked for.
    assert len(pages) == 1 and not service.accounts()


def test_a_reading_of_another_meter_proves_nothing(service: ConnectService) -> None:
    browser = service.browser()
    come_unproven(service, browser)
    assert outcome_of(service, browser, shown_by(service, OTHER)).status_code == 403
    assert not service.accounts()


@pytest.mark.parametrize("shown", [{}, {"BASE": "a"}, {"BASE": "12,5"}, {"NOPE": "12"}])
def test_what_can_t_be_read_is_asked_for_again_and_costs_nothing(
    service: ConnectService, shown: dict[str, str]
) -> None:
    browser = service.browser()
    come_unproven(service, browser)
    before, csrf = calls_of(service), csrf_of(browser.get(FORM).text)
    answer = browser.post(FORM, data={"csrf": csrf, **{f"register_{name}": text for name, text in shown.items()}})
    assert answer.status_code == 400 and "kWh" in answer.text
    assert calls_of(service) == before


def test_a_browser_without_a_request_gets_no_form(service: ConnectService) -> None:
    browser = service.browser()
    assert [browser.get(path).status_code for path in (FORM, OUTCOME)] == [404, 404]
    assert browser.post(FORM, data={"register_BASE": "1"}).status_code == 403


def test_a_reading_is_no_word_in_the_broker_nor_in_redis(service: ConnectService) -> None:
    browser = service.browser()
    come_unproven(service, browser)
    type_reading(browser, {"HC": 918273, "HP": 645546})
    redis = service.parts.stores.redis
    stored = "".join(str(redis.dump(key)) for key in redis.scan_iter("*"))
    assert "918273" not in stored and METER not in stored


def kinds_of(service: ConnectService, account_id: str) -> list[NoticeKind]:
    return [notice.kind for notice in service.parts.stores.registry.notices.list_for_account(account_id)]


def hold(service: ConnectService, stranger: TestClient) -> tuple[Account, ConnectionRequest]:
    """Let a stranger type the right reading of a meter that has an account. Return the account and the request."""
    service.connect(service.browser())
    (account,) = service.accounts()
    come_unproven(service, stranger)
    waiting = outcome_of(service, stranger, shown_by(service))
    assert waiting.status_code == 202 and "déjà un compte" in waiting.text
    (request,) = service.parts.consent.requests.list_held()
    return account, request


def test_a_reading_of_a_meter_with_an_account_waits_for_the_operator_and_the_household_is_told(
    service: ConnectService,
) -> None:
    stranger = service.browser()
    account, request = hold(service, stranger)
    assert service.accounts() == [account] and not service.session(stranger).accounts
    assert request.page == "held_reading"
    row = _request_row(service.parts.stores.registry, request)
    assert (row["meters"], row["reason"], row["closes"]) == (1, "meter has an account", account.id)
    assert kinds_of(service, account.id) == [NoticeKind.METER_REQUESTED]
    # Nothing that the person does takes the operator's place.
    csrf = csrf_of(stranger.get("/invitation").text)
    stranger.post("/connect/new-holder", data={"connection": request.id, "csrf": csrf})
    assert service.accounts() == [account]
    service.parts.consent.connector.turn_away(request.id)
    assert stranger.get(OUTCOME).status_code == 403 and service.accounts() == [account]


def test_a_choice_that_an_older_version_has_offered_waits_for_the_operator_too(service: ConnectService) -> None:
    stranger = service.browser()
    account, request = hold(service, stranger)
    offered = replace(request, state=RequestState.CHOICE, page="other_person")
    service.parts.consent.requests.save(offered)
    after = service.parts.consent.connector.choose_new_holder(offered.id, [offered.browser])
    assert after is not None and (after.state, after.page) == (RequestState.HELD, "held_reading")
    assert service.accounts() == [account]


def test_the_operators_yes_closes_the_account_and_connects_the_meter(service: ConnectService) -> None:
    newcomer = service.browser()
    account, request = hold(service, newcomer)
    accepted = service.parts.consent.connector.let_in(request.id, by="cli:test")
    assert accepted is not None and accepted.state is RequestState.CONNECTED
    assert service.parts.stores.registry.accounts.get(account.id).state is AccountState.CLOSED
    (new,) = (one for one in service.accounts() if one.id != account.id)
    assert open_outcome(newcomer).headers["location"] == f"/accounts/{new.id}"
    assert NoticeKind.ACCOUNT_CLOSED in kinds_of(service, account.id)


def test_what_the_operator_has_accepted_is_there_as_long_as_its_person_may_come_back(service: ConnectService) -> None:
    newcomer, redis = service.browser(), service.parts.stores.redis
    _, request = hold(service, newcomer)
    waits_s = redis.ttl(f"releve:connection_request:{request.id}")
    service.parts.consent.connector.let_in(request.id, by="cli:test")
    assert redis.ttl(f"releve:connection_request:{request.id}") >= waits_s - 60
    assert open_outcome(newcomer).status_code == 303


def test_who_was_held_for_many_new_accounts_is_asked_about_anew_where_the_meter_has_got_an_account(
    kept_services: ConnectServices,
) -> None:
    service = kept_services.empty(new_accounts_per_browser="1")
    stranger = service.browser()
    for meter in (OTHER, METER):
        come_unproven(service, stranger, meter)
        outcome_of(service, stranger, shown_by(service, meter))
    (request,) = service.parts.consent.requests.list_held()
    row = _request_row(service.parts.stores.registry, request)
    assert (row["reason"], row["closes"]) == ("too many new accounts", None)
    assert service.connect(service.browser()).status_code == 303
    accounts = service.accounts()
    again = service.parts.consent.connector.let_in(request.id, by="cli:test")
    assert again is not None and (again.state, again.page) == (RequestState.HELD, "held_reading")
    assert service.accounts() == accounts and len(accounts) == 2


def test_a_household_is_told_once_a_day_that_somebody_asks_for_its_meter(service: ConnectService) -> None:
    account, _ = hold(service, service.browser())
    for _ in range(2):
        stranger = service.browser()
        come_unproven(service, stranger)
        outcome_of(service, stranger, shown_by(service))
    assert len(service.parts.consent.requests.list_held()) == 3
    assert kinds_of(service, account.id) == [NoticeKind.METER_REQUESTED]


def reserve(service: ConnectService, stranger: TestClient) -> str:
    """Let a stranger come back with the number of the next consent, and return that number."""
    known = service.begin_uninvited(stranger, OTHER)
    number = str(int(query_of(known)["autorisation_id"]) + 1)
    assert stranger.get(changed(known, autorisation_id=number)).status_code == 403
    return number


def give_consent(service: ConnectService) -> str:
    return query_of(service.begin_uninvited(service.browser()))["autorisation_id"]


def test_a_consent_that_the_supplier_did_not_know_at_first_is_proven_by_no_reading(service: ConnectService) -> None:
    stranger = service.browser()
    number, shown = reserve(service, stranger), shown_by(service)
    assert outcome_of(service, stranger, shown).status_code == 403
    assert give_consent(service) == number
    service.work()
    assert stranger.get(OUTCOME).status_code == 403 and stranger.get(FORM).status_code == 404
    assert not service.accounts()


def test_a_consent_of_a_later_day_than_its_request_is_proven_by_no_reading(service: ConnectService) -> None:
    stranger = service.browser()
    number, shown = reserve(service, stranger), shown_by(service)
    service.simulate("POST", "clock", {"now": "2024-07-26T09:00+02:00"})
    assert give_consent(service) == number
    assert outcome_of(service, stranger, shown).status_code == 403
    assert not service.accounts()


def test_an_invited_person_is_proven_by_their_invitation_however_late_the_supplier_knows_the_consent(
    service: ConnectService,
) -> None:
    browser = service.browser()
    service.simulate("POST", "switches", {"services_empty": 1})
    back = service.begin(browser)
    assert [service.come_back(browser, back).status_code for _ in range(2)] == [202, 303]
