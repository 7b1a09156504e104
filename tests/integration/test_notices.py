"""Delivery of notices: by a webhook that fails at first, by services, and to the log."""

from __future__ import annotations

import hashlib
import hmac
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

import tasks.upkeep
from config.settings import ConfigError, Settings
from tests.support.canned_server import CUT, SILENT, answer, canned_server
from tests.support.certificates import Certificates
from tests.support.factories import NOW, window_job
from tests.support.installation import Installation
from tests.support.mail_server import mail_receiver, mail_url
from tests.support.parts import Parts, use_parts
from tests.support.registries import deliver_due, record_consent
from worker.accounts.notice_channels import NoticeChannels, NoticeMessage, NotifyService, Webhook, compose_message
from worker.clients.http_calls import SIGNATURE_HEADER
from worker.domain.account import DEFAULT_TENANT, AccountState
from worker.domain.consents import ConsentKind
from worker.domain.networks import parse_networks
from worker.domain.notice import Notice, NoticeKind
from worker.domain.retry import NOTICE_DELAYS
from worker.domain.series import Series
from worker.domain.sessions import KeyKind
from worker.domain.windows import DateWindow
from worker.errors import HolderChanged, NotDelivered, RefreshTokenDead
from worker.runtime.consent_parts import build_notice_sender, erase
from worker.runtime.sync_parts import build_channels
from worker.stores.registry.api_tokens import WebhookTarget
from worker.stores.registry.notices import build_notices
from worker.texts import format_day

METER = "30001640000011"
SECRET = "between us and the receiver of webhooks"
OUTDATED = "USER_ACTION_NEEDED.OAUTH_OUTDATED"
TAKEN, REDIRECT = answer(204, ""), answer(302, "", Location="/elsewhere")


@pytest.fixture
def open_parts(installation: Installation) -> Callable[..., Any]:
    """Return a function that opens a parts with the given settings, on an empty Redis."""
    return installation.but(public_url="https://releve.example").open


def add(parts: Parts, meter: str = METER, tenant: str = DEFAULT_TENANT) -> str:
    return parts.stores.registry.accounts.add("enedis", meter, parts.stores.now(), token_needed=False, tenant=tenant)[
        0
    ].id


def suspend(parts: Parts, meter: str = METER, tenant: str = DEFAULT_TENANT) -> str:
    account = add(parts, meter, tenant)
    window = DateWindow(NOW.date() - timedelta(days=30), NOW.date())
    parts.sync.results.record_failure(window_job(window, Series.DAILY, account), RefreshTokenDead("dead"))
    assert parts.stores.registry.accounts.get(account).state is AccountState.ACTION_NEEDED
    return account


def signed_by_us(headers: dict[str, str], body: bytes, secret: str = SECRET) -> bool:
    """Check the signature in the way that the docs describe for a receiver."""
    fields = dict(part.split("=", 1) for part in headers[SIGNATURE_HEADER.lower()].split(","))
    mac = hmac.new(secret.encode(), f"{fields['t']}.".encode() + body, hashlib.sha256)
    return hmac.compare_digest(mac.hexdigest(), fields["v1"]) and abs(time.time() - int(fields["t"])) < 60


def message() -> NoticeMessage:
    notice = Notice("n1", "k3q7d0fr2mxx", NoticeKind.ACTION_NEEDED, OUTDATED, "2024-08-01", "mail", NOW, NOW)
    return compose_message(notice)


# The webhook


def test_an_account_set_aside_reaches_the_webhook_through_all_its_failures(
    open_parts: Any, caplog: pytest.LogCaptureFixture
) -> None:
    script = (answer(500, ""), SILENT, CUT, REDIRECT, answer(404, ""), TAKEN)
    with (
        canned_server(*script) as receiver,
        open_parts(webhook_url=receiver.url, webhook_secret=SECRET) as parts,
    ):
        account, at = suspend(parts), parts.stores.now()
        webhook = Webhook(receiver.url, SECRET, timeouts_s=(1.0, 0.3))
        sender = replace(
            build_notice_sender(parts.stores), channels=NoticeChannels(of_settings={"webhook": webhook}), now=lambda: at
        )
        with caplog.at_level(logging.INFO):
            for number, wait in enumerate(NOTICE_DELAYS[:5]):
                assert (deliver_due(sender), deliver_due(sender)) == (0, 0)
                (notice,) = parts.stores.registry.notices.list_for_account(account)
                assert notice.attempts == len(receiver.requests) == number + 1
                at += wait
            assert (deliver_due(sender), deliver_due(sender)) == (1, 0)
        assert receiver.bodies == receiver.bodies[:1] * 6
        assert all(map(signed_by_us, receiver.headers, receiver.bodies))
        assert not signed_by_us(receiver.headers[0], receiver.bodies[0], secret="another")
        (notice,) = parts.stores.registry.notices.list_for_account(account)
        assert (notice.delivered_at, notice.attempts, notice.last_error) == (at, 6, "")
        body = receiver.requests[-1][2]
        assert (body["id"], body["account"], body["kind"], body["reason"]) == (
            notice.id,
            account,
            "action_needed",
            OUTDATED,
        )
        assert set(body["what_to_do"]) == {"fr", "en"}
        assert body["new_consent_helps"] is True
        assert "releve.example" not in receiver.bodies[-1].decode()  # It carries no link: one would open the account.
        for secret in (METER, SECRET, receiver.url):
            assert secret not in caplog.text
    words = [record.fields["reason"] for record in caplog.records if record.message == "notice not taken"]
    assert words == [
        f"webhook: {what}" for what in ("status 500", "ReadTimeout", "ConnectionError", "status 302", "status 404")
    ]


def test_a_notice_that_nobody_takes_is_given_up_after_eight_attempts_with_a_line(
    open_parts: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        canned_server(*[answer(503, "")] * 20) as receiver,
        open_parts(webhook_url=receiver.url, webhook_secret=SECRET) as parts,
    ):
        account, at = suspend(parts), parts.stores.now()
        sender = replace(build_notice_sender(parts.stores), now=lambda: at)
        for _ in range(12):
            assert deliver_due(sender) == 0
            at += timedelta(days=1)
        assert len(receiver.requests) == 8
        lines = [record for record in caplog.records if "given up" in record.getMessage()]
        assert [(line.levelno, line.fields["account_id"]) for line in lines] == [(logging.ERROR, account)]
        assert [notice.delivered_at for notice in parts.stores.registry.notices.list_for_account(account)] == [None]


def test_a_receiver_that_is_not_there_costs_an_attempt_and_tells_no_address() -> None:
    with pytest.raises(NotDelivered, match=r"^webhook: ConnectionError$"):
        Webhook("http://127.0.0.1:9/path-that-is-a-secret", SECRET).send(message())
    assert "path-that-is-a-secret" not in repr(Webhook("http://127.0.0.1:9/path-that-is-a-secret", SECRET))
    assert SECRET not in repr(Webhook("http://127.0.0.1:9/", SECRET))


def test_the_tasks_publish_what_is_due_and_each_message_sends_once(
    open_parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with canned_server(TAKEN) as receiver, open_parts(webhook_url=receiver.url, webhook_secret=SECRET) as parts:
        suspend(parts)
        use_parts(monkeypatch, parts)
        published: list[str] = []
        monkeypatch.setattr(tasks.upkeep.deliver_notice, "delay", published.append)
        tasks.upkeep.deliver_due_notices()
        assert len(published) == 1
        for notice_id in published * 2:  # Every message may be delivered twice.
            tasks.upkeep.deliver_notice(notice_id)
        assert len(receiver.requests) == 1
        tasks.upkeep.deliver_due_notices()
        assert len(published) == 1


def test_a_tenants_notices_go_to_its_own_webhook_and_never_to_the_default_tenants(
    open_parts: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        canned_server(*[TAKEN] * 3) as ours,
        canned_server(*[TAKEN] * 3) as theirs,
        open_parts(webhook_url=ours.url, webhook_secret=SECRET) as parts,
    ):
        for tenant in ("kilowatt", "silent"):
            parts.stores.registry.tenants.save(tenant, tenant.title())
        parts.stores.registry.tenants.save_webhook("kilowatt", WebhookTarget(theirs.url, "between them and us"))
        numbers = {DEFAULT_TENANT: METER, "kilowatt": "30001640000022", "silent": "30001640000033"}
        accounts = {tenant: suspend(parts, number, tenant) for tenant, number in numbers.items()}
        parts.stores.registry.notices.insert_new([notice_to_the_operator(parts)])
        assert deliver_due(build_notice_sender(parts.stores)) == 4
        assert [body["account"] for _, _, body in theirs.requests] == [accounts["kilowatt"]]
        assert {body["account"] for _, _, body in ours.requests} == {accounts[DEFAULT_TENANT], None}
        assert signed_by_us(theirs.headers[0], theirs.bodies[0], secret="between them and us")
        (logged,) = [record for record in caplog.records if record.getMessage().startswith("notice: ")]
        assert logged.fields["account_id"] == accounts["silent"]
        assert all(secret not in caplog.text for secret in (theirs.url, "between them and us"))
        assert [notice.attempts for notice in parts.stores.registry.notices.list_for_account(accounts["silent"])] == [1]


def notice_to_the_operator(parts: Parts) -> Notice:
    """Return a notice to the operator."""
    (notice,) = build_notices(
        build_channels(parts.stores.settings, parts.stores.registry.tenants).names(),
        NoticeKind.INCIDENT,
        "outage",
        "x",
        parts.stores.now(),
    )
    return notice


# Notices that are outdated


@pytest.mark.parametrize("change", ["renewed", "resumed", "removed"])
def test_what_is_no_longer_true_is_not_told(open_parts: Any, change: str) -> None:
    with canned_server(TAKEN) as receiver, open_parts(webhook_url=receiver.url, webhook_secret=SECRET) as parts:
        account = suspend(parts)
        if change == "renewed":
            add(parts)
            record_consent(parts.stores.registry.consents, account, ConsentKind.USAGE_POINT, parts.stores.now())
        elif change == "resumed":
            parts.stores.registry.accounts.set_state(account, AccountState.READY, now=parts.stores.now())
        else:
            erase(parts.stores, account)
        assert deliver_due(build_notice_sender(parts.stores)) == 0
        assert (receiver.requests, parts.stores.registry.notices.list_for_account(account)) == ([], [])


def test_a_reminder_tells_the_day_and_what_helps(open_parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with canned_server(TAKEN) as receiver, open_parts(webhook_url=receiver.url, webhook_secret=SECRET) as parts:
        account = add(parts)
        ends = (NOW + timedelta(days=20)).date()
        record_consent(
            parts.stores.registry.consents, account, ConsentKind.USAGE_POINT, parts.stores.now(), consent_until=ends
        )
        use_parts(monkeypatch, parts)
        for _ in range(3):
            tasks.upkeep.create_consent_reminders()
        assert deliver_due(build_notice_sender(parts.stores)) == 1
        body = receiver.requests[0][2]
        assert (body["kind"], body["about"], body["account"]) == ("consent_ends_30", ends.isoformat(), account)
        assert all(format_day(ends, language) in words for language, words in body["what_to_do"].items())
        assert body["new_consent_helps"] is True


def test_a_storm_is_told_to_the_operator_without_an_account(open_parts: Any) -> None:
    with canned_server(TAKEN) as receiver, open_parts(webhook_url=receiver.url, webhook_secret=SECRET) as parts:
        for number in range(10):
            parts.sync.refusals.record_refusal(add(parts, f"{30001640000000 + number}"), HolderChanged("moved"))
        assert deliver_due(build_notice_sender(parts.stores)) == 1
        body = receiver.requests[0][2]
        assert (body["kind"], body["account"], body["new_consent_helps"]) == ("incident", None, False)
        assert body["reason"] == "holder"


def test_without_any_channel_the_log_has_it(open_parts: Any, caplog: pytest.LogCaptureFixture) -> None:
    with open_parts() as parts, caplog.at_level(logging.WARNING, "releve.notices"):
        account = suspend(parts)
        assert deliver_due(build_notice_sender(parts.stores)) == 1
        (line,) = [line for line in caplog.records if line.message.startswith("notice: ")]
        assert (line.fields["kind"], line.fields["account_id"]) == ("action_needed", account)


# Services by their apprise URL


@pytest.mark.parametrize(
    "language, subject, words, other",
    [
        ("fr", "Relève : une action est nécessaire pour un compte", "doit le donner de nouveau", "must give it again"),
        ("en", "Relève: an account needs action", "must give it again", "doit le donner de nouveau"),
    ],
)
def test_d16_an_operators_mail_is_in_one_language_and_says_how_to_invite_the_holder(
    open_parts: Any, language: str, subject: str, words: str, other: str
) -> None:
    with mail_receiver() as box, open_parts(notify_url=mail_url(box), notify_language=language) as parts:
        account = suspend(parts)
        assert deliver_due(build_notice_sender(parts.stores)) == 1
        (notice,) = parts.stores.registry.notices.list_for_account(account)
    (letter,) = box.messages
    assert (letter["From"], letter["To"]) == ("releve@example.org", "support@example.org")
    assert letter["Subject"] == f"{subject} ({account})"
    assert letter.get_all("Message-ID") == [f"<{notice.id}@example.org>"]
    assert letter["Auto-Submitted"] == "auto-generated"
    text = letter.get_content()
    assert words in text and other not in text
    assert text.count(f"`releve invite {account}`") == 1
    assert "://" not in text
    assert notice.id in text
    assert METER not in letter.as_string()


def test_each_service_has_its_own_tries_and_no_key_of_one_is_logged(
    open_parts: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with canned_server(answer(401, ""), answer(200, "")) as receiver, mail_receiver() as box:
        ntfy = receiver.url.replace("http://", "ntfy://tk_canary_secret@") + "topic-canary"
        urls = f"{ntfy} {mail_url(box)} {mail_url(box)}"
        with open_parts(notify_url=urls) as parts, caplog.at_level(logging.DEBUG):
            account, at = suspend(parts), parts.stores.now()
            sender = replace(build_notice_sender(parts.stores), now=lambda: at)
            assert deliver_due(sender) == 2
            at += NOTICE_DELAYS[0]
            assert deliver_due(sender) == 1
            notices = parts.stores.registry.notices.list_for_account(account)
    attempts = sorted((notice.channel, notice.attempts) for notice in notices)
    assert attempts == [("mailto", 1), ("mailto-2", 1), ("ntfy", 2)]
    assert (len(box.messages), len(receiver.requests)) == (2, 2)
    assert "doit le donner de nouveau" in receiver.requests[1][2]["message"]
    words = [record.fields["reason"] for record in caplog.records if record.message == "notice not taken"]
    assert words == ["ntfy: status 401"]
    # The library's own lines go nowhere; pytest alone listens there.
    assert not logging.getLogger("apprise").propagate
    ours = [record for record in caplog.records if record.name != "apprise"]
    assert not [record for record in ours if "canary" in f"{record.getMessage()}{record.__dict__.get('fields')}"]


def test_a_refused_letter_is_tried_again_and_a_redirect_not_followed() -> None:
    with mail_receiver() as box, canned_server(REDIRECT) as receiver:
        box.refusal = "550 no such user"
        ntfy = receiver.url.replace("http://", "ntfy://") + "topic"
        away = "mailto://127.0.0.1:9?from=a@example.org&to=b@example.org"
        for url, fault in ((mail_url(box), "status 550"), (away, "not accepted"), (ntfy, "status 302")):
            with pytest.raises(NotDelivered, match=f"^it: {fault}$"):
                NotifyService("it", url).send(message())
        assert len(receiver.requests) == 1
    assert "127.0.0.1" not in repr(NotifyService("it", away))


@pytest.mark.parametrize("mode", ["starttls", "ssl"])
def test_a_password_travels_only_over_tls(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    context = certificates.server_context()
    how: dict[str, Any] = {"starttls": context} if mode == "starttls" else {"implicit": context}
    with mail_receiver(**how, logins=True) as box:
        mail = NotifyService("mailtos", mail_url(box, "mailtos", "us%40x:p%3Aw@", f"&mode={mode}"))
        with pytest.raises(NotDelivered, match=r"^mailtos: not accepted$"):  # The certificate isn't trusted.
            mail.send(message())
        assert box.logins == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
        mail.send(message())
    assert [(user, password) for user, password, _ in box.logins] == [("us@x", "p:w")]
    assert len(box.messages) == 1


def test_a_password_is_not_sent_to_a_server_without_tls() -> None:
    with mail_receiver(logins=True) as box:
        with pytest.raises(NotDelivered, match=r"^mailtos: not accepted$"):
            NotifyService("mailtos", mail_url(box, "mailtos", "user:pw@")).send(message())
        assert (box.logins, box.messages) == ([], [])


# Settings


@pytest.mark.parametrize(
    "settings, fault",
    [
        ({"webhook_url": "https://hook.example"}, "RELEVE_WEBHOOK_SECRET"),
        ({"notify_url": "mail.example:25"}, "RELEVE_NOTIFY_URL: needs apprise URLs"),
        (
            {"notify_url": "mailtos://user:canary@mail.example:x?to=a@example.org"},
            "RELEVE_NOTIFY_URL: needs apprise URLs",
        ),
        ({"notify_url": "mailtos://user:canary@mail.example?to=nobody"}, "RELEVE_NOTIFY_URL: the recipient is missing"),
        ({"notify_url": "mailto://user:canary@mail.example?to=a@example.org"}, "RELEVE_NOTIFY_URL: .* needs TLS"),
        # D16: of these kinds alone, and in a private network only where the operator has named it.
        ({"notify_url": "json://hook.example/canary"}, "RELEVE_NOTIFY_URL: needs apprise URLs .* of the kinds mailto"),
        ({"notify_url": "https://ntfy.sh/canary"}, "RELEVE_NOTIFY_URL: needs apprise URLs"),
        *(
            ({"notify_url": url}, "RELEVE_NOTIFY_URL: a service in a private network .* RELEVE_WEBHOOK_NETWORKS")
            for url in (
                "ntfy://10.1.2.3/canary",
                "ntfys://[fe80::1]/canary",
                "ntfy://127.0.0.1/canary",
                "ntfy://localhost/canary",
                "matrix://canary@169.254.169.254/#room",
                "matrixs://canary@matrix.internal/#room",
                "mailto://mail.example?smtp=192.168.0.9&from=a@example.org&to=b@example.org",
                "mailto://relay?from=a@example.org&to=b@example.org",
            )
        ),
        ({"notify_url": "ntfy://10.1.2.3/canary", "webhook_networks": "10.9.0.0/16"}, "RELEVE_NOTIFY_URL: a service"),
        ({"webhook_url": "ftp://hook.example", "webhook_secret": SECRET}, "RELEVE_WEBHOOK_URL"),
        ({"webhook_url": "http://hook.example", "webhook_secret": SECRET}, "RELEVE_WEBHOOK_URL: needs https"),  # L6
        (
            {"webhook_url": "https://hook.example", "webhook_secret": "s"},
            "RELEVE_WEBHOOK_URL: the secret needs at least 32",
        ),
        ({"webhook_networks": "10.1.0.0/99"}, "RELEVE_WEBHOOK_NETWORKS: needs networks"),
    ],
)
def test_half_a_setting_is_refused_with_what_is_missing(settings: dict[str, str], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault) as refused:
        Settings.from_env(_env_file=None, **settings)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    "url, networks",
    [
        ("ntfy://topic", ""),
        ("ntfys://ntfy.example/topic", ""),
        ("tgram://12345678:abcdefghijklmnopqrstuvwxyzABCDEFGHI/9/", ""),
        ("matrixs://user:pw@matrix.example/#room", ""),
        ("mailtos://user:pw@gmail.com?to=a@example.org", ""),
        ("ntfy://10.1.2.3/topic", "10.1.0.0/16"),
        ("mailto://localhost?from=a@example.org&to=b@example.org", "127.0.0.0/8,::1/128"),
    ],
)
def test_d16_public_services_are_taken_and_private_ones_of_a_named_network(url: str, networks: str) -> None:
    assert Settings.from_env(_env_file=None, notify_url=url, webhook_networks=networks).notify_urls() == [url]


def test_d16_a_name_that_leads_into_a_private_network_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    with canned_server(answer(200, "")) as receiver:
        port = int(receiver.url.rstrip("/").rpartition(":")[2])
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        service = NotifyService("ntfy", f"ntfy://ntfy.example:{port}/topic")
        with pytest.raises(NotDelivered, match=r"^ntfy: an address in a private network: see RELEVE_WEBHOOK_NETWORKS$"):
            service.send(message())
        assert receiver.requests == []
        replace(service, networks=parse_networks("127.0.0.0/8")).send(message())
        assert len(receiver.requests) == 1


def test_two_web_processes_of_one_data_folder_know_the_same_sessions(open_parts: Any, tmp_path: Path) -> None:
    with open_parts() as one, open_parts() as other:
        assert not (tmp_path / "session.key").exists(), "a process that opens no session makes no key"
        key, text = one.access.keys.create(KeyKind.HOUSEHOLD_SESSION, "owner")
        assert other.access.keys.find(KeyKind.HOUSEHOLD_SESSION, text) == key
    assert (tmp_path / "session.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("key", ["short", "a" * 64])
def test_a_session_key_that_can_be_guessed_is_refused(open_parts: Any, key: str) -> None:
    with (
        open_parts(session_key=key) as parts,
        pytest.raises(ConfigError, match=r"RELEVE_SESSION_KEY: .*key") as caught,
    ):
        _ = parts.access
    assert key not in str(caught.value)


# API tokens (L8)


def test_l8_the_operator_is_told_once_of_each_token_that_ends_soon(
    open_parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with canned_server(TAKEN) as receiver, open_parts(webhook_url=receiver.url, webhook_secret=SECRET) as parts:
        token, text = parts.stores.registry.api_tokens.create("dashboard", ["read:accounts"], timedelta(days=13))
        parts.stores.registry.api_tokens.create("later", ["read:accounts"], timedelta(days=15), tenant="kilowatt")
        parts.stores.registry.api_tokens.create("of before", ["read:accounts"])
        use_parts(monkeypatch, parts)
        for _ in range(2):
            tasks.upkeep.create_consent_reminders()
            deliver_due(build_notice_sender(parts.stores))
        assert len(receiver.requests) == 1
        body = receiver.requests[0][2]
        assert (body["kind"], body["account"], body["new_consent_helps"]) == ("token_ends", None, False)
        assert body["about"].startswith(f"{token.id}@")
        day = body["about"].rpartition("@")[2]
        ends_on = date.fromisoformat(day)
        assert all(
            token.id in what and format_day(ends_on, language) in what for language, what in body["what_to_do"].items()
        )
        assert text.split("_", 2)[2] not in str(body)
