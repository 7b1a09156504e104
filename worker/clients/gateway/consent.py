"""A gateway's token: its claims name the meters that it gives access to, and the time when it expires.

    conso-api   {"sub": ["01234567890123"], "iat": 1721880000, "exp": 1816401600}, the claims of a JWT (HS256)

A private gateway may issue tokens without claims. Source: conso-api's code (lib/auth.ts), November 2026.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import jwt

from worker.clients.enedis.client import USAGE_POINT
from worker.clients.tokens import split_meters
from worker.domain.answers import Json

# The form of a bearer token (RFC 6750, 2.1). A shorter text is a meter's number, a name or a typing error.
_BEARER: Final = re.compile(r"[A-Za-z0-9._~+/-]{16,8000}=*")
_METER_WORDS: Final = re.compile(r"[0-9,;]+")
_DAMAGED: Final = "the token is damaged: copy the whole line from the gateway's page"


@dataclass(frozen=True, slots=True)
class GatewayToken:
    """The claims of a token. For a token without claims, ``meters`` is empty, and the times are None."""

    meters: tuple[str, ...] = field(default=(), repr=False)
    issued_at: datetime | None = None
    expires_at: datetime | None = None


def read_gateway_token(text: str) -> GatewayToken:
    """Return the claims of a gateway's token; its signature isn't checked, because only the gateway has the key.

    A token that isn't a JWT has no claims. Raises ValueError for a text that isn't a token, and for a JWT that is
    damaged, has expired or names no meter. The error is one line that says what to do and doesn't quote the token.
    """
    text = text.strip()
    if not _BEARER.fullmatch(text) or _METER_WORDS.fullmatch(text):
        raise ValueError("this is not a token: copy the whole line from the gateway's page, and nothing else")
    if text.count(".") != 2:
        if text.startswith("eyJ"):  # '{"' in base64, the beginning of a JWT, which must have three parts.
            raise ValueError(_DAMAGED)
        return GatewayToken()
    try:
        claims = jwt.decode(text, options={"verify_signature": False})
        issued_at, expires_at = _moment(claims.get("iat")), _moment(claims.get("exp"))
    except (jwt.PyJWTError, TypeError, ValueError, OverflowError, OSError, RecursionError):
        # "from None", because the text of the original error may quote the token.
        raise ValueError(_DAMAGED) from None
    # Tokens age in real time, even if the system's time is simulated.
    if expires_at is not None and expires_at.timestamp() <= time.time():
        raise ValueError(f"the token expired on {expires_at:%Y-%m-%d}: make a new one on the gateway's page")
    meters = tuple(dict.fromkeys(word for word in split_meters(claims.get("sub")) if USAGE_POINT.fullmatch(word)))
    if not meters:
        raise ValueError("the token names no meter: make a new one on the gateway's page")
    return GatewayToken(meters, issued_at, expires_at)


def _moment(seconds: Json) -> datetime | None:
    """Return the time, in UTC, of a number of seconds since 1970; None for None."""
    return None if seconds is None else datetime.fromtimestamp(float(seconds), UTC)
