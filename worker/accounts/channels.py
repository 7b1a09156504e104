"""The channels of notices: a signed webhook, e-mail, or the log if neither is set up.

Each tries once, within its time-outs, and raises NotDelivered with a reason that contains no secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import smtplib
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

import requests

from worker.accounts.notice_texts import Message
from worker.errors import NotDelivered
from worker.logs import fields

log = logging.getLogger("releve.notices")

SIGNATURE_HEADER: Final = "X-Releve-Signature"
_TIMEOUTS_S: Final = (5.0, 15.0)
_SUBMISSION_PORT: Final = 587  # Mail submission begins in the clear and turns to TLS (RFC 6409).
_SMTPS_PORT: Final = 465  # Mail submission uses TLS from the first byte (RFC 8314).


def sign_body(secret: str, unix_time_s: int, body: bytes) -> str:
    """Return the signature header: ``t=1721898000,v1=9f86d0…``.

    ``v1`` is the HMAC-SHA256 of ``<t>.<body>`` in hex. The receiver computes it again, compares in constant time and
    refuses an old ``t``.
    """
    # The time is part of the signed bytes, so nobody can send a recorded request again under a new time.
    mac = hmac.new(secret.encode(), f"{unix_time_s}.".encode() + body, hashlib.sha256)
    return f"t={unix_time_s},v1={mac.hexdigest()}"


@dataclass(frozen=True)
class Webhook:
    """A signed POST request with a JSON body; only a 2xx status counts as delivered."""

    url: str = field(repr=False)  # The path may be a secret of the receiver.
    secret: str = field(repr=False)
    timeouts_s: tuple[float, float] = _TIMEOUTS_S
    clock: Callable[[], float] = time.time  # The real clock, because receivers compare the time with theirs.

    def send(self, message: Message) -> None:
        body = json.dumps(message.to_json(), ensure_ascii=False, separators=(",", ":")).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Releve",
            SIGNATURE_HEADER: sign_body(self.secret, int(self.clock()), body),
        }
        try:
            # A redirect would send the renewal link to another host. The body of the answer is not needed, so the
            # request streams and does not read it.
            with requests.post(
                self.url, data=body, headers=headers, timeout=self.timeouts_s, allow_redirects=False, stream=True
            ) as answer:
                status = answer.status_code
        except requests.RequestException as error:
            # The text of the error may quote the address, which may contain a secret.
            raise NotDelivered(f"webhook: {type(error).__name__}") from None
        if not 200 <= status < 300:
            raise NotDelivered(f"webhook: status {status}")


@dataclass(frozen=True)
class Mail:
    """E-mail over ``smtp://user:password@host[:587]`` or ``smtps://user:password@host[:465]``.

    With ``smtp``, TLS is required on port 587 and used elsewhere if the server offers it; a loopback host needs none.
    A password is never sent without TLS to another host.
    """

    url: str = field(repr=False)
    sender: str
    recipient: str
    timeout_s: float = 15.0

    def send(self, message: Message) -> None:
        mail = self._build_mail(message)
        try:
            with self._connect(urlsplit(self.url)) as server:
                server.send_message(mail, self.sender, [self.recipient])
        except smtplib.SMTPResponseException as error:
            raise NotDelivered(f"mail: {type(error).__name__} {error.smtp_code}") from None
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            raise NotDelivered(f"mail: {type(error).__name__}") from None

    def _connect(self, url: SplitResult) -> smtplib.SMTP:
        host = url.hostname or ""
        if url.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                host, url.port or _SMTPS_PORT, timeout=self.timeout_s, context=ssl.create_default_context()
            )
        else:
            server = smtplib.SMTP(host, url.port or _SUBMISSION_PORT, timeout=self.timeout_s)
        try:
            if url.scheme == "smtp" and not _is_loopback(host):
                self._start_tls(
                    server, required=(url.port or _SUBMISSION_PORT) == _SUBMISSION_PORT or bool(url.username)
                )
            if url.username:
                server.login(unquote(url.username), unquote(url.password or ""))
        except BaseException:
            server.close()
            raise
        return server

    def _start_tls(self, server: smtplib.SMTP, *, required: bool) -> None:
        server.ehlo()
        if required or server.has_extn("starttls"):
            server.starttls(context=ssl.create_default_context())
            server.ehlo()

    def _build_mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["From"], mail["To"] = self.sender, self.recipient
        mail["Subject"] = message.to_subject()
        mail["Date"] = format_datetime(message.notice.created_at)
        # A second attempt has the same id, so mail programs show the notice once.
        mail["Message-ID"] = f"<{message.notice.id}@{_domain_of(self.sender)}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.to_text())
        return mail


class NoticeLog:
    """The log, used if no other channel is set up; it leaves out the link, because many people read logs."""

    def send(self, message: Message) -> None:
        notice = message.notice
        extra = fields(kind=notice.kind, account_id=notice.account_id, reason=notice.reason, about=notice.about)
        log.warning("notice: %s", message.texts["en"], extra=extra)


Channel = Webhook | Mail | NoticeLog


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False


def _domain_of(address: str) -> str:
    domain = address.rpartition("@")[2].strip("> ")
    # Without a usable domain, the host's name stands in for it, as in make_msgid.
    return domain if domain.isascii() and domain else make_msgid().rpartition("@")[2].strip(">")
