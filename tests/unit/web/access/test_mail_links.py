"""Signing in by mail: an address is confirmed first, gets bounded links, and nothing tells whether it is known."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, Table, select

from tests.support.api_service import ApiService, open_api_service
from tests.support.mail_server import MailReceiver, mail_url
from tests.support.sql_statements import changes_something, watch_statements
from tests.support.ways_back import ask_by_mail, confirm_address, keep_code, links_of, press, session_of
from worker.domain.sessions import KeyKind
from worker.stores.registry.tables import ACCESS_KEYS, MAIL_ADDRESSES

pytestmark = pytest.mark.sockets

HOME, OTHER = "Anne.Home@example.org", "nobody@example.org"
ENGLISH, FRENCH = {"Accept-Language": "en"}, {"Accept-Language": "fr"}


def rows_of(service: ApiService, table: Table) -> list[Row[Any]]:
    return service.runtime.registry.database.fetch(select(table))


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
    monkeypatch.setattr(type(service.runtime.web_access.mail_links), "mail_sign_in", lambda _, text: asked.append(text))
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
    assert "Anne" not in repr(service.runtime.web_access.ways_back.addresses.find(HOME))


def test_a_confirmation_opens_no_session(service: ApiService, account: str, mails: MailReceiver) -> None:
    stranger = service.stranger()
    press(service.browser(account), "/access", "/access/address", address=HOME)
    (link,) = links_of(mails)
    assert press(stranger, "/sign-in/link", "/sign-in/link", link=link).status_code == 410
    assert press(stranger, "/access/confirm", "/access/confirm", link=link).status_code == 200
    assert session_of(service, stranger).key is None


def test_an_address_gets_three_mails_an_hour_and_says_nothing_of_it(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    confirm_address(service.browser(account), mails, HOME)
    answers = {ask_by_mail(service.stranger(), HOME).content for _ in range(5)}
    assert len(answers) == 1 and len(mails.messages) == 3


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
    find = service.runtime.web_access.ways_back.addresses.find
    assert find(HOME) and not find(OTHER)
    press(browser, "/access/confirm", "/access/confirm", link=confirmation)
    assert find(OTHER) and not find(HOME)
    assert press(service.stranger(), "/sign-in/link", "/sign-in/link", link=old_link).status_code == 410


def test_a_removed_address_gets_no_link(service: ApiService, account: str, mails: MailReceiver) -> None:
    browser = service.browser(account)
    confirm_address(browser, mails, HOME)
    assert press(browser, "/access", "/access/address/remove").status_code == 303
    ask_by_mail(service.stranger(), HOME)
    assert len(mails.messages) == 1 and HOME not in browser.get("/access").text


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
    with service.runtime.registry.database.writing() as connection:
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
    assert service.runtime.web_access.keys.list_keys([owner], [KeyKind.ADDRESS_LINK]) == []


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
    service.runtime.erase(account)
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
    keys = " ".join(str(key) for key in service.runtime.redis.scan_iter("*"))
    assert "limit:mail-address:" in keys
    for text in (ours, keys):
        assert "anne.home" not in text.lower() and "@example.org" not in text
