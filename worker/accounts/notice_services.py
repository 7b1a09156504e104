"""Notification services by their apprise URL: mail, ntfy, Telegram, Matrix and a hundred others.

Apart from ``channels``, because the settings check the URLs before anything else is loaded. The library itself takes a
third of a second, so it is loaded where a URL is set.
"""

from __future__ import annotations

import logging
import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from apprise import Apprise

# "Unauthorized, error=401." of a web service, "Socket Exception: (550, b'no such user')" of a mail server.
_STATUS: Final = re.compile(r"\berror=(\d{3})\b|^Socket Exception: \((\d{3}),")


def load_service(url: str) -> Apprise:
    """Return the service of one URL. Raises ValueError, whose text repeats nothing of the URL."""
    from apprise import Apprise, AppriseAsset
    from apprise.plugins.email import NotifyEmail
    from apprise.plugins.email.common import SecureMailMode

    # The library's own lines name addresses, topics and, at DEBUG, tokens; we read the status from them, nothing else.
    library_log = logging.getLogger("apprise")
    library_log.propagate, library_log.level = False, logging.DEBUG
    # A redirect would send the renewal link to another host, and an icon is fetched from a server of the library's.
    asset = AppriseAsset(app_id="Releve", app_desc="", app_url="", http_redirects=False, image_url_mask="")
    service = Apprise(asset=asset)
    if not service.add(url):
        raise ValueError("needs apprise URLs with a space between, like mailtos://USER:PASSWORD@HOST?from=…&to=…")
    mail = service[0]
    if isinstance(mail, NotifyEmail):
        if not mail.targets:
            raise ValueError("to whom should the mails go? Add &to=ADDRESS")
        if mail.secure_mode == SecureMailMode.INSECURE and mail.password and not _is_loopback(mail.smtp_host):
            raise ValueError("a password of mail is sent over TLS alone: begin with mailtos:// in place of mailto://")
    return service


def send(url: str, subject: str, text: str) -> str | None:
    """Send a text once. Return why it wasn't taken, without a secret, or None where it was."""
    from apprise import NotifyFormat

    # A new one each time: a service that has just sent waits before it sends again.
    result = load_service(url).notify(text, subject, body_format=NotifyFormat.TEXT, log_level=logging.DEBUG)
    if result:
        return None
    statuses = [match[1] or match[2] for entry in result.logs() if (match := _STATUS.search(entry.message))]
    return f"status {statuses[-1]}" if statuses else "not taken"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
