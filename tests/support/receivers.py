"""A web server and a mail server on this machine that record the notices they receive."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope

from tests.support.certificates import make_certificates
from worker.accounts.notices import NoticeSender
from worker.stores.redis.child_processes import free_port

SLOW, CUT = "slow", "cut"


@dataclass
class WebhookReceiver:
    """A web server that answers from ``script``, one entry a request and 204 after its end.

    An entry is a status, SLOW or CUT.
    """

    url: str = ""
    script: list[int | str] = field(default_factory=list)
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)  # Headers in lower case, and the body.
    closed: Event = field(default_factory=Event)


@contextmanager
def webhook_receiver(*script: int | str) -> Iterator[WebhookReceiver]:
    receiver = WebhookReceiver(script=list(script))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
            status_or_fault = receiver.script.pop(0) if receiver.script else 204
            if status_or_fault == SLOW:
                receiver.closed.wait(20)
            if isinstance(status_or_fault, str):
                self.close_connection = True
                return
            self.send_response(status_or_fault)
            self.send_header("Location", f"{receiver.url}elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.block_on_close = False
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}/"
        thread = Thread(target=server.serve_forever, args=(0.01,), name="hook")
        thread.start()
        try:
            yield receiver
        finally:
            receiver.closed.set()
            server.shutdown()
            thread.join()


@dataclass
class MailReceiver:
    """A mail server that accepts each message, or answers ``refusal`` to all of them."""

    port: int = 0
    refusal: str | None = None
    messages: list[EmailMessage] = field(default_factory=list)
    logins: list[tuple[str, str, bool]] = field(default_factory=list)  # User, password, over TLS.

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        if self.refusal:
            return self.refusal
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.messages.append(message)
        return "250 taken"


def deliver_due(sender: NoticeSender) -> int:
    """Send all notices that are due, as the tasks do, and return how many were taken."""
    return sum(sender.deliver(notice_id) for notice_id in sender.notices.list_due(sender.now()))


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


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's TLS context for 127.0.0.1, and the file of the authority to trust."""
    files = make_certificates(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    return context, files.authority
