"""The link in a campaign's mail: what its page does, and what it opens to whom."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta

import httpx2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from tests.integration.web.test_meter_reading import OUTCOME, outcome_of, shown_by
from tests.support.connect_service import METER, OTHER, ConnectService, changed
from tests.support.factories import NOW
from tests.support.household_pages import csrf_of, open_as_asked
from worker.accounts.campaigns import CAMPAIGN_TICKET
from worker.cli.consents import _request_row
from worker.domain.account import Account
from worker.domain.campaign import LINK_LIFE, Campaign, Recipient, RecipientState
from worker.domain.clock import real_clock
from worker.domain.connection_request import ConnectionRequest, RequestState
from worker.domain.consents import ConsentKind, Proof
from worker.domain.invitation import INVITATION_LIFE
from worker.runtime.consent_parts import erase
from worker.stores.database import new_id
from worker.stores.registry.accounts import NewConsent
from worker.stores.registry.consents import GivenConsent
from worker.stores.registry.tables import CAMPAIGN_RECIPIENTS, INVITATIONS
from worker.web.pages.consent import WRONG_INVITATIONS

YES, NO = "yes", "no"


@pytest.fixture
def service(v2026: ConnectService) -> ConnectService:
    return v2026


@pytest.fixture
def account(service: ConnectService) -> Account:
    return connect_long_ago(service)


def connect_long_ago(service: ConnectService) -> Account:
    """Return the account of a household whose last consent was given in 2021, in a browser of its own."""
    registry, then = service.parts.stores.registry, NOW - timedelta(days=1095)
    given = GivenConsent(kind=ConsentKind.USAGE_POINT, proof=Proof.INVITED, vouched_by="cli:test", browser="o" * 64)
    ((account, _),) = registry.accounts.add_all(
        "enedis",
        [METER],
        then,
        NewConsent(date(2021, 7, 25), date(2024, 7, 25), token_needed=False),
        on_accounts=lambda connection, ids: registry.consents.record(connection, ids, given, then),
    )
    return account


def mail(service: ConnectService, account: Account, household_id: str | None = None) -> Recipient:
    """Return a recipient whose mail was sent now."""
    registry = service.parts.stores.registry
    now = registry.now()
    campaign = Campaign(new_id(), "cli:test", now, "--csv", 200)
    recipient = Recipient(
        id=new_id(),
        campaign_id=campaign.id,
        account_id=account.id,
        mail_id=new_id(),
        created_at=now,
        household_id=household_id,
        sealed_address=None if household_id else "sealed",
        next_attempt_at=now,
    )
    registry.campaigns.create(campaign, [recipient])
    values = {"claimed_at": now, "mailed_at": now, "state": RecipientState.MAILED}
    registry.database.change(update(CAMPAIGN_RECIPIENTS).where(CAMPAIGN_RECIPIENTS.c.id == recipient.id).values(values))
    return recipient


def household_of(service: ConnectService, account: Account) -> str:
    """Return the household of the account, with a confirmed address."""
    household = service.parts.access.households.create({account.id: account.session_number})
    assert service.parts.access.ways_back.addresses.set(household.id, "a@example.org", "fr")
    return household.id


def press(service: ConnectService, browser: TestClient, recipient: Recipient, answer: str = YES) -> httpx2.Response:
    page = browser.get("/renew")
    assert page.status_code == 200
    ticket = service.parts.access.signer.make_ticket(recipient.id, CAMPAIGN_TICKET)
    form = {"invitation": f"https://releve.example/renew#{ticket}", "answer": answer, "csrf": csrf_of(page.text)}
    return browser.post("/renew", data=form)


def consent(service: ConnectService, browser: TestClient, recipient: Recipient, meter: str = METER) -> httpx2.Response:
    answer = press(service, browser, recipient)
    assert answer.status_code == 303, answer.text
    page = changed(answer.headers["location"], usage_point_id=meter)
    return service.come_back(browser, service.agree(page))


def state_of(service: ConnectService, recipient: Recipient) -> RecipientState:
    found = service.parts.stores.registry.campaigns.find(recipient.id)
    assert found is not None
    return found.state


def held(service: ConnectService) -> ConnectionRequest:
    (request,) = service.parts.consent.requests.list_held()
    return request


def shown(service: ConnectService, browser: TestClient, account: Account) -> bool:
    return account.id in service.session(browser).accounts


def is_over(answer: httpx2.Response) -> bool:
    return answer.status_code == 410


def test_a_confirmed_address_opens_the_account_as_an_invitation_does(service: ConnectService, account: Account) -> None:
    recipient, browser = mail(service, account, household_of(service, account)), service.browser()
    answer = consent(service, browser, recipient)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/accounts/{account.id}")
    assert shown(service, browser, account) and state_of(service, recipient) is RecipientState.CONNECTED
    newest = service.parts.stores.registry.consents.list_proofs(account.id)[0]
    assert newest.vouched_by == f"campaign:{recipient.campaign_id}:confirmed"


def test_an_address_of_a_list_records_the_consent_and_shows_nothing(service: ConnectService, account: Account) -> None:
    recipient, browser = mail(service, account), service.browser()
    answer = consent(service, browser, recipient)
    assert answer.status_code == 202 and "/connect/reading" in answer.text
    assert METER[-4:] not in answer.text and account.id not in answer.text
    assert not shown(service, browser, account) and state_of(service, recipient) is RecipientState.CONNECTED
    assert browser.get(f"/accounts/{account.id}").status_code == 404
    newest = service.parts.stores.registry.consents.list_proofs(account.id)[0]
    assert (newest.vouched_by, newest.browser) == (f"campaign:{recipient.campaign_id}:list", None)
    again = press(service, browser, recipient)
    assert (again.status_code, again.headers["location"]) == (303, OUTCOME)
    assert is_over(press(service, service.browser(), recipient))


def test_the_operator_sees_why_it_waits_and_a_yes_opens_it(service: ConnectService, account: Account) -> None:
    recipient, browser = mail(service, account), service.browser()
    consent(service, browser, recipient)
    row = _request_row(service.parts.stores.registry, held(service))
    assert (row["reason"], row["accounts"], row["closes"]) == ("address is not confirmed", [account.id], None)
    assert service.parts.consent.connector.let_in(held(service).id, by="cli:operator") is not None
    # The household comes back by the mail's link, in the same browser.
    assert press(service, browser, recipient).headers["location"] == OUTCOME
    opened = open_as_asked(browser, browser.get(OUTCOME))
    assert (opened.status_code, opened.headers["location"]) == (303, f"/accounts/{account.id}")
    assert shown(service, browser, account) and not shown(service, service.browser(), account)


def test_the_operators_no_opens_nothing(service: ConnectService, account: Account) -> None:
    recipient, browser = mail(service, account), service.browser()
    consent(service, browser, recipient)
    assert service.parts.consent.connector.turn_away(held(service).id) is not None
    assert browser.get(OUTCOME).status_code == 403 and not shown(service, browser, account)
    again = press(service, browser, recipient)
    assert (again.status_code, again.headers["location"]) == (303, OUTCOME)


def test_a_reading_opens_the_history_and_a_wrong_one_leaves_it_to_the_operator(
    service: ConnectService, account: Account
) -> None:
    recipient, browser = mail(service, account), service.browser()
    consent(service, browser, recipient)
    right = shown_by(service)
    wrong = outcome_of(service, browser, {name: kwh + 5_000 for name, kwh in right.items()})
    assert wrong.status_code == 403 and not shown(service, browser, account)
    assert held(service).proven is not None and held(service).readings == {}
    done = open_as_asked(browser, outcome_of(service, browser, right))
    assert (done.status_code, done.headers["location"]) == (303, f"/accounts/{account.id}")
    newest = service.parts.stores.registry.consents.list_proofs(account.id)[0]
    assert newest.proof is Proof.REGISTER and newest.browser is not None


def test_after_a_wrong_reading_the_operators_yes_opens_the_history(service: ConnectService, account: Account) -> None:
    recipient, browser = mail(service, account), service.browser()
    consent(service, browser, recipient)
    outcome_of(service, browser, {name: kwh + 5_000 for name, kwh in shown_by(service).items()})
    after = service.parts.consent.connector.let_in(held(service).id, by="cli:operator")
    assert after is not None and after.state is RequestState.CONNECTED


def test_a_list_that_is_a_row_off_shows_the_neighbour_nothing(service: ConnectService, account: Account) -> None:
    recipient, browser = mail(service, account), service.browser()
    answer = consent(service, browser, recipient, OTHER)
    assert answer.status_code == 403 and METER[-4:] not in answer.text
    assert not service.session(browser).accounts and state_of(service, recipient) is RecipientState.ASKED
    assert len(service.parts.stores.registry.consents.list_proofs(account.id)) == 1


def test_the_own_session_goes_on_as_ever(service: ConnectService) -> None:
    browser = service.browser()
    service.connect(browser)
    (account,) = service.accounts()
    answer = consent(service, browser, mail(service, account))
    assert (answer.status_code, answer.headers["location"]) == (303, f"/accounts/{account.id}")


@pytest.mark.generations
def test_without_readings_only_the_operator_opens_the_history(v5: ConnectService) -> None:
    account, browser = connect_long_ago(v5), v5.browser()
    answer = consent(v5, browser, mail(v5, account))
    assert answer.status_code == 202 and "/connect/reading" not in answer.text
    assert not shown(v5, browser, account) and held(v5).accounts[0].id == account.id


@pytest.mark.generations
def test_the_suppliers_own_answer_opens_the_history_at_once(v4: ConnectService) -> None:
    account, browser = connect_long_ago(v4), v4.browser()
    answer = consent(v4, browser, mail(v4, account))
    assert (answer.status_code, answer.headers["location"]) == (303, f"/accounts/{account.id}")


def test_a_mail_scanner_changes_nothing(service: ConnectService, account: Account) -> None:
    recipient, scanner = mail(service, account), service.browser()
    page = scanner.get("/renew")
    assert page.status_code == 200 and 'name="invitation"' in page.text
    assert state_of(service, recipient) is RecipientState.MAILED
    assert service.parts.stores.registry.invitations.list_invitations(open_only=True) == []


def test_the_first_browser_that_presses_the_button_has_the_invitation(
    service: ConnectService, account: Account
) -> None:
    recipient, browser = mail(service, account), service.browser()
    assert press(service, browser, recipient).status_code == 303
    assert state_of(service, recipient) is RecipientState.OPENED
    assert is_over(press(service, service.browser(), recipient))
    assert press(service, browser, recipient).status_code == 303
    assert len(service.parts.stores.registry.invitations.list_invitations(open_only=True)) == 1


def test_no_is_noted_and_ends_the_link(service: ConnectService, account: Account) -> None:
    recipient, browser = mail(service, account), service.browser()
    assert [press(service, browser, recipient, NO).status_code for _ in range(2)] == [200, 200]
    assert state_of(service, recipient) is RecipientState.REFUSED
    assert is_over(press(service, browser, recipient))


def test_no_at_the_supplier_is_noted_and_may_be_taken_back(service: ConnectService, account: Account) -> None:
    recipient, browser = mail(service, account), service.browser()
    page = press(service, browser, recipient).headers["location"]
    refused = changed(service.agree(page), error="access_denied", usage_point_id=None, autorisation_id=None)
    assert browser.get(refused).status_code == 403
    assert state_of(service, recipient) is RecipientState.REFUSED
    assert consent(service, browser, recipient).status_code == 202
    assert state_of(service, recipient) is RecipientState.CONNECTED


def test_a_link_lives_for_thirty_days_and_its_invitation_for_72_hours_from_the_button_on(
    service: ConnectService, account: Account
) -> None:
    registry = service.parts.stores.registry

    def set_claimed(recipient: Recipient, at: datetime) -> None:
        is_it = CAMPAIGN_RECIPIENTS.c.id == recipient.id
        registry.database.change(update(CAMPAIGN_RECIPIENTS).where(is_it).values(claimed_at=at))

    young, browser = mail(service, account), service.browser()
    set_claimed(young, registry.now() - LINK_LIFE)
    assert is_over(press(service, browser, young))
    set_claimed(young, registry.now() - LINK_LIFE + timedelta(minutes=5))
    assert press(service, browser, young).status_code == 303
    set_claimed(young, registry.now() - LINK_LIFE)  # From now on, the invitation's own life counts.
    assert press(service, browser, young).status_code == 303
    (invitation,) = registry.invitations.list_invitations(open_only=True)
    assert invitation.expires_at - invitation.created_at == INVITATION_LIFE
    registry.database.change(update(INVITATIONS).values(expires_at=real_clock()))
    assert is_over(press(service, browser, young))


def test_a_ticket_that_we_have_not_made_is_counted_like_a_wrong_invitation(
    service: ConnectService, account: Account
) -> None:
    recipient = mail(service, account)
    unknown, browser = replace(recipient, id=new_id()), service.browser()
    for _ in range(WRONG_INVITATIONS.calls):
        assert is_over(press(service, browser, unknown))
    assert press(service, browser, unknown).status_code == 429
    other_mails = service.parts.access.signer.make_ticket(recipient.id, "month:")
    csrf = csrf_of(browser.get("/renew").text)
    assert browser.post("/renew", data={"invitation": other_mails, "answer": NO, "csrf": csrf}).status_code == 429
    assert state_of(service, recipient) is RecipientState.MAILED
    assert press(service, browser, recipient).status_code == 303, "the right ticket is always accepted"


@pytest.mark.parametrize("answer", [YES, NO])
def test_the_link_of_a_household_that_is_gone_is_over(service: ConnectService, account: Account, answer: str) -> None:
    recipient = mail(service, account)
    erase(service.parts.stores, account.id, "household")
    assert is_over(press(service, service.browser(), recipient, answer))


@pytest.mark.parametrize("change", ["address", "account"])
def test_an_address_that_is_no_longer_the_accounts_opens_nothing(
    service: ConnectService, account: Account, change: str
) -> None:
    household_id = household_of(service, account)
    recipient = mail(service, account, household_id)
    if change == "address":
        service.parts.access.ways_back.addresses.remove(household_id)
    else:
        service.parts.access.households.remove_from_others([account.id], "another")
    assert is_over(press(service, service.browser(), recipient))
