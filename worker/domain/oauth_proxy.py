"""The consent proxy's rules: its clients, their addresses, and the proof key of a code (PKCE).

A client is an application with its own user accounts, such as a Cozy stack. Source: RFC 6749 (addresses are compared
exactly, 3.1.2.3) and RFC 7636 (PKCE, of which only S256 is accepted).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Final
from urllib.parse import urlencode, urlsplit

from worker.domain.consents import Proof

ACCESS_LIFE: Final = timedelta(hours=1)  # The life of an access token of the proxy.
LONGEST_ADDRESS: Final = 2000
LONGEST_STATE: Final = 512
CHALLENGE_METHOD: Final = "S256"
# Only plain addresses are accepted: browsers and libraries differ about \, @, # and control characters, and a
# difference would let an attacker choose where a person is sent. Codes are sent to these addresses, so http is only for
# localhost.
_ADDRESS: Final = re.compile(
    r"(?:https://[a-z0-9-]+(?:\.[a-z0-9-]+)+|https?://(?:localhost|127\.0\.0\.1))(?::\d{1,5})?"
    r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?",
    re.ASCII,
)
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ProxyClient:
    """A client of the proxy without its secret; ``id`` is its client_id.

    ``pkce``: whether each request needs a challenge. ``strict``: whether the client must send its ``redirect_uri``
    again with each code, and whether our redirects name the issuer (RFC 9207). Clients created by 0.2.0 aren't strict.
    ``numbers_in_redirect``: whether the redirect with a code also contains the numbers of meter and consent.
    """

    id: str
    tenant: str
    name: str
    redirect_uris: tuple[str, ...]
    pkce: bool
    strict: bool
    numbers_in_redirect: bool
    created_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ProxyCaller:
    """The client of the proxy that requested a consent, with the address and challenge to which its code is bound.

    ``issuer``: the issuer that the redirect names; None for a client that isn't strict.
    """

    client_id: str
    redirect_uri: str = field(repr=False)
    state: str = field(repr=False)
    code_challenge: str | None = field(default=None, repr=False)
    issuer: str | None = None
    numbers_in_redirect: bool = True

    def address(self, **parameters: str) -> str:
        """Return the client's redirect URI with the client's state, these parameters and the issuer."""
        separator = "&" if "?" in self.redirect_uri else "?"
        query = {"state": self.state, **parameters, **({"iss": self.issuer} if self.issuer else {})}
        return f"{self.redirect_uri}{separator}{urlencode(query)}"


@dataclass(frozen=True, slots=True)
class ProxyGrant:
    """A client's grant to read a meter, until the last day of the consent, or until the grant itself is ended.

    ``meter``: the keyed hash of the meter's number; empty for an older token of v4 that names no meter. ``data_from``:
    the first day that may be read, if the meter was another person's before. ``last_used_on``: the day (Europe/Paris)
    on which the client last read the meter, or last renewed a token of v4.
    """

    id: str
    client_id: str
    supplier: str
    meter: str
    data_from: date | None
    consent_until: date | None
    proof: Proof
    vouched_by: str | None
    granted_at: datetime
    access_expires_at: datetime
    last_used_on: date | None = None
    ended_at: datetime | None = None
    end_reason: str = ""

    def is_over(self, today: date) -> bool:
        """Return whether the grant no longer allows the client to read; ``today`` is the date in Europe/Paris."""
        return self.ended_at is not None or (self.consent_until is not None and today > self.consent_until)


def check_redirect_uri(address: str) -> str:
    """Return the address if a client may be redirected to it. Raises ValueError, which says what an address needs."""
    if len(address) > LONGEST_ADDRESS or not _ADDRESS.fullmatch(address):
        raise ValueError(
            "needs a whole address like https://stack.example.org/accounts/enedis/redirect, without * and #; http is "
            "for localhost alone"
        )
    return address


def host_of(address: str) -> str:
    """Return the host in an address that ``check_redirect_uri`` accepts, with the port if the address names one."""
    return urlsplit(address).netloc


def is_code_challenge(text: str) -> bool:
    """Return whether the text can be a challenge of the method S256."""
    return _CHALLENGE.fullmatch(text) is not None


def challenge_of(verifier: str) -> str:
    """Return the challenge of a verifier by the method S256."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def is_proven(challenge: str | None, verifier: str | None) -> bool:
    """Return whether a code with this challenge may be redeemed with this verifier.

    A verifier for a code without a challenge is refused too: somebody must have taken the challenge out of the request.
    """
    if challenge is None or verifier is None:
        return challenge is None and verifier is None
    return _VERIFIER.fullmatch(verifier) is not None and hmac.compare_digest(challenge, challenge_of(verifier))
