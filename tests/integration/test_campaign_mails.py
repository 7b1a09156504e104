"""Campaigns from the choice of their accounts to their mails, with a mail server on this machine."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select, update

import worker.web.server as web_server
from tests.support.factories import NOW
from tests.support.gas_homes import GAS_SETTINGS
from tests.support.installation import Installation
from tests.support.mail_server import MailReceiver, mail_receiver, mail_url
from tests.support.parts import Parts
from tests.support.registries import close_account
from tests.support.waiting import until
from worker.accounts.asserted_accounts import AccountAssertion
from worker.accounts.campaigns import CAMPAIGN_TICKET, CampaignChoice, CampaignDesk, CampaignRefused
from worker.domain.account import AccountState
from worker.domain.campaign import AddressSource, Campaign, Recipient, RecipientState
from worker.domain.retry import NOTICE_DELAYS
from worker.errors import StoreUnavailable
from worker.stores.registry.campaigns import CampaignTable
from worker.stores.registry.tables import ACCOUNTS, CAMPAIGN_RECIPIENTS

SOON, LATE = date(2024, 8, 4), date(2025, 1, 1)
ANNE, BEN, CLEO = "anne@example.org", "ben@example.org", "cleo@example.org"
BLANK = str.maketrans({"\N{NO-BREAK SPACE}": " ", "\N{NARROW NO-BREAK SPACE}": " "})
WANTED = timedelta(days=30)


class Office:
    """An installation with a mail server; the test sets the time."""

    def __init__(self, parts: Parts, box: MailReceiver) -> None:
        self.parts, self.box, self.at = parts, box, NOW
        self.registry = parts.stores.registry
        self.registry.now = lambda: self.at
        self.desk: CampaignDesk = parts.access.campaigns

    def account(
        self, number: int, ends: date | None = SOON, *, supplier: str = "enedis", tenant: str = "default"
    ) -> str:
        consent = {"consent_until": ends, "token_needed": False}
        return self.registry.accounts.add(supplier, f"300016400{number:05}", NOW, tenant=tenant, **consent)[0].id

    def household(self, *accounts: str, address: str = ANNE, language: str = "fr") -> str:
        """Return a household with a confirmed address."""
        numbers = {one.id: one.session_number for one in self.registry.accounts.get_many(accounts).values()}
        access = self.parts.access
        household = access.households.create(numbers).id
        assert access.mails.addresses.set(household, address, language)
        return household

    def add(self, csv: str | None = None, *, run: bool = True, **choice: Any) -> tuple[Campaign, Mapping[str, int]]:
        if not choice and csv is None:
            choice = {"expiring": WANTED}
        campaign, counts = self.desk.add(CampaignChoice(csv=csv, **{"per_day": 200, **choice}), "cli:ada")
        self.sample = self.box.messages[-1]
        self.box.messages.clear()
        self.box.recipients.clear()
        if run:
            self.registry.campaigns.set_running(campaign.id, running=True)
        return campaign, counts

    def recipients(self) -> list[Recipient]:
        rows = self.registry.database.fetch(select(CAMPAIGN_RECIPIENTS))
        return [Recipient(**row._asdict()) for row in rows]

    def states(self) -> list[RecipientState]:
        return sorted(one.state for one in self.recipients())

    def mailed_to(self) -> list[str]:
        return [address for (address,) in self.box.recipients]

    def text(self, number: int = -1) -> str:
        return text_of(self.box.messages[number])

    def link(self, recipient: Recipient) -> str:
        return f"https://releve.example/renew#{self.parts.access.signer.make_ticket(recipient.id, CAMPAIGN_TICKET)}"


def text_of(mail: EmailMessage) -> str:
    return str(mail.get_content()).translate(BLANK).replace("\r\n", "\n")


@pytest.fixture
def box() -> Iterator[MailReceiver]:
    with mail_receiver() as box:
        yield box


@contextmanager
def open_office(installation: Installation, box: MailReceiver, **settings: str) -> Iterator[Office]:
    usual = {"public_url": "https://releve.example", "notify_url": mail_url(box), "preset": "enedis-v5"}
    with installation.but(**{**usual, **settings}).open() as parts:
        yield Office(parts, box)


@pytest.fixture
def office(installation: Installation, box: MailReceiver) -> Iterator[Office]:
    with open_office(installation, box) as office:
        yield office


# The choice


def test_the_accounts_of_a_choice_are_mailed_or_counted(office: Office) -> None:
    confirmed, off, listed, _, closed, busy, former = (office.account(number) for number in range(7))
    late = office.account(7, LATE)
    office.household(confirmed)
    office.parts.access.mails.addresses.set_notices(office.household(off, address=BEN), wanted=False)
    household = office.parts.access.households.create({former: 0}).id  # It no longer sees the account.
    office.parts.access.mails.addresses.set(household, "gone@example.org", "fr")
    office.add(f"account,mail\n{busy},busy@example.org\n")
    close_account(office.registry.consents, closed, NOW)
    lines = {listed: CLEO, off: "off@example.org", confirmed: "conf@example.org", late: "late@example.org"}
    csv = "account;mail\n" + "".join(f"{account};{address}\n" for account, address in lines.items())

    campaign, counts = office.add(csv, expiring=WANTED, state=None, run=False)

    assert counts == {
        "accounts": 2,
        "mails": 2,
        "confirmed": 1,
        "listed": 1,
        "no_address": 2,  # One was never given, the other belongs to a household that no longer sees the account.
        "mails_off": 1,
        "busy": 1,
        "not_renewable": 1,
        "outside": 1,
    }
    rows = {row.account: (row.last_day, row.source, row.address) for row in office.desk.first_rows(campaign.id)}
    assert rows == {
        confirmed: (SOON, AddressSource.CONFIRMED, "a…@example.org"),
        listed: (SOON, AddressSource.LIST, "c…@example.org"),
    }
    kept = [one for one in office.recipients() if one.campaign_id == campaign.id]
    assert {one.account_id: one.sealed_address is None for one in kept} == {confirmed: True, listed: False}
    assert CLEO not in str([one.sealed_address for one in kept])
    assert campaign.choice == "--expiring 30d --csv"
    assert not office.registry.campaigns.get(campaign.id).is_running


def test_a_list_alone_chooses_its_accounts_and_one_reference_names_several(office: Office) -> None:
    assertion = AccountAssertion(supplier="enedis", registry=office.registry, now=lambda: NOW)
    twins = [
        assertion.add(f"3000164001000{n}", "cli:ada", reference="Contract 7", consented_on=NOW.date())[0].id
        for n in (1, 2)
    ]
    campaign, counts = office.add("reference,mail\n contract  7 ,anne@example.org\n")
    assert (counts["accounts"], counts["mails"]) == (2, 1)
    rows = office.desk.first_rows(campaign.id)
    assert {(row.account, row.reference) for row in rows} == {(one, "Contract 7") for one in twins}
    assert office.desk.send_due() is False and office.mailed_to() == [ANNE]
    assert all(office.link(one) in office.text() for one in office.recipients())
    left = [(row.account, row.reference, row.state) for row in office.desk.left_rows(campaign.id)]
    assert sorted(left) == sorted((one, "Contract 7", RecipientState.MAILED) for one in twins)


@pytest.mark.parametrize(
    "csv, choice, words",
    [
        (None, {"state": None}, "choose the days"),
        (None, {"state": AccountState.PAUSED}, "no account matches this choice"),
        (None, {"expiring": WANTED, "per_day": 0}, "choose at least 1 mail a day"),
        ("reference,mail\nnobody's,anne@example.org\n", {"per_day": 9}, "because of 1 line"),
        ("account,mail\nnobody\0,anne@example.org\n", {"per_day": 9}, "because of 1 line"),
    ],
)
def test_a_choice_that_can_not_be_is_refused_in_one_line(
    office: Office, csv: str | None, choice: dict[str, Any], words: str
) -> None:
    office.household(office.account(1))
    with pytest.raises(CampaignRefused, match=words) as refused:
        office.desk.add(CampaignChoice(csv=csv, **{"per_day": 200, **choice}), "cli:ada")
    assert [str(line) for line in refused.value.lines] == (
        ["line 2: no account has this reference or id"] if csv else []
    )
    assert office.registry.campaigns.list_campaigns() == [] and office.box.messages == []


@pytest.mark.parametrize(("url", "words"), [("", "no mail service"), ("refused", "status 554")])
def test_without_a_sample_for_the_operator_nothing_is_created(
    installation: Installation, box: MailReceiver, url: str, words: str
) -> None:
    box.refusal = "554 not now" if url else None
    with open_office(installation, box, **({} if url else {"notify_url": ""})) as office:
        office.household(office.account(1))
        with pytest.raises(CampaignRefused, match=words):
            office.add()
        assert office.registry.campaigns.list_campaigns() == []


def test_accounts_that_another_campaign_has_just_got_are_refused(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.household(office.account(1))
    monkeypatch.setattr(CampaignTable, "create", lambda *_: False)
    with pytest.raises(CampaignRefused, match="another campaign has just chosen some"):
        office.add()


# The mail


def test_a_household_reads_who_asks_why_and_how_in_its_language(office: Office) -> None:
    first, second = office.account(11), office.account(22, date(2024, 7, 1))
    office.household(first, second, language="en")
    office.add()
    office.desk.send_due()
    (mail,), one = office.box.messages, {one.account_id: one for one in office.recipients()}
    assert mail["Subject"] == "Relève: renew your consent" and mail["To"] == ANNE
    assert (mail["Auto-Submitted"], mail["List-Unsubscribe-Post"]) == ("auto-generated", "List-Unsubscribe=One-Click")
    assert mail.get_content_type() == "text/plain"
    assert mail["Message-ID"] == f"<{one[first].mail_id}@example.org>"
    paragraphs = office.text().split("\n\n")
    assert dict(zip(paragraphs[1:5:2], paragraphs[2:5:2], strict=True)) == {
        "Meter …0011 (Enedis): your consent expires on 4 August 2024.": office.link(one[first]),
        "Meter …0022 (Enedis): your consent expired on 1 July 2024.": office.link(one[second]),
    }
    assert paragraphs[5].startswith("This link works until 24 August 2024 at 09:00 (Paris time).")
    assert "answer no" in paragraphs[6] and "72 hours" in paragraphs[5] and "If that is not you" in paragraphs[7]


def test_the_mail_of_a_tenant_for_2026_names_the_tenant_and_the_old_share(
    installation: Installation, box: MailReceiver
) -> None:
    with open_office(installation, box, preset="enedis-2026") as office:
        office.registry.tenants.save("kilowatt", "Les Kilowatts")
        stopped, never = office.account(1, tenant="kilowatt"), office.account(2, None, tenant="kilowatt")
        office.parts.stores.registry.consents.withdraw(stopped, NOW)
        office.household(stopped, never)
        office.add(f"account,mail\n{stopped},x@example.org\n{never},y@example.org\n", per_day=1)
        office.desk.send_due()
        assert box.messages[0]["Subject"].translate(BLANK) == "Les Kilowatts : renouvelez votre consentement"
        text = office.text()
        assert (
            "Compteur …0001 (Enedis) : il a été mis fin à votre consentement. Supprimez d’abord l’ancien partage"
            in text
        )
        assert "Compteur …0002 (Enedis) : un nouveau consentement est nécessaire." in text
        assert "24 août 2024 à 09:00 (heure de Paris)" in text


def test_a_lists_address_reads_nothing_of_the_account_in_both_languages(
    installation: Installation, box: MailReceiver
) -> None:
    with open_office(installation, box, **GAS_SETTINGS) as office:
        account = office.account(4711, supplier="grdf")
        office.add(f"account,mail\n{account},{CLEO}\n")
        office.desk.send_due()
        (mail,), (one,), text = box.messages, office.recipients(), office.text()
        assert mail["Subject"].translate(BLANK) == "Relève : renouvelez votre consentement / renew your consent"
        assert text.count(office.link(one)) == 2 and "Compteur GRDF." in text and "GRDF meter." in text
        # The link's ticket is random hexadecimal text.
        told = re.sub(r"renew#\S+", "", text)
        assert not re.search(rf"4711|{account}|\b4 (août|August)|expire", told)
        assert mail["List-Unsubscribe"] is None


def test_the_sample_shows_a_mail_of_each_kind_and_no_link_that_works(office: Office) -> None:
    office.household(office.account(1))
    campaign, _ = office.add(f"account,mail\n{office.account(2)},{CLEO}\n", expiring=WANTED)
    text = text_of(office.sample)
    assert office.sample["To"] == "support@example.org" and f"releve campaigns resume {campaign.id}" in text
    assert "Compteur …0001 (Enedis)" in text and "Compteur Enedis." in text
    assert not any(office.link(one) in text for one in office.recipients()) and text.count("/renew#…\n") == 3


# Sending


def test_an_address_that_does_not_exist_is_never_tried_again(office: Office) -> None:
    for number, address in enumerate((ANNE, BEN)):
        office.household(office.account(number), address=address)
    office.box.refused = {ANNE: "550 5.1.1 no such user"}
    office.add()
    assert office.desk.send_due() is False and office.mailed_to() == [BEN]
    assert office.states() == [RecipientState.ADDRESS_REFUSED, RecipientState.MAILED]
    office.box.refused = {}
    office.at += timedelta(days=1)
    assert office.desk.send_due() is False and office.mailed_to() == [BEN]


@pytest.mark.parametrize(
    "answer", ["450 4.2.0 greylisted", "550 5.7.1 not allowed", "554 relay access denied", "530 log in"]
)
def test_a_mail_is_tried_again_when_the_service_is_at_fault(
    office: Office, caplog: pytest.LogCaptureFixture, answer: str
) -> None:
    for number, address in enumerate((ANNE, BEN)):
        office.household(office.account(number), address=address)
    office.box.refused = dict.fromkeys((ANNE, BEN), answer)
    campaign, _ = office.add()
    with caplog.at_level(logging.INFO, "releve"):
        assert office.desk.send_due() is False
    assert [one.attempts for one in office.recipients()].count(0) == 1, "the round ends"
    assert office.states() == [RecipientState.CHOSEN] * 2
    assert {row.error for row in office.desk.left_rows(campaign.id)} == {"", "not accepted"}
    office.box.refused = {}
    office.at += NOTICE_DELAYS[0]
    office.desk.send_due()
    assert sorted(office.mailed_to()) == [ANNE, BEN] and office.states() == [RecipientState.MAILED] * 2
    ours = [
        f"{record.getMessage()}{record.__dict__.get('fields')}" for record in caplog.records if record.name != "apprise"
    ]
    assert not [line for line in ours if "example.org" in line]


def test_after_a_kill_between_the_servers_yes_and_the_mark_the_same_mail_is_repeated(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.household(office.account(1))
    office.add()
    with monkeypatch.context() as patch:
        patch.setattr(office.registry.campaigns, "mark_mailed", lambda mail_id: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            office.desk.send_due()
    office.at += NOTICE_DELAYS[0]
    office.desk.send_due()
    first, again = office.box.messages
    assert first["Message-ID"] == again["Message-ID"] and first.get_content() == again.get_content()
    assert office.states() == [RecipientState.MAILED]


@pytest.mark.parametrize(
    "at",
    [
        datetime(2024, 7, 25, 6, 59, tzinfo=UTC),
        datetime(2024, 7, 25, 16, 0, tzinfo=UTC),
        datetime(2024, 7, 27, 8, 0, tzinfo=UTC),
    ],
)
def test_nothing_is_mailed_outside_the_hours_or_once_the_process_stops(office: Office, at: datetime) -> None:
    office.household(office.account(1))
    office.add()
    office.at = at
    assert office.desk.send_due() is False and office.mailed_to() == []
    office.at, stop = NOW + timedelta(days=4), threading.Event()
    stop.set()
    assert office.desk.send_due(stop) is False and office.mailed_to() == []
    office.desk.send_due(threading.Event())
    assert office.mailed_to() == [ANNE]


def test_rounds_are_full_until_the_days_number_is_mailed(office: Office) -> None:
    for number in range(60):
        office.household(office.account(number), address=f"home{number}@example.org")
    office.add(expiring=WANTED, per_day=55)
    assert [office.desk.send_due(), len(office.mailed_to())] == [True, 50]
    assert [office.desk.send_due(), len(office.mailed_to())] == [False, 55]
    office.at += timedelta(days=1)
    assert [office.desk.send_due(), len(set(office.mailed_to()))] == [False, 60]


def test_a_household_gets_its_mail_at_its_present_address_or_none_if_it_no_longer_wants_mails(office: Office) -> None:
    accounts = [office.account(n) for n in range(5)]
    homes = [office.household(one, address=f"home{n}@example.org") for n, one in enumerate(accounts)]
    addresses = office.parts.access.mails.addresses
    office.add()
    addresses.set(homes[0], "new@example.org", "en")
    addresses.set_notices(homes[1], wanted=False)
    addresses.remove(homes[4])
    higher = update(ACCOUNTS).where(ACCOUNTS.c.id == accounts[2]).values(session_number=2)
    office.registry.database.change(higher)  # As another holder's consent does.
    office.desk.send_due()
    assert sorted(office.mailed_to()) == ["home3@example.org", "new@example.org"]
    assert office.states() == [RecipientState.CHOSEN] * 3 + [RecipientState.MAILED] * 2


def test_a_bug_in_one_mail_ends_only_the_round_and_quotes_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.household(office.account(1))
    campaign, _ = office.add()
    with monkeypatch.context() as patch:
        patch.setattr(CampaignDesk, "_compose", lambda *_: int(ANNE))
        assert office.desk.send_due() is False
    (row,) = office.desk.left_rows(campaign.id)
    assert (row.error, row.state) == ("ValueError", RecipientState.CHOSEN)


def test_a_store_that_is_away_from_campaigns_stops_no_notice(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def send_due(stop: threading.Event) -> bool:
        calls.append("campaigns")
        if len(calls) == 2:
            raise StoreUnavailable("away")
        return len(calls) == 4

    monkeypatch.setattr(web_server, "_NOTICES_EVERY_S", 0.01)
    monkeypatch.setattr(web_server, "deliver_household_notices", lambda sender: calls.append("notices"))
    access = replace(office.parts.access, campaigns=SimpleNamespace(send_due=send_due))
    with web_server.mailing_notices(office.parts.stores, access):
        until(lambda: len(calls) >= 8, "four turns")
    assert calls[:8] == ["notices", "campaigns"] * 4
