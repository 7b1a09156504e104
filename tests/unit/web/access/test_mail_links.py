"""Signing in by mail: an address is confirmed first, gets bounded links, and nothing tells whether it is known."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Row, Table, select

from tests.support.api_service import ApiService, open_api_service
from tests.support.mail_server import MailReceiver, mail_url
from tests.support.sql_statements import changes_something, watch_statements
from tests.support.waiting import until
from tests.support.ways_back import ask_by_mail, confirm_address, keep_code, links_of, press, session_of, shown_code
from worker.accounts.household_access import SIGN_IN_MAILS
from worker.domain.sessions import KEY_LIVES, KeyKind
from worker.runtime.consent_parts import erase
from worker.stores.registry.tables import ACCESS_KEYS, MAIL_ADDRESSES
from worker.web.dependencies import SESSION_COOKIE

pytestmark = pytest.mark.sockets

HOME, OTHER = "Anne.Home@example.org", "nobody@example.org"
ENGLISH, FRENCH = {"Accept-Language": "en"}, {"Accept-Language": "fr"}


def rows_of(service: ApiService, table: Table) -> list[Row[Any]]:
    return service.parts.stores.registry.database.fetch(select(table))


@pytest.fixture(scope="module")
def service_settings(mail_box: MailReceiver) -> dict[str, str]:
    return {"notify_url": mail_url(mail_box, to="operator@example.org")}


def test_d1_a_household_comes_back_by_mail_once_and_by_its_button_alone(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    confirm_address(service.browser(account), mails, HOME)
    phone = service.stranger()
    assert ask_by_mail(phone, f" {HOME.lower()} ").status_code == 200
    (link,) = links_of(mails)
    assert mails.recipients[-1] == [HOME]
    tablet = service.stranger()  # Another browser than the one that asked: the mail may be read on another device.
    with watch_statements(changes_something) as writes:
        assert tablet.get("/sign-in/link").status_code == 200
    assert not writes and tablet.get(f"/accounts/{account}").status_code == 404
    entered = press(tablet, "/sign-in/link", "/sign-in/link", link=f"http://127.0.0.1/sign-in/link#{link}")
    assert (entered.status_code, entered.headers["location"]) == (303, f"/accounts/{account}")
    assert tablet.get(f"/accounts/{account}").status_code == 200
    assert press(phone, "/sign-in/link", "/sign-in/link", link=link).status_code == 410


def test_known_and_unknown_addresses_get_the_same_answer(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    confirm_address(service.browser(account), mails, HOME)
    browser = service.stranger()
    answers = [ask_by_mail(browser, address) for address in (HOME, OTHER)]
    contents = [(one.status_code, one.content, {**one.headers}) for one in answers]
    assert contents[0] == contents[1]
    assert mails.recipients == [[HOME], [HOME]]


def test_the_look_up_comes_after_the_answer(
    service: ApiService, account: str, mails: MailReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of an answer tells nothing: whatever depends on the address runs in the answer's background."""
    asked: list[str] = []
    monkeypatch.setattr(type(service.parts.access.mails), "mail_sign_in", lambda _, text: asked.append(text))
    with watch_statements(changes_something) as writes:
        answer = ask_by_mail(service.stranger(), HOME)
    assert answer.status_code == 200 and asked == [HOME] and not writes


def test_an_address_is_kept_sealed_and_only_once_it_is_confirmed(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    browser = service.browser(account)
    press(browser, "/access", "/access/address", address=HOME)
    assert HOME in browser.get("/access").text and rows_of(service, MAIL_ADDRESSES) == []
    ask_by_mail(service.stranger(), HOME)
    assert len(mails.messages) == 1, "an address that isn't confirmed gets no link to sign in"
    (link,) = links_of(mails)
    assert press(service.stranger(), "/access/confirm", "/access/confirm", link=link).status_code == 200
    assert press(service.stranger(), "/access/confirm", "/access/confirm", link=link).status_code == 410
    rows = str(rows_of(service, MAIL_ADDRESSES) + rows_of(service, ACCESS_KEYS))
    assert len(rows_of(service, MAIL_ADDRESSES)) == 1 and HOME.lower() not in rows.lower()
    assert "Anne" not in repr(service.parts.access.ways_back.addresses.find(HOME))


def test_a_confirmation_opens_no_session(service: ApiService, account: str, mails: MailReceiver) -> None:
    stranger = service.stranger()
    press(service.browser(account), "/access", "/access/address", address=HOME)
    (link,) = links_of(mails)
    assert press(stranger, "/sign-in/link", "/sign-in/link", link=link).status_code == 410
    assert press(stranger, "/access/confirm", "/access/confirm", link=link).status_code == 200
    assert session_of(service, stranger).key is None


def test_s3_an_address_gets_two_sign_in_mails_in_the_life_of_a_link_and_the_answer_says_nothing_of_it(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    confirm_address(service.browser(account), mails, HOME)
    answers = {ask_by_mail(service.stranger(), HOME).content for _ in range(5)}
    assert len(answers) == 1 and len(mails.messages) == 1 + 2
    assert SIGN_IN_MAILS.window_s == KEY_LIVES[KeyKind.SIGN_IN_LINK].longest.total_seconds()  # type: ignore[union-attr]
    (link,) = links_of(mails)
    assert press(service.stranger(), "/sign-in/link", "/sign-in/link", link=link).status_code == 303


def test_s3_the_newest_link_to_sign_in_takes_the_place_of_the_one_before(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    confirm_address(service.browser(account), mails, HOME)
    for _ in range(2):
        ask_by_mail(service.stranger(), HOME)
    (older,), (newer,) = links_of(mails, 1), links_of(mails, 2)
    assert press(service.stranger(), "/sign-in/link", "/sign-in/link", link=older).status_code == 410
    assert press(service.stranger(), "/sign-in/link", "/sign-in/link", link=newer).status_code == 303


def test_s3_a_link_that_could_not_be_mailed_leaves_the_one_before(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    confirm_address(service.browser(account), mails, HOME)
    ask_by_mail(service.stranger(), HOME)
    (link,) = links_of(mails)
    mails.refusal = "451 later"
    for _ in range(3):
        ask_by_mail(service.stranger(), HOME)
    assert press(service.stranger(), "/sign-in/link", "/sign-in/link", link=link).status_code == 303
    mails.refusal = None
    ask_by_mail(service.stranger(), HOME)
    assert len(links_of(mails)) == 1, "what was not sent does not count"


def test_s3_a_strangers_requests_keep_no_household_from_confirming_its_address(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    for _ in range(3):
        ask_by_mail(service.stranger(), HOME)
    assert list(service.parts.stores.redis.scan_iter("releve:limit:mail*")) == [], "nothing was sent"
    confirm_address(service.browser(account), mails, HOME)
    for _ in range(3):
        ask_by_mail(service.stranger(), HOME)
    confirm_address(service.browser(service.add(12)), mails, HOME)


def test_s3_only_mails_that_were_sent_count_to_the_three_confirmations_an_hour(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    browsers = [service.browser(account), service.browser(service.add(12))]
    mails.refusal = "451 later"
    statuses = [press(browsers[0], "/access", "/access/address", address=HOME).status_code for _ in range(4)]
    mails.refusal = None
    statuses += [press(browsers[1], "/access", "/access/address", address=HOME).status_code for _ in range(4)]
    assert statuses == [502] * 4 + [303] * 3 + [429]


# What is told to the address (S5)


def copied(service: ApiService, browser: TestClient) -> TestClient:
    """Return the browser of somebody who has copied the session's cookie."""
    thief = service.stranger()
    thief.cookies.set(SESSION_COOKIE, browser.cookies[SESSION_COOKIE])
    return thief


@pytest.mark.parametrize(
    ("headers", "subject", "sentence"),
    [(FRENCH, "nouveau code de secours", "Si ce n’est pas vous"), (ENGLISH, "new recovery code", "If it was not you")],
)
def test_s5_a_new_recovery_code_is_told_to_the_confirmed_address(
    service: ApiService, account: str, mails: MailReceiver, headers: dict[str, str], subject: str, sentence: str
) -> None:
    browser = service.browser(account)
    browser.headers.update(headers)
    confirm_address(browser, mails, HOME)
    keep_code(browser)
    press(copied(service, browser), "/access", "/access/code")
    until(lambda: len(mails.messages) == 2, "a mail")
    mail = mails.messages[-1]
    assert mails.recipients[-1] == [HOME] and subject in mail["Subject"]
    assert sentence in mail.get_content() and shown_code(browser) not in mail.get_content()


@pytest.mark.parametrize(
    ("headers", "subject", "sentence"),
    [(FRENCH, "adresse e-mail a changé", "n’est plus"), (ENGLISH, "email address has changed", "no longer")],
)
@pytest.mark.parametrize("is_removed", [True, False])
def test_s5_the_address_before_is_told_that_it_was_replaced_or_removed(
    service: ApiService,
    account: str,
    mails: MailReceiver,
    headers: dict[str, str],
    subject: str,
    sentence: str,
    is_removed: bool,
) -> None:
    browser = service.browser(account)
    browser.headers.update(headers)
    confirm_address(browser, mails, HOME)
    if is_removed:
        press(copied(service, browser), "/access", "/access/address/remove")
    else:
        confirm_address(copied(service, browser), mails, OTHER)
    until(lambda: mails.recipients[1:].count([HOME]), "a mail")
    mail = mails.messages[-1]
    assert mails.recipients[-1] == [HOME] and subject in mail["Subject"]
    assert sentence in mail.get_content() and OTHER not in mail.get_content()


def test_s5_the_same_address_again_and_a_code_without_an_address_are_told_to_nobody(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    browser = service.browser(account)
    keep_code(browser)
    press(browser, "/access", "/access/code")
    confirm_address(browser, mails, HOME)
    confirm_address(browser, mails, HOME.upper())
    assert [len(links_of(mails, number)) for number in range(len(mails.messages))] == [1, 1]


def test_s5_of_many_new_codes_three_an_hour_are_told(service: ApiService, account: str, mails: MailReceiver) -> None:
    browser = service.browser(account)
    confirm_address(browser, mails, HOME)
    for _ in range(5):
        keep_code(browser)
        press(browser, "/access", "/access/code")
    assert len(mails.messages) == 1 + 3


def test_a_client_may_ask_for_ten_mails_an_hour(service: ApiService) -> None:
    browser = service.stranger()
    statuses = [ask_by_mail(browser, f"{number}@example.org").status_code for number in range(11)]
    assert statuses == [200] * 10 + [429]


def test_a_new_address_takes_the_place_of_the_old_one_once_it_is_confirmed(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    browser = service.browser(account)
    confirm_address(browser, mails, HOME)
    ask_by_mail(service.stranger(), HOME)
    (old_link,) = links_of(mails)
    press(browser, "/access", "/access/address", address=OTHER)
    (confirmation,) = links_of(mails)
    find = service.parts.access.ways_back.addresses.find
    assert find(HOME) and not find(OTHER)
    press(browser, "/access/confirm", "/access/confirm", link=confirmation)
    assert find(OTHER) and not find(HOME)
    assert press(service.stranger(), "/sign-in/link", "/sign-in/link", link=old_link).status_code == 410


def test_a_removed_address_gets_no_link(service: ApiService, account: str, mails: MailReceiver) -> None:
    browser = service.browser(account)
    confirm_address(browser, mails, HOME)
    assert press(browser, "/access", "/access/address/remove").status_code == 303
    ask_by_mail(service.stranger(), HOME)
    assert len(mails.messages) == 2 and HOME not in browser.get("/access").text
    assert links_of(mails) == [], "the last one tells that the address was removed"


def test_two_households_of_one_address_get_a_link_each(service: ApiService, account: str, mails: MailReceiver) -> None:
    other = service.add(12)
    browsers = [service.browser(account), service.browser(other)]
    for browser in browsers:
        confirm_address(browser, mails, HOME)
    service.forget_limits()
    ask_by_mail(service.stranger(), HOME)
    text = mails.messages[-1].get_content()
    assert "…0011" in text and "…0012" in text
    opened = []
    for link in links_of(mails):
        phone = service.stranger()
        entered = press(phone, "/sign-in/link", "/sign-in/link", link=link)
        opened.append(entered.headers["location"])
    assert sorted(opened) == sorted([f"/accounts/{account}", f"/accounts/{other}"])


@pytest.mark.parametrize(
    ("headers", "subject", "sentence"),
    [(FRENCH, "votre lien de connexion", "10 minutes"), (ENGLISH, "your sign-in link", "Don’t share it")],
)
def test_mails_are_in_the_households_language(
    service: ApiService,
    account: str,
    mails: MailReceiver,
    headers: dict[str, str],
    subject: str,
    sentence: str,
) -> None:
    browser = service.browser(account)
    browser.headers.update(headers)
    confirm_address(browser, mails, HOME)
    ask_by_mail(service.stranger(), HOME)
    mail = mails.messages[-1]
    assert subject in mail["Subject"] and sentence in mail.get_content() and mail.get_content_type() == "text/plain"


def test_a_planted_row_gets_no_link(service: ApiService, account: str, mails: MailReceiver) -> None:
    """Whoever writes the table, but lacks the web application's key, gives no address to another household."""
    confirm_address(service.browser(account), mails, HOME)
    victim = session_of(service, service.browser(service.add(12))).household
    assert victim is not None
    with service.parts.stores.registry.database.writing() as connection:
        row = connection.execute(MAIL_ADDRESSES.select()).mappings().one()
        connection.execute(MAIL_ADDRESSES.insert().values({**row, "household_id": victim.id}))
    service.forget_limits()
    ask_by_mail(service.stranger(), HOME)
    assert len(links_of(mails)) == 1 and "…0012" not in mails.messages[-1].get_content()


@pytest.mark.parametrize(
    "text", ["", "x", "a@b", "Anne <a@example.org>", "a@example.org, b@example.org", "a@x.org\nBcc: c"]
)
def test_what_is_no_address_is_refused(service: ApiService, account: str, mails: MailReceiver, text: str) -> None:
    assert ask_by_mail(service.stranger(), text).status_code == 422
    assert press(service.browser(account), "/access", "/access/address", address=text).status_code == 422
    assert mails.messages == []


def test_a_mail_that_is_refused_changes_nothing(service: ApiService, account: str, mails: MailReceiver) -> None:
    browser = service.browser(account)
    mails.refusal = "550 no such user"
    refused = press(browser, "/access", "/access/address", address=OTHER)
    assert refused.status_code == 502
    owner = session_of(service, browser).key.owner  # type: ignore[union-attr]
    assert service.parts.access.keys.list_keys([owner], [KeyKind.ADDRESS_LINK]) == []


def test_without_a_mail_service_there_is_no_form(redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with open_api_service(redis_url, tmp_path / "plain") as service:
        assert "/sign-in/mail" not in service.stranger().get("/sign-in").text
        assert ask_by_mail(service.stranger(), HOME).status_code == 404
        browser = service.browser(service.add(11))
        assert "/access/address" not in browser.get("/access").text
        assert press(browser, "/access", "/access/address", address=HOME).status_code == 404


def test_the_erasure_of_the_last_account_erases_the_address(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    browser = service.browser(account)
    confirm_address(browser, mails, HOME)
    press(browser, "/access", "/access/address", address=OTHER)
    keep_code(browser)
    owner = session_of(service, browser).key.owner  # type: ignore[union-attr]
    erase(service.parts.stores, account)
    assert rows_of(service, MAIL_ADDRESSES) == []
    assert [row for row in rows_of(service, ACCESS_KEYS) if row.owner == owner] == []


def test_no_address_stands_in_a_log_nor_in_redis(
    service: ApiService, account: str, mails: MailReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    confirm_address(service.browser(account), mails, HOME)
    mails.refusal = "550 no such user"
    ask_by_mail(service.stranger(), HOME)
    assert "link not mailed" in caplog.text
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("releve"))
    keys = " ".join(str(key) for key in service.parts.stores.redis.scan_iter("*"))
    assert "limit:mail-address:" in keys
    for text in (ours, keys):
        assert "anne.home" not in text.lower() and "@example.org" not in text
