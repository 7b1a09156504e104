"""A mail server on this machine that records the notices it receives."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope

from worker.stores.child_processes import free_port


@dataclass
class MailReceiver:
    """A mail server that accepts each message, or answers ``refusal`` to all of them.

    ``refused``: the answers to recipients that it doesn't accept, by address.
    """

    port: int = 0
    refusal: str | None = None
    refused: dict[str, str] = field(default_factory=dict)
    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)  # The envelope's recipients of each message.
    logins: list[tuple[str, str, bool]] = field(default_factory=list)  # User, password, over TLS.

    def forget(self) -> None:
        """Reset everything except the port."""
        vars(self).update(vars(MailReceiver(self.port)))

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: list[str]) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 known"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        if self.refusal:
            return self.refusal
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        self.recipients.append(list(envelope.rcpt_tos))
        return "250 taken"


@contextmanager
def mail_receiver(
    *, implicit: ssl.SSLContext | None = None, starttls: ssl.SSLContext | None = None, logins: bool = False
) -> Iterator[MailReceiver]:
    receiver = MailReceiver()

    def login(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        receiver.logins.append((data.login.decode(), data.password.decode(), server._tls_protocol is not None))
        return AuthResult(success=True)

    options: dict[str, Any] = {"tls_context": starttls, "require_starttls": starttls is not None}
    if logins:
        options |= {"authenticator": login, "auth_require_tls": False}
    receiver.port = free_port()
    controller = Controller(receiver, hostname="127.0.0.1", port=receiver.port, ssl_context=implicit, **options)
    controller.start()
    try:
        yield receiver
    finally:
        controller.stop()


def mail_url(
    box: MailReceiver, scheme: str = "mailto", login: str = "", more: str = "", *, to: str = "support@example.org"
) -> str:
    """Return the URL of a service that sends mail through this server; ``more`` are further parameters."""
    return f"{scheme}://{login}127.0.0.1:{box.port}?from=releve@example.org&to={to}{more}"
