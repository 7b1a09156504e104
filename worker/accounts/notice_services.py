"""Notification services by their apprise URLs: mail, ntfy, Telegram and Matrix; other services are refused.

A service in a private network, or on this machine, is called only if the operator has named its network.

This module is separate from ``notice_channels``, because the settings check the URLs before anything else is loaded.
Importing the library takes a third of a second, so it is imported only if a URL is set.
"""

from __future__ import annotations

import logging
import re
import smtplib
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from worker.domain.networks import Network, may_be_named, may_be_reached

if TYPE_CHECKING:
    from apprise import Apprise


# Finds the status in log lines such as "Unauthorized, error=401." (a web service) or "Socket Exception: (550, b'no such
# user')" (a mail server).
_STATUS: Final = re.compile(r"\berror=(\d{3})\b|^Socket Exception: \((\d{3}),", re.MULTILINE)
# Finds the status with which a mail server refuses a recipient for good. Status 530, an extended status 5.7.… or a text
# about relaying is about us and not about the address.
_REFUSED: Final = re.compile(
    r"^Socket Exception: \{.*?: \((?!530)(5\d\d), (?!.*(?:\b5\.7\.\d|relay))", re.MULTILINE | re.IGNORECASE
)
ADDRESS_REFUSED: Final = "the mail server refuses the address"
MAIL_SCHEMES: Final = ("mailto", "mailtos")
_SCHEMES: Final = (*MAIL_SCHEMES, "ntfy", "ntfys", "tgram", "matrix", "matrixs")
_MESSAGE_ID: Final = re.compile(r"^Message-ID:\s+<[^>]*>$", re.MULTILINE)


def load_service(url: str) -> Apprise:
    """Return the service of one URL. Raises ValueError, whose text repeats nothing of the URL."""
    if url.partition("://")[0].lower() not in _SCHEMES:
        raise ValueError(f"needs apprise URLs with a space between, of the kinds {', '.join(_SCHEMES)}")
    from apprise import Apprise, AppriseAsset
    from apprise.plugins.email import NotifyEmail
    from apprise.plugins.email.common import SecureMailMode

    # The library's log lines contain addresses, topics and, at DEBUG, tokens; we read only the status from them.
    library_log = logging.getLogger("apprise")
    library_log.propagate = False
    library_log.setLevel(logging.DEBUG)
    # Redirects are off, because they could send a notice to another host. Icons are off, because they come from the
    # library's server.
    asset = AppriseAsset(app_id="Releve", app_desc="", app_url="", http_redirects=False, image_url_mask="")
    service = Apprise(asset=asset)
    if not service.add(url):
        raise ValueError("needs apprise URLs with a space between, like mailtos://USER:PASSWORD@HOST?from=…&to=…")
    mail = service[0]
    if isinstance(mail, NotifyEmail):
        if not mail.targets:
            raise ValueError("the recipient is missing: add &to=ADDRESS")
        if mail.secure_mode == SecureMailMode.INSECURE and mail.password and not _is_loopback(mail.smtp_host):
            raise ValueError("a mail password needs TLS: use mailtos:// instead of mailto://")
    return service


def check_host(url: str, networks: Sequence[Network]) -> None:
    """Raise ValueError for a service on a private host that is in none of these networks."""
    host = _host_of(load_service(url))
    if host and not may_be_named(host, networks):
        raise ValueError(
            "a service in a private network or on this machine must be allowed: set RELEVE_WEBHOOK_NETWORKS, like "
            "10.1.0.0/16 or 127.0.0.0/8"
        )


def _host_of(service: Apprise) -> str:
    """Return the host that the operator has named; empty for a service whose host the library knows."""
    from apprise.plugins.email import NotifyEmail
    from apprise.plugins.telegram import NotifyTelegram

    plugin: Any = service[0]
    if isinstance(plugin, NotifyTelegram):  # The plugin's ``host`` is a part of the bot's key.
        return ""
    host = plugin.smtp_host if isinstance(plugin, NotifyEmail) else plugin.host
    return str(host or "").strip("[]")


def _leads_astray(host: str, networks: Sequence[Network]) -> bool:
    """Return whether a host name resolves to a private network that the operator has not named."""
    with suppress(ValueError):
        ip_address(host)
        return False  # IP addresses were checked with the settings.
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False  # The library reports this error itself.
    return not all(may_be_reached(str(entry[4][0]), networks) for entry in found)


def send(url: str, subject: str, text: str, notice_id: str, networks: Sequence[Network] = ()) -> str | None:
    """Send a text once; return None if the service accepted it, else the reason, without a secret.

    Mails with the same ``notice_id`` have the same Message-ID, so that mail programs recognize a repeated mail.
    """
    # A new object each time, because an object that has just sent waits before it sends again.
    return _send(load_service(url), subject, text, notice_id, networks)


def is_mail(url: str) -> bool:
    return url.partition(":")[0].lower() in MAIL_SCHEMES


def is_mail_address(text: str) -> bool:
    """Return whether the text is one mail address, without a display name."""
    from apprise.utils.parse import is_email

    parts = is_email(text)  # type: ignore[no-untyped-call]
    return bool(parts) and parts["full_email"] == text


@dataclass(frozen=True, kw_only=True)
class MailService:
    """Sends mails to single addresses with the first mail service in the notices' URLs, if there is one.

    ``networks``: private networks in which the service may be.
    """

    notify_urls: Sequence[str] = field(default=(), repr=False)
    networks: Sequence[Network] = ()

    @property
    def sends_mail(self) -> bool:
        return any(map(is_mail, self.notify_urls))

    def send(
        self,
        address: str,
        subject: str,
        text: str,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        *,
        is_html: bool = False,
    ) -> str | None:
        """Send a text once to ``address`` alone, and not to the recipients in the URL.

        ``headers``: added to the mail's own headers. ``is_html``: the text is HTML, and the mail has both the HTML and
        the plain text that the library makes of it. Returns None if the mail was accepted, else the reason, which is
        ADDRESS_REFUSED if the server says that it will never accept mail to this address.
        """
        url = next(filter(is_mail, self.notify_urls), None)
        if url is None:
            return "no mail service is set up"
        service = load_service(url)
        mail: Any = service[0]
        mail.targets, mail.cc, mail.bcc = [(False, address)], set(), set()
        mail.headers = {**mail.headers, **(headers or {})}
        return _send(service, subject, text, message_id, self.networks, is_html=is_html)

    def send_to_own(self, subject: str, text: str, message_id: str) -> str | None:
        """Send a text to the recipients in the URLs; return None if each server accepted it, else a reason."""
        urls = list(filter(is_mail, self.notify_urls))
        faults = [send(url, subject, text, message_id, self.networks) for url in urls]
        return next(filter(None, faults), None) if urls else "no mail service is set up"


def _send(
    service: Apprise, subject: str, text: str, notice_id: str, networks: Sequence[Network], *, is_html: bool = False
) -> str | None:
    from apprise import NotifyFormat
    from apprise.logger import LogCapture
    from apprise.plugins.email import NotifyEmail

    if (host := _host_of(service)) and _leads_astray(host, networks):
        return "an address in a private network: see RELEVE_WEBHOOK_NETWORKS"
    with LogCapture(level=logging.DEBUG, fmt="%(message)s") as lines:  # type: ignore[no-untyped-call]
        mail = service[0]
        if isinstance(mail, NotifyEmail):
            taken = _send_mail(mail, subject, text, notice_id, is_html=is_html)
        else:
            taken = bool(service.notify(text, subject, body_format=NotifyFormat.TEXT))
        log_lines = lines.getvalue()
    if taken:
        return None
    if _REFUSED.search(log_lines):
        return ADDRESS_REFUSED
    statuses = [match[1] or match[2] for match in _STATUS.finditer(log_lines)]
    return f"status {statuses[-1]}" if statuses else "not accepted"


def _send_mail(mail: Any, subject: str, text: str, notice_id: str, *, is_html: bool) -> bool:
    """Send a mail, and return whether the mail server accepted it for every address.

    The library composes and transports the mail, but its own ``send`` isn't used, because it gives each mail a new
    Message-ID. If the URL set our Message-ID (``+Message-ID=``), the mail would have two of them.
    """
    from apprise import NotifyFormat
    from apprise.exception import AppriseException
    from apprise.plugins.email.smtp import AppriseSMTPController

    letters = mail.prepare_emails(
        subject=subject,
        body=text,
        notify_format=NotifyFormat.HTML if is_html else NotifyFormat.TEXT,
        from_addr=mail.from_addr,
        to=mail.targets,
        cc=mail.cc,
        bcc=mail.bcc,
        reply_to=mail.reply_to,
        smtp_host=mail.smtp_host,
        headers={**mail.headers, "Auto-Submitted": "auto-generated"},
        names=mail.names,
        pgp=mail.pgp,
        pgp_mode=mail.pgp_mode,
    )
    message_id = f"Message-ID: <{notice_id}@{mail.from_addr[1].rpartition('@')[2]}>"
    server = AppriseSMTPController(
        mail.smtp_host, mail.port, mail.secure_mode, mail.user, mail.password, mail.verify_certificate
    )
    try:
        with server:
            # If the server refuses one address, the others still get the mail.
            taken = [
                server.sendmail(mail.from_addr[1], letter.to_addrs, _MESSAGE_ID.sub(message_id, letter.body, 1))
                for letter in letters
            ]
        return all(taken)
    except (OSError, smtplib.SMTPException, AppriseException) as error:
        mail.logger.debug("Socket Exception: %s", error)
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
