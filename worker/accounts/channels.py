"""The ways out of the house for a notice: a signed webhook, e-mail, or the log where neither is set up.

Each sends once, within its time-outs, and raises NotDelivered with a reason that names no secret.
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
from typing import Final, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

import requests

from worker.accounts.notice_texts import Message
from worker.errors import NotDelivered
from worker.logs import fields

log = logging.getLogger("releve.notices")

SIGNATURE_HEADER: Final = "X-Releve-Signature"
_TIMEOUTS_S: Final = (5.0, 15.0)
_SUBMISSION: Final = 587


class Channel(Protocol):
    def send(self, message: Message) -> None:
        """Raises NotDelivered."""


def signature(secret: str, moment_s: int, body: bytes) -> str:
    """``t=<unix seconds>,v1=<hex>``: HMAC-SHA256 of ``<t>.<body>``.

    The receiver makes it anew, compares in constant time, and refuses an old ``t``.
    """
    mac = hmac.new(secret.encode(), f"{moment_s}.".encode() + body, hashlib.sha256)
    return f"t={moment_s},v1={mac.hexdigest()}"


@dataclass(frozen=True)
class Webhook:
    """A POST with a JSON body; 2xx, and nothing else, is taken as received."""

    url: str = field(repr=False)  # its path may be a secret of the receiver's
    secret: str = field(repr=False)
    timeouts_s: tuple[float, float] = _TIMEOUTS_S
    clock: Callable[[], float] = time.time  # the real one: receivers compare it with theirs

    def send(self, message: Message) -> None:
        body = json.dumps(message.to_json(), ensure_ascii=False, separators=(",", ":")).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Releve",
            SIGNATURE_HEADER: signature(self.secret, int(self.clock()), body),
        }
        try:
            # The answer's body is nobody's business, so it isn't read; a redirect would take the link elsewhere.
            with requests.post(
                self.url, data=body, headers=headers, timeout=self.timeouts_s, allow_redirects=False, stream=True
            ) as answer:
                status = answer.status_code
        except requests.RequestException as error:  # its text may quote the address, which may hold a secret
            raise NotDelivered(f"webhook: {type(error).__name__}") from None
        if not 200 <= status < 300:
            raise NotDelivered(f"webhook: status {status}")


@dataclass(frozen=True)
class Mail:
    """smtp://user:password@host[:587] or smtps://…[:465].

    On port 587 the connection must turn to TLS, elsewhere it does where the server can; a loopback host needs none.
    A password is never sent in the clear.
    """

    url: str = field(repr=False)
    sender: str
    recipient: str
    timeout_s: float = 15.0

    def send(self, message: Message) -> None:
        letter = self._letter(message)
        try:
            with self._connected(urlsplit(self.url)) as server:
                server.send_message(letter, self.sender, [self.recipient])
        except smtplib.SMTPResponseException as error:
            raise NotDelivered(f"mail: {type(error).__name__} {error.smtp_code}") from None
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            raise NotDelivered(f"mail: {type(error).__name__}") from None

    def _connected(self, url: SplitResult) -> smtplib.SMTP:
        host = url.hostname or ""
        if url.scheme == "smtps":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                host, url.port or 465, timeout=self.timeout_s, context=ssl.create_default_context()
            )
        else:
            server = smtplib.SMTP(host, url.port or _SUBMISSION, timeout=self.timeout_s)
        try:
            if url.scheme == "smtp" and not _is_loopback(host):
                self._start_tls(server, must=(url.port or _SUBMISSION) == _SUBMISSION or bool(url.username))
            if url.username:
                server.login(unquote(url.username), unquote(url.password or ""))
        except BaseException:
            server.close()
            raise
        return server

    def _start_tls(self, server: smtplib.SMTP, *, must: bool) -> None:
        server.ehlo()
        if must or server.has_extn("starttls"):
            server.starttls(context=ssl.create_default_context())
            server.ehlo()

    def _letter(self, message: Message) -> EmailMessage:
        letter = EmailMessage()
        letter["From"], letter["To"] = self.sender, self.recipient
        letter["Subject"] = message.to_subject()
        letter["Date"] = format_datetime(message.notice.created_at)
        # Sent again, it is the same letter: mail programs show it once.
        letter["Message-ID"] = f"<{message.notice.id}@{_domain(self.sender)}>"
        letter["Auto-Submitted"] = "auto-generated"
        letter.set_content(message.to_text())
        return letter


class Log:
    """Where no other channel is set up, the log has to do; without the link, for logs are read by many."""

    def send(self, message: Message) -> None:
        notice = message.notice
        told = fields(kind=notice.kind, account_id=notice.account_id, reason=notice.reason, about=notice.about)
        log.warning("notice: %s", message.texts["en"], extra=told)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False


def _domain(address: str) -> str:
    domain = address.rpartition("@")[2].strip("> ")
    return domain if domain.isascii() and domain else make_msgid().rpartition("@")[2].strip(">")
