"""The figures of a month by mail: only to a household that asked, once, in both languages, as text and HTML."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import ApiService
from tests.support.household_pages import ENGLISH, FRENCH
from tests.support.mail_server import MailReceiver, mail_url
from tests.support.panel_homes import PanelHome, store_home
from tests.support.ways_back import HOME, household, press, session_of
from worker.accounts.meter_names import save_name
from worker.accounts.notice_channels import NoticeChannels
from worker.accounts.notices import NoticeSender
from worker.accounts.prices import set_prices
from worker.domain.prices.own_prices import read_own_prices
from worker.domain.retry import NOTICE_DELAYS
from worker.domain.series import of_supplier
from worker.stores.registry.tables import NOTICES
from worker.web import month_mail
from worker.web.month_mail import MonthMails
from worker.web.server import deliver_household_notices

pytestmark = pytest.mark.sockets

IN_JUNE = datetime(2024, 6, 20, 18, tzinfo=UTC)  # Today is 25 July 2024, so June is the month to tell.
PRICES = "[[electricity]]\nfrom = 2023-01-01\nsubscription = 30\nbase = 0.25\n"
BLANK = str.maketrans({"\N{NO-BREAK SPACE}": " ", "\N{NARROW NO-BREAK SPACE}": " "})


@pytest.fixture(scope="module")
def service_settings(mail_box: MailReceiver) -> dict[str, str]:
    return {"notify_url": mail_url(mail_box, to="operator@example.org")}


def ask(service: ApiService, browser: TestClient, since: datetime | None = IN_JUNE) -> str:
    """Give the household's consent at a moment, and return the household's id."""
    found = session_of(service, browser).household
    assert found is not None
    service.parts.access.ways_back.addresses.set_month(found.id, since)
    return found.id


def months_of(service: ApiService) -> MonthMails:
    return MonthMails(stores=service.parts.stores, mails=service.parts.access.mails)


def sender_of(service: ApiService) -> NoticeSender:
    channels = NoticeChannels(of_settings={}, household=months_of(service))
    return replace(service.parts.access.notice_sender, channels=channels)


def tell(service: ApiService) -> int:
    """Do what the thread of the web application does: insert what is due, and send it."""
    months_of(service).insert_due()
    return deliver_household_notices(sender_of(service))


def parts_of(mails: MailReceiver) -> tuple[str, str]:
    """Return the plain text and the HTML of the only mail."""
    (mail,) = mails.messages
    assert mail.get_content_type() == "multipart/alternative"
    plain, html = mail.iter_parts()
    assert (plain.get_content_type(), html.get_content_type()) == ("text/plain", "text/html")
    return plain.get_content().translate(BLANK), html.get_content().translate(BLANK)


def store_junes(service: ApiService, account: str, days: int = 30) -> None:
    service.store_days(account, date(2023, 6, 1), [9_000] * 30)
    service.store_days(account, date(2024, 6, 1), [10_000] * days)


@pytest.mark.parametrize(
    "headers, subject, words",
    [
        (
            FRENCH,
            "Relève : votre bilan mensuel, juin 2024",
            [
                *("Bilan : juin 2024", "Consommation : 300 kWh", "En juin 2023 : 270 kWh.", "+30,0 kWh (+11 %)"),
                *("environ 105,00 €", "Puissance de veille : 100 W, soit environ 877 kWh par an"),
            ],
        ),
        (
            ENGLISH,
            "Relève: your monthly summary, June 2024",
            [
                *("Summary: June 2024", "Consumption: 300 kWh", "In June 2023: 270 kWh.", "+30.0 kWh (+11%)"),
                *("about €105.00", "Base load: 100 W, about 877 kWh in a year"),
            ],
        ),
    ],
)
def test_a_whole_month_is_told_as_text_and_html_in_the_language_of_the_address(
    service: ApiService, account: str, mails: MailReceiver, headers: dict[str, str], subject: str, words: list[str]
) -> None:
    registry = service.parts.stores.registry
    store_junes(service, account)
    for number in range(30):
        service.store_half_hours(account, date(2024, 6, 1) + timedelta(days=number), [50] * 48)
    set_prices(registry, registry.accounts.get_existing(account), own=read_own_prices(PRICES))
    save_name(registry, registry.accounts.get_existing(account), "Chez <Anne>")
    ask(service, household(service, account, mails, headers))
    assert tell(service) == 1 and mails.recipients == [[HOME]]
    plain, html = parts_of(mails)
    assert mails.messages[0]["Subject"].translate(BLANK) == subject
    for one in [*words, service.parts.stores.settings.public_url]:
        assert one in plain and one in html, (one, plain)
    assert "Chez <Anne>" in plain and "Chez &lt;Anne&gt;" in html and "30001640000011" not in plain
    # Nothing is loaded, so nobody learns that the mail was opened.
    assert not any(word in html for word in ("<img", "<link", "<script", "src=", "url("))
    assert tell(service) == 0 and len(mails.messages) == 1, "once"


def test_a_month_that_lacks_days_says_which_and_compares_only_days_that_both_have(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    store_junes(service, account, days=28)
    ask(service, household(service, account, mails))
    assert tell(service) == 1
    plain, _ = parts_of(mails)
    assert "Il manque 2 jours, le premier le 29 juin 2024, le dernier le 30 juin 2024." in plain
    assert "Sur les 28 jours connus des deux mois : 280 kWh, contre 252 kWh en juin 2023." in plain


def test_panels_and_a_month_without_one_before(service: ApiService, account: str, mails: MailReceiver) -> None:
    registry = service.parts.stores.registry
    home = PanelHome(date(2024, 6, 30), days=40)
    store_home(service.parts, account, home, tuple(of_supplier("enedis")))
    prices = f"{PRICES}[[production]]\nfrom = 2023-01-01\nprice = 0.1\n"
    set_prices(registry, registry.accounts.get_existing(account), own=read_own_prices(prices))
    ask(service, household(service, account, mails))
    assert tell(service) == 1
    plain, _ = parts_of(mails)
    fed = sum(sum(home.fed(date(2024, 6, day))) for day in range(1, 31))
    drawn = sum(sum(home.drawn(date(2024, 6, day))) for day in range(1, 31))
    assert f"Prélevé sur le réseau : {round(drawn / 1000)} kWh" in plain, "as the pages say it of a home with panels"
    assert f"Énergie injectée : {round(fed / 1000)} kWh" in plain
    assert f"Vendue : {fed / 10_000:.2f} €.".replace(".", ",", 1) in plain
    assert "Pas de comparaison : aucun de ces jours n’est connu en juin 2023." in plain


def test_nothing_is_told_to_who_did_not_ask_or_asked_after_the_month_or_takes_notices_alone(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    store_junes(service, account)
    browser = household(service, account, mails)
    page = browser.get("/access").text
    assert "entre certains serveurs" in page and "Recevoir le bilan du mois" in page
    assert tell(service) == 0, "notices are on, and months are not"
    assert press(browser, "/access", "/access/month", wanted="yes").status_code == 303
    assert "Ne plus recevoir le bilan du mois" in browser.get("/access").text
    assert tell(service) == 0, "June was over"
    assert press(browser, "/access", "/access/month", wanted="no").status_code == 303
    ask(service, browser)
    service.parts.stores.registry.consents.withdraw(account, service.parts.stores.now())
    assert tell(service) == 0 and mails.messages == []


def test_a_month_that_was_claimed_is_not_sent_once_it_is_not_wanted_any_more(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    store_junes(service, account)
    browser = household(service, account, mails)
    ask(service, browser)
    assert months_of(service).insert_due() == 1
    ask(service, browser, None)
    deliver_household_notices(sender_of(service))
    assert mails.messages == []


def test_a_month_in_doubt_is_sent_again_under_the_same_id_and_to_its_household_alone(
    service: ApiService, account: str, mails: MailReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies after the mail server has taken the mail: two households see the account, and one is told."""
    store_junes(service, account)
    browser = household(service, account, mails)
    household(service, account, mails, ENGLISH)
    ask(service, browser)
    registry, sender = service.parts.stores.registry, sender_of(service)
    assert months_of(service).insert_due() == 1
    (notice_id,) = registry.notices.list_due(service.parts.stores.now(), to_households=True)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
        dying.setattr(type(registry.notices), "mark_delivered", die)
        sender.deliver(notice_id)
    registry.consents.withdraw(account, service.parts.stores.now())  # Which ends notices that ask people to act.
    later = replace(sender, now=lambda: service.parts.stores.now() + NOTICE_DELAYS[0])
    assert deliver_household_notices(sender) == 0, "the claim lasts"
    assert deliver_household_notices(later) == 1 and deliver_household_notices(later) == 0
    first, second = mails.messages
    assert first["Message-ID"] == second["Message-ID"] and mails.recipients == [[HOME], [HOME]]
    assert "bilan" in second["Subject"]


def test_a_bug_in_a_mail_stops_no_other_notice_and_tells_no_figure(
    service: ApiService, account: str, mails: MailReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_junes(service, account)
    ask(service, household(service, account, mails))

    def fail(*_: object) -> None:
        raise ValueError("300 kWh")

    with monkeypatch.context() as failing:
        failing.setattr(month_mail, "read_base_load", fail)
        assert tell(service) == 0
    (notice,) = service.parts.stores.registry.notices.list_for_account(account)
    assert (notice.attempts, notice.last_error) == (1, "household: ValueError") and mails.messages == []


def test_the_link_in_the_mail_switches_months_off_and_leaves_notices_on(
    service: ApiService, account: str, mails: MailReceiver
) -> None:
    store_junes(service, account)
    household_id = ask(service, household(service, account, mails))
    tell(service)
    link = str(mails.messages[0]["List-Unsubscribe"]).strip("<>")
    assert all(link in part for part in parts_of(mails))
    path, addresses = link.removeprefix(service.parts.stores.settings.public_url), service.parts.access.mails.addresses
    stranger = service.stranger()
    assert "Ne plus recevoir le bilan du mois" in stranger.get(path, headers=FRENCH).text
    row = addresses.load(household_id)
    assert row and row.month_since, "to open the link changes nothing"
    # Neither kind of ticket works in the place of the other.
    assert stranger.post(path.replace("/month/", "/notices/")).status_code == 410
    other = service.parts.access.signer.make_ticket(household_id)
    assert stranger.post(f"/access/month/off/{other}").status_code == 410
    assert stranger.post(path, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    row = addresses.load(household_id)
    assert row and row.month_since is None and row.notices


def test_a_kind_of_a_newer_version_stops_no_delivery(service: ApiService, account: str, mails: MailReceiver) -> None:
    store_junes(service, account)
    ask(service, household(service, account, mails))
    months_of(service).insert_due()
    registry = service.parts.stores.registry
    with registry.database.writing() as connection:
        connection.exec_driver_sql(f"UPDATE {NOTICES.name} SET kind = 'unheard_of'")
    assert deliver_household_notices(sender_of(service)) == 0 and mails.messages == []
    assert registry.notices.list_for_account(account) == []
