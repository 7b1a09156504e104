"""Signed POST requests to an address that somebody has typed: of notices, and of measures."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import requests
from urllib3.exceptions import HTTPError

from worker.clients.guarded_http import GuardedHttp
from worker.clients.guarded_socket import AddressRefused
from worker.domain.networks import Network
from worker.errors import NotDelivered, SupplierTooSlow

SIGNATURE_HEADER: Final = "X-Releve-Signature"
TIMEOUTS_S: Final = (5.0, 15.0)


def sign_body(secret: str, unix_time_s: int, body: bytes) -> str:
    """Return the signature header: ``t=1721898000,v1=9f86d0…``.

    ``v1`` is the HMAC-SHA256 of ``<t>.<body>`` in hex. The receiver computes it again, compares in constant time and
    refuses an old ``t``.
    """
    # The time is part of the signed bytes, so nobody can send a recorded request again under a new time.
    mac = hmac.new(secret.encode(), f"{unix_time_s}.".encode() + body, hashlib.sha256)
    return f"t={unix_time_s},v1={mac.hexdigest()}"


@contextmanager
def open_session(networks: Sequence[Network]) -> Iterator[requests.Session]:
    """Open a session that calls no private network but these, and goes by no proxy, which could."""
    with requests.Session() as session:
        session.trust_env = False
        for scheme in ("http://", "https://"):
            session.mount(scheme, GuardedHttp(networks))
        yield session


def post_signed(
    session: requests.Session,
    url: str,
    secret: str,
    body: bytes,
    unix_time_s: int,
    timeouts_s: tuple[float, float] = TIMEOUTS_S,
) -> int:
    """Send a JSON body with its signature, and return the status of the answer. Raises NotDelivered without one."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Releve",
        SIGNATURE_HEADER: sign_body(secret, unix_time_s, body),
    }
    try:
        # A redirect would send the account's id to another host. The body of the answer is not needed, so the
        # request streams and does not read it.
        with session.post(
            url, data=body, headers=headers, timeout=timeouts_s, allow_redirects=False, stream=True
        ) as answer:
            return answer.status_code
    except AddressRefused as error:
        raise NotDelivered(f"webhook: {error}: see RELEVE_WEBHOOK_NETWORKS") from None
    except (requests.RequestException, HTTPError, SupplierTooSlow) as error:  # HTTPError: a host that is no name.
        # The text of the error may quote the address, which may contain a secret.
        raise NotDelivered(f"webhook: {type(error).__name__}") from None
