"""Inviting by the command line: who may be invited, what is printed, the mail, and what is never logged."""

from __future__ import annotations

import getpass
import json
import logging
import re
from collections.abc import Iterator

import pytest

import tasks.upkeep
from config.settings import UP_ADDRESS
from tests.support.installation import Installation
from tests.support.mail_server import mail_receiver, mail_url
from tests.support.parts import Parts, use_parts
from tests.support.registries import close_account
from worker.accounts.invitations import MeterHasAccount, MeterHasNoAccount, NoMailService
from worker.domain.account import AccountState
from worker.domain.invitation import INVITATION_LIFE
from worker.errors import UnknownAccount
from worker.ops.supervisor import PartPlan
from worker.runtime.consent_parts import build_inviter, erase
from worker.stores.child_processes import free_port

METER, OTHER_METER = "30001640000011", "30001640000022"
LINK = re.compile(r"https://releve\.example/invitation#invite_[a-z0-9]{12}_[\w-]{43}")


@pytest.fixture
def house(installation: Installation) -> Installation:
    return installation.but(public_url="https://releve.example")


@pytest.fixture
def parts(house: Installation) -> Iterator[Parts]:
    with house.open() as parts:
        yield parts


def add(parts: Parts, meter: str = METER) -> str:
    return parts.stores.registry.accounts.add("enedis", meter, parts.stores.now(), token_needed=False)[0].id


# Where a link leads to


def test_the_link_leads_to_where_releve_up_serves_unless_the_address_is_set(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setattr(PartPlan, "replace_process", lambda plan, env: None)
    installation.releve("up", "--port", str(port), "--flower-port", "0")
    with installation.open() as parts:
        account = add(parts)
    link = installation.query("invite", account)["link"]
    assert link.startswith(f"http://127.0.0.1:{port}/invitation#")
    assert f"links lead to http://127.0.0.1:{port}" in installation.run("doctor", pretend_now="").out
    told = installation.query("invite", account, public_url="https://releve.example")["link"]
    assert told.startswith("https://releve.example/invitation#")


@pytest.mark.parametrize("kept", ["", "javascript:alert(1)", "\x00\xff"])
def test_an_address_that_is_none_is_not_used(installation: Installation, kept: str) -> None:
    (installation.folder / UP_ADDRESS).write_text(kept, encoding="utf-8")
    assert installation.read_settings().public_url == "http://127.0.0.1:8000"


# Who is invited


def test_the_link_of_an_invitation_finds_it_and_names_who_vouches(parts: Parts) -> None:
    account = add(parts)
    for invitation, link in (
        build_inviter(parts.stores).invite_account(account, "Alice"),
        build_inviter(parts.stores).invite_meter("enedis", OTHER_METER, "Alice"),
        build_inviter(parts.stores).invite_meter("enedis", METER, "Alice", new_holder=True),
    ):
        assert LINK.fullmatch(link)
        assert parts.stores.registry.invitations.find(link.partition("#")[2]) == invitation
        assert (invitation.created_by, invitation.supplier) == ("Alice", "enedis")
    purposes = {
        (one.purpose, one.account_id, one.usage_point_id)
        for one in parts.stores.registry.invitations.list_invitations()
    }
    assert purposes == {("account", account, None), ("meter", None, OTHER_METER), ("new_holder", None, METER)}


def test_a_meter_with_an_account_needs_the_word_that_its_holder_is_new_and_one_without_refuses_it(
    parts: Parts,
) -> None:
    account = add(parts)
    with pytest.raises(MeterHasAccount, match=rf"`releve invite {account}`.*--new-holder") as error:
        build_inviter(parts.stores).invite_meter("enedis", METER, "x")
    assert error.value.account_id == account
    assert METER not in str(error.value)
    with pytest.raises(MeterHasNoAccount, match="leave out --new-holder") as refused:
        build_inviter(parts.stores).invite_meter("enedis", OTHER_METER, "x", new_holder=True)
    assert OTHER_METER not in str(refused.value)
    assert parts.stores.registry.invitations.list_invitations() == []


@pytest.mark.parametrize("state", [AccountState.PAUSED, AccountState.ACTION_NEEDED])
def test_an_account_that_waits_still_has_its_meter(parts: Parts, state: AccountState) -> None:
    account = add(parts)
    reason = "LOGIN_FAILED" if state is AccountState.ACTION_NEEDED else ""
    parts.stores.registry.accounts.set_state(account, state, reason, now=parts.stores.now())
    with pytest.raises(MeterHasAccount):
        build_inviter(parts.stores).invite_meter("enedis", METER, "x")


def test_a_removed_account_is_not_invited_and_its_meter_is_free(parts: Parts) -> None:
    account = add(parts)
    erase(parts.stores, account)
    with pytest.raises(UnknownAccount):
        build_inviter(parts.stores).invite_account(account, "x")
    build_inviter(parts.stores).invite_meter("enedis", METER, "x")


def test_the_erasure_of_an_account_ends_its_invitation(parts: Parts) -> None:
    account = add(parts)
    _, link = build_inviter(parts.stores).invite_account(account, "x")
    erase(parts.stores, account)
    assert parts.stores.registry.invitations.open(link.partition("#")[2], "a" * 64) is None


def test_upkeep_deletes_invitations_a_week_after_their_end(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    use_parts(monkeypatch, parts)
    created_at = build_inviter(parts.stores).invite_meter("enedis", METER, "x")[0].created_at
    gone_at = created_at + INVITATION_LIFE + tasks.upkeep.KEEP_INVITATIONS
    for now, left in ((gone_at, 1), (gone_at.replace(year=gone_at.year + 1), 0)):
        monkeypatch.setattr(tasks.upkeep, "real_clock", lambda now=now: now)
        tasks.upkeep.expire_consents()
        assert len(parts.stores.registry.invitations.list_invitations()) == left


# The command


def test_invite_prints_the_link_alone_on_its_output(house: Installation, parts: Parts) -> None:
    account = add(parts)
    result = house.releve("invite", account)
    assert LINK.fullmatch(result.out.strip())
    (invitation,) = parts.stores.registry.invitations.list_invitations()
    assert f"invitation {invitation.id}" in result.err
    assert "invite_" not in result.err
    assert invitation.created_by == f"cli:{getpass.getuser()}"


def test_invite_answers_programs_in_json(house: Installation, parts: Parts) -> None:
    account = add(parts)
    body = house.query("invite", account)
    (invitation,) = parts.stores.registry.invitations.list_invitations()
    assert LINK.fullmatch(body["link"])
    assert body == {
        "invitation": invitation.id,
        "link": body["link"],
        "expires_at": invitation.expires_at.isoformat().replace("+00:00", "Z"),
        "account": account,
        "mailed": False,
    }
    assert house.query("invite", "--usage-point", OTHER_METER)["account"] is None


@pytest.mark.parametrize(
    "words, code, fault",
    [
        ((), 2, "give one ACCOUNT, or --usage-point"),
        (("k3q7d0fr2mxx", "--usage-point", METER), 2, "give one ACCOUNT, or --usage-point"),
        (("k3q7d0fr2mxx", "--new-holder"), 2, "--new-holder needs --usage-point"),
        (("--usage-point", "123"), 2, "14 digits"),
        (("--usage-point", OTHER_METER, "--mail", "nobody"), 2, "name@example.org"),
        (("--usage-point", OTHER_METER, "--mail", "a@example.org\nBcc: b@example.org"), 2, "name@example.org"),
        (("--usage-point", OTHER_METER, "--mail", "a@example.org"), 1, "no mail service"),
        (("k3q7d0fr2mxx",), 1, "releve accounts list"),
        (("--usage-point", METER), 1, "for another person, give --new-holder"),
        (("--usage-point", OTHER_METER, "--new-holder"), 1, "leave out --new-holder"),
    ],
)
def test_what_cannot_be_invited_is_refused_in_one_line(
    house: Installation, parts: Parts, words: tuple[str, ...], code: int, fault: str
) -> None:
    add(parts)
    result = house.run("invite", *words)
    assert (result.code, result.out) == (code, "")
    assert fault in result.error_line
    assert METER not in result.err and OTHER_METER not in result.err
    assert parts.stores.registry.invitations.list_invitations() == []


def test_invitations_are_listed_without_secret_and_number_and_revoked(house: Installation, parts: Parts) -> None:
    account = add(parts)
    link = house.query("invite", account)["link"]
    house.releve("invite", "--usage-point", OTHER_METER)
    for_meter, for_account = house.query_rows("consents", "--invitations")
    assert (for_meter["usage_point"], for_meter["account"], for_meter["state"]) == ("…0022", None, "sent")
    assert (for_account["usage_point"], for_account["account"]) == (None, account)
    table = house.releve("consents", "--invitations").out
    assert for_account["invitation"] in table and account in table
    for text in (table, json.dumps([for_meter, for_account])):
        assert "invite_" not in text and OTHER_METER not in text
    assert "is revoked" in house.releve("consents", "revoke", for_account["invitation"]).out
    assert "is revoked" in house.releve("consents", "revoke", for_account["invitation"]).out
    assert [one["invitation"] for one in house.query_rows("consents", "--invitations", "--open")] == [
        for_meter["invitation"]
    ]
    assert parts.stores.registry.invitations.open(link.partition("#")[2], "a" * 64) is None
    refused = house.run("consents", "revoke", link)
    assert refused.code == 1
    assert link not in refused.error_line


def test_a_used_invitation_is_not_said_to_be_revoked(house: Installation, parts: Parts) -> None:
    invitation, link = build_inviter(parts.stores).invite_account(add(parts), "x")
    assert parts.stores.registry.invitations.open(link.partition("#")[2], "browser")
    with parts.stores.registry.database.writing() as connection:
        assert parts.stores.registry.invitations.use(connection, invitation.id)
    assert house.releve("consents", "revoke", invitation.id).out == f"invitation {invitation.id} was already used\n"


# The mail


def test_the_link_is_mailed_in_french_and_english_to_this_address_alone(house: Installation) -> None:
    with mail_receiver() as box:
        url = mail_url(box, more="&cc=copy@example.org&bcc=blind@example.org")
        house = house.but(notify_url=f"ntfys://tk@ntfy.example/topic {url}")
        body = house.query("invite", "--usage-point", OTHER_METER, "--mail", "holder@example.net")
    assert body["mailed"] is True
    (letter,) = box.messages
    assert (letter["From"], letter["To"], letter["Cc"]) == ("releve@example.org", "holder@example.net", None)
    assert box.recipients == [["holder@example.net"]]
    assert letter["Subject"] == "Relève : votre invitation / your invitation"
    assert letter.get_all("Message-ID") == [f"<{body['invitation']}@example.org>"]
    text = letter.get_content()
    assert [line for line in text.splitlines() if "#" in line] == [body["link"]] * 2
    assert text.index("Voici votre invitation à relier") < text.index("This is your invitation to connect")
    assert OTHER_METER not in letter.as_string()


def test_the_mail_says_what_an_invitation_to_an_account_is_for(house: Installation, parts: Parts) -> None:
    account = add(parts)
    with mail_receiver() as box:
        house = house.but(notify_url=mail_url(box))
        house.releve("invite", account, "--mail", "holder@example.net")
        close_account(parts.stores.registry.consents, account, parts.stores.now())
        house.releve("invite", account, "--mail", "holder@example.net")
    again, history = (letter.get_content() for letter in box.messages)
    assert "Votre historique est conservé" in again and "renew your consent" in again
    assert "aucun consentement n’est nécessaire" in history and "the history of your former Linky meter" in history


def test_a_mail_that_is_not_taken_leaves_the_link_and_says_so(house: Installation) -> None:
    with mail_receiver() as box:
        box.refusal = "550 no such user"
        house = house.but(notify_url=mail_url(box))
        result = house.run("invite", "--usage-point", OTHER_METER, "--mail", "holder@example.net", "--json")
    assert result.code == 1
    assert json.loads(result.out)["mailed"] is False
    assert "the mail could not be sent (status 550): send the link yourself" in result.err
    assert "holder@" not in result.err


def test_the_first_service_of_notices_need_not_be_the_mail(house: Installation) -> None:
    with house.open(notify_url="ntfys://tk@ntfy.example/topic") as parts:
        assert not build_inviter(parts.stores).sends_mail
        with pytest.raises(NoMailService, match="RELEVE_NOTIFY_URL"):
            build_inviter(parts.stores).check_mail()


def test_neither_secret_nor_address_nor_number_is_logged_or_stored(
    house: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    with mail_receiver() as box, house.open(notify_url=mail_url(box)) as parts, caplog.at_level(logging.DEBUG):
        invitation, link = build_inviter(parts.stores).invite_meter("enedis", OTHER_METER, "Alice")
        assert build_inviter(parts.stores).mail(invitation, link, "holder@example.net") is None
    (line,) = [record for record in caplog.records if record.message == "invitation created"]
    told = {"purpose": "meter", "account_id": None, "tenant": "default", "by": "Alice"}
    assert line.fields == {"id": invitation.id, **told}
    logged = "".join(
        f"{record.getMessage()}{record.__dict__}" for record in caplog.records if record.name.startswith("releve")
    )
    secret = link.split("_", 2)[2]
    stored = b"".join(file.read_bytes() for file in house.folder.iterdir() if file.name.startswith("registry.db"))
    for word in (secret, OTHER_METER, "holder@example.net"):
        assert word not in logged
        assert word.encode() not in stored
