"""Notices reach the household (D16): one mail in its language, to its confirmed address, until it wants no more."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from datetime import date, timedelta

import pytest
from sqlalchemy import select, update

from tests.support.api_service import TODAY, ApiService
from tests.support.factories import window_job
from tests.support.household_pages import ENGLISH, FRENCH
from tests.support.mail_server import MailReceiver, mail_url
from tests.support.ways_back import HOME, confirm_address, household, press
from worker.accounts.household_access import HouseholdAccess
from worker.accounts.notice_channels import DESCRIPTIONS, compose_household_mail
from worker.domain.alerts import Limit
from worker.domain.notice import Notice, NoticeKind
from worker.domain.retry import NOTICE_DELAYS
from worker.domain.series import Series
from worker.domain.windows import DateWindow
from worker.errors import RefreshTokenDead
from worker.runtime.consent_parts import build_notice_sender
from worker.runtime.sync_parts import build_channels
from worker.stores.database import place_of
from worker.stores.registry.notices import build_notices
from worker.stores.registry.tables import ACCOUNTS, MAIL_ADDRESSES
from worker.web.server import deliver_household_notices

pytestmark = pytest.mark.sockets

ENDS_ON = TODAY + timedelta(days=20)
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture(scope="module")
def service_settings(mail_box: MailReceiver) -> dict[str, str]:
    return {"notify_url": mail_url(mail_box, to="operator@example.org")}


def remind(service: ApiService, account: str, ends_on: date = ENDS_ON) -> None:
    """Let the consent end soon, and insert what a night inserts then."""
    change = update(ACCOUNTS).where(ACCOUNTS.c.id == account).values(consent_until=ends_on)
    service.parts.stores.registry.database.change(change)
    service.parts.sync.refusals.insert_reminders()


def suspend(service: ApiService, account: str) -> None:
    window = DateWindow(TODAY - timedelta(days=30), TODAY)
    service.parts.sync.results.record_failure(window_job(window, Series.DAILY, account), RefreshTokenDead("dead"))


def deliver(service: ApiService) -> int:
    return deliver_household_notices(service.parts.access.notice_sender)


def off_link(service: ApiService, mails: MailReceiver) -> str:
    link = str(mails.messages[-1]["List-Unsubscribe"]).strip("<>")
    assert mails.messages[-1]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert link in mails.messages[-1].get_content()
    return link.removeprefix(service.parts.stores.settings.public_url)


@pytest.mark.parametrize(
    "headers, subject, words, other",
    [
        (FRENCH, "Relève : votre consentement ", "Votre consentement expire le 14 août 2024.", "consent "),
        (ENGLISH, "Relève: your consent ", "Your consent expires on 14 August 2024.", "consentement"),
    ],
)
def test_d16_a_consent_that_ends_soon_is_said_to_its_household_in_its_language(
    service: ApiService,
    account: str,
    mails: MailReceiver,
    headers: dict[str, str],
    subject: str,
    words: str,
    other: str,
) -> None:
    household(service, account, mails, headers)
    remind(service, account)
    assert (deliver(service), deliver(service)) == (1, 0)
    (mail,) = mails.messages
    assert mails.recipients == [[HOME]]
    assert mail["Subject"] == subject + words.removesuffix(".").partition(" ")[2].partition(" ")[2]
    text = mail.get_content().replace("\r\n", "\n")
    assert words in text and other not in text and "2024-08-14" not in text
    assert "0011" in text and "30001640000011" not in text and account not in text
    assert f"\n{service.parts.stores.settings.public_url}\n" in text


def test_d16_an_account_set_aside_is_told_in_the_words_of_its_page(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    browser = household(service, account, mails, FRENCH)
    suspend(service, account)
    assert deliver(service) == 1
    text = mails.messages[-1].get_content()
    assert "Reconnectez votre compteur pour recevoir de nouveau vos données. L’historique est conservé" in text
    assert "Reconnectez votre compteur" in browser.get(f"/accounts/{account}").text
    assert "supprimez le compte" not in text, "that is for the operator"


def test_d16_the_operators_mail_is_apart_and_in_the_operators_language(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    household(service, account, mails, ENGLISH)
    remind(service, account)
    for notice_id in service.parts.stores.registry.notices.list_due(service.parts.stores.now()):
        assert build_notice_sender(service.parts.stores).deliver(notice_id)
    (mail,) = mails.messages
    assert mails.recipients == [["operator@example.org"]]
    assert mail["Subject"] == f"Relève : un consentement expire bientôt ({account})"
    assert "expire le 14 août 2024" in mail.get_content() and "consent expires" not in mail.get_content()


def test_d16_no_row_is_written_for_a_household_without_an_address(service: ApiService, account: str) -> None:
    service.browser(account)
    remind(service, account)
    assert [notice.channel for notice in service.parts.stores.registry.notices.list_for_account(account)] == ["mailto"]
    assert deliver(service) == 0


def test_d16_a_household_gets_no_more_after_its_account_has_another_holder(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    household(service, account, mails, FRENCH)
    change = update(ACCOUNTS).where(ACCOUNTS.c.id == account).values(session_number=7)
    service.parts.stores.registry.database.change(change)
    remind(service, account)
    deliver(service)
    assert mails.messages == []


def test_d16_a_mail_that_is_refused_is_sent_again_under_the_same_id(
    service: ApiService, account: str, mails: MailReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    household(service, account, mails, FRENCH)
    remind(service, account)
    mails.refusal = "550 no such user"
    sender = service.parts.access.notice_sender
    with caplog.at_level(logging.DEBUG):
        assert deliver(service) == 0
        mails.refusal = None
        later = replace(sender, now=lambda: service.parts.stores.now() + NOTICE_DELAYS[0])
        assert deliver_household_notices(later) == 1
    notice = next(
        one for one in service.parts.stores.registry.notices.list_for_account(account) if one.channel == "household"
    )
    assert mails.messages[0]["Message-ID"].startswith(f"<{notice.id}.")
    ours = [record for record in caplog.records if record.name.startswith("releve")]
    assert not [record for record in ours if "example.org" in f"{record.getMessage()}{record.__dict__.get('fields')}"]


@pytest.mark.parametrize("by", ["one click", "button", "page"])
def test_d16_a_household_switches_its_notices_off_and_on_again(
    service: ApiService, account: str, mails: MailReceiver, by: str
) -> None:
    browser = household(service, account, mails, FRENCH)
    remind(service, account)
    deliver(service)
    link, stranger = off_link(service, mails), service.stranger()
    if by == "one click":
        assert stranger.post(link, data=ONE_CLICK).status_code == 200
    elif by == "button":
        page = stranger.get(link, headers=FRENCH)
        assert page.status_code == 200 and 'action="' + link in page.text
        remind(service, account, ENDS_ON + timedelta(days=1))
        assert deliver(service) == 1, "to open the link changes nothing"
        assert "Notifications désactivées" in stranger.post(link, headers=FRENCH).text
    else:
        assert press(browser, "/access", "/access/notices", wanted="no").status_code == 303
    mails.messages.clear()
    remind(service, account, ENDS_ON + timedelta(days=2))
    deliver(service)
    assert mails.messages == []
    page = browser.get("/access").text
    assert "Recevoir les notifications" in page and HOME in page, "the address still signs in"
    assert press(browser, "/access", "/access/notices", wanted="yes").status_code == 303
    remind(service, account, ENDS_ON + timedelta(days=3))
    assert deliver(service) == 1


def test_d16_a_made_up_link_switches_nothing_off(service: ApiService, account: str, mails: MailReceiver) -> None:
    household(service, account, mails, FRENCH)
    remind(service, account)
    deliver(service)
    link = off_link(service, mails)
    for wrong in (
        f"{link[:-1]}{'0' if link[-1] != '0' else '1'}",
        re.sub(r"off/\w+", "off/0000", link),
        "/access/notices/off/é",
    ):
        assert service.stranger().get(wrong).status_code == 410
        assert service.stranger().post(wrong, data=ONE_CLICK).status_code == 410
    remind(service, account, ENDS_ON + timedelta(days=1))
    assert deliver(service) == 1


def test_d16_an_address_that_was_given_for_links_alone_gets_no_notice_until_its_household_wants_them(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    """An older version has sealed the address alone, and said that it serves for links."""
    browser = household(service, account, mails, FRENCH)
    access, database = service.parts.access, service.parts.stores.registry.database
    (row,) = database.fetch(select(MAIL_ADDRESSES))
    sealed = access.sealer.seal(HOME, place_of(MAIL_ADDRESSES.c.sealed, row.household_id))
    database.change(update(MAIL_ADDRESSES).values(sealed=sealed))
    assert isinstance(access.ways_back, HouseholdAccess) and HOME in browser.get("/access").text
    remind(service, account)
    deliver(service)
    assert mails.messages == []
    press(browser, "/access", "/access/notices", wanted="yes")
    remind(service, account, ENDS_ON + timedelta(days=1))
    assert deliver(service) == 1


# What another person does


def close(service: ApiService, account: str) -> None:
    """Close the account as a change of holder does."""
    parts = service.parts
    with parts.stores.registry.database.writing() as connection:
        parts.consent.connector.outcomes.close_others(
            connection, [parts.stores.registry.accounts.get(account)], parts.stores.now()
        )


def request(service: ApiService, account: str) -> None:
    """Insert what is told when somebody asks for the account's meter."""
    parts = service.parts
    channels, now = (
        build_channels(parts.stores.settings, parts.stores.registry.tenants).names_for_account("default"),
        parts.stores.now(),
    )
    notices = build_notices(channels, NoticeKind.METER_REQUESTED, "", TODAY.isoformat(), now, account)
    parts.stores.registry.notices.insert_new(notices)


@pytest.mark.parametrize(
    "headers, subject, words",
    [
        (
            FRENCH,
            "Relève : votre compteur a été relié par une autre personne",
            "Le 25 juillet 2024, une autre personne",
        ),
        (ENGLISH, "Relève: another person has connected your meter", "On 25 July 2024, another person proved"),
    ],
)
def test_a_household_whose_only_account_is_closed_by_a_new_holder_is_told_by_mail(
    service: ApiService, account: str, mails: MailReceiver, headers: dict[str, str], subject: str, words: str
) -> None:
    household(service, account, mails, headers)
    close(service, account)
    assert (deliver(service), deliver(service)) == (1, 0)
    (mail,) = mails.messages
    assert mails.recipients == [[HOME]] and mail["Subject"] == subject
    assert words in mail.get_content() and account in mail.get_content()
    channels = {notice.channel for notice in service.parts.stores.registry.notices.list_for_account(account)}
    assert channels == {"household", "mailto"}, "and the operator"


@pytest.mark.parametrize("headers, words", [(FRENCH, "en saisissant son index"), (ENGLISH, "by typing its reading")])
def test_a_household_is_told_by_mail_that_somebody_asks_for_its_meter(
    service: ApiService, account: str, mails: MailReceiver, headers: dict[str, str], words: str
) -> None:
    household(service, account, mails, headers)
    request(service, account)
    assert deliver(service) == 1
    text = mails.messages[0].get_content()
    assert words in text and "0011" in text


def test_what_somebody_else_asks_is_told_whatever_the_household_does_meanwhile(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    household(service, account, mails, FRENCH)
    request(service, account)
    service.parts.stores.registry.consents.withdraw(account, service.parts.stores.now())
    assert deliver(service) == 1


def test_a_request_is_told_no_more_once_the_account_is_closed(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    household(service, account, mails, FRENCH)
    request(service, account)
    close(service, account)
    assert deliver(service) == 1 and "a été relié" in mails.messages[0]["Subject"]


def test_each_kind_of_notice_to_households_has_its_own_mail_in_both_languages(
    service: ApiService, account: str
) -> None:
    to_households = [kind for kind, description in DESCRIPTIONS.items() if description.mail]
    assert set(DESCRIPTIONS) == set(NoticeKind)
    of_account, now = service.parts.stores.registry.accounts.get(account), service.parts.stores.now()
    for language in ("fr", "en"):
        subjects = set[str]()
        for kind in to_households:
            reason = Limit.ENERGY if kind is NoticeKind.ALERT else RefreshTokenDead.code
            notice = Notice("n1", account, kind, reason, TODAY.isoformat(), "household", now, now)
            subjects.add(compose_household_mail(notice, of_account, language, "https://releve.example", "off")[0])
        assert len(subjects) == len(to_households) - 1, "both reminders of a consent's end have one"


def test_the_form_of_alerts_says_whether_they_are_mailed(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    page = f"/accounts/{account}/alerts"
    browser = service.browser(account)
    browser.headers.update(FRENCH)
    assert "vous n’avez pas d’adresse confirmée" in browser.get(page).text
    confirm_address(browser, mails, HOME)
    assert "par e-mail, à votre adresse confirmée" in browser.get(page).text
    press(browser, "/access", "/access/notices", wanted="no")
    assert "vous avez désactivé les notifications" in browser.get(page).text
