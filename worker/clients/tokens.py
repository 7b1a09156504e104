"""Tokens: what a token is, what keeps one, and the meters that the claims of an ``id_token`` name.

    GRDF   {"consentements": "[{"pce": "01234567890123", "id_accreditation": "…"}]"}, a text that holds JSON
    Enedis {"usage_point_id": "98765432109876"}

GRDF sends an id_token. No answer of Enedis with one is known, but the documentation of the original konnector mentions
it, so its claims are read too. Source: OpenID Connect Core 1.0; the code of aeneria-app (ConsentementDetail.php).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Final, Protocol

import jwt
from jwt.types import Options

from worker.domain.answers import Json
from worker.errors import TokenNeeded, TokenRefused, UnusableToken

REFUSED_FOR_GOOD: Final = "the gateway refuses the token: make a new one on its page, then run `releve home token`"
_NO_TOKEN: Final = "this account has no gateway token: add one with `releve home token`"  # noqa: S105
_TOKEN_ENDED: Final = "the gateway's token has expired: make a new one on its page, then run `releve home token`"  # noqa: S105
_METER: Final = re.compile(r"[0-9]{14}|GI[0-9]{6}")
_METER_CLAIMS: Final = ("usage_point_id", "usage_points_id", "pce_id", "pce", "id_pce")
_CONSENT_CLAIMS: Final = ("consentements", "consents")


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, the refresh token for the next one, and when it ends (seconds since 1970)."""

    access: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)
    expires_at: int | None = field(default=None, repr=False)

    def ends_within(self, seconds: float) -> bool:
        """Return whether the token ends within ``seconds``; a token without an end does not."""
        # Tokens age in real time, even if the system's time is simulated.
        return self.expires_at is not None and self.expires_at <= time.time() + seconds

    def to_text(self) -> str:
        """Return the token as JSON for a store that encrypts it: the text is a secret."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Token:
        """Read a token that ``to_text`` wrote; raises ValueError without the text in it."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            # "from None": the foreign error quotes the text, which is a secret.
            raise ValueError("this is not a token that Relève stored") from None


class TokenStore(Protocol):
    """A store of one encrypted token, as its text: an account's in the registry, the application's in Redis.

    ``expires_at``: when the token ends, in seconds since 1970.
    """

    def load(self) -> str | None: ...

    def save(self, token: str, expires_at: int | None) -> None: ...

    def renewal_lock(self) -> AbstractContextManager[None]:
        """Hold the lock on this token's renewal: across all workers one renewal at a time.

        Raises TransientError if another worker holds it for too long.
        """


class RotatingTokenStore(TokenStore, Protocol):
    """A token store that also keeps a mark: the refresh token was sent, and no answer was read yet.

    The two methods may be called only inside ``renewal_lock``. ``save`` clears the mark too.
    """

    def mark_refresh_sent(self) -> bool:
        """Mark the refresh token as sent; return whether it had the mark already."""

    def clear_refresh_sent(self) -> None:
        """Clear the mark, for a refresh token that the supplier did not take."""


class TokenProvider(Protocol):
    """What a session takes its token from.  Both methods raise TransientError, AccountError or OperatorFault."""

    def current(self) -> Token:
        """Return a token for the next calls."""

    def renew(self, refused: Token | None) -> Token:
        """Return another token than ``refused``."""


class BearerTokens:
    """An account's token of a gateway: made on its page, given by hand, and never renewed."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store

    def current(self) -> Token:
        """Return the token for the next calls. Raises TokenNeeded where there is none, or it has ended."""
        text = self._store.load()
        if not text:
            raise TokenNeeded(_NO_TOKEN)
        token = Token.from_text(text)
        if token.ends_within(0):
            raise TokenNeeded(_TOKEN_ENDED)
        return token

    def renew(self, refused: Token | None) -> Token:
        """Return the token that was given in place of ``refused`` meanwhile. Raises TokenRefused without one."""
        token = self.current()
        if refused is None or token.access != refused.access:
            return token
        raise TokenRefused(REFUSED_FOR_GOOD)


def usage_points_from_id_token(id_token: str, client_id: str, now: datetime) -> list[str]:
    """Return the usage points in the order of the claims, without duplicates; empty if there are none.

    It must be issued for our application (``aud``) and not be too old (``exp``) at ``now``, which a simulation may
    pretend. The signature isn't checked: a token received from the token endpoint over TLS needs no check (OpenID
    Connect Core 1.0, 3.1.3.7), and only the supplier has the key. Raises MalformedAnswer for a text that is no such
    token.
    """
    options: Options = {
        "verify_signature": False,
        "verify_aud": True,
        "verify_exp": False,  # It knows the real time alone.
        "require": ["iss", "aud", "exp"],
    }
    try:
        claims = jwt.decode(id_token, options=options, audience=client_id)
        is_current = float(claims["exp"]) > now.timestamp()
    except (jwt.PyJWTError, TypeError, ValueError, OverflowError, RecursionError):
        # "from None": the foreign text may quote the token.
        raise UnusableToken("the id_token can't be decoded") from None
    if not is_current:
        raise UnusableToken("the id_token has expired: check this machine's clock")
    return list(dict.fromkeys(meter for meter in _claimed_meters(claims) if _METER.fullmatch(meter)))


def _claimed_meters(claims: dict[str, Json]) -> Iterator[str]:
    for name in _METER_CLAIMS:
        yield from split_meters(claims.get(name))
    for name in _CONSENT_CLAIMS:
        for consent in _as_list(claims.get(name)):
            if isinstance(consent, dict):
                yield from (meter for key in _METER_CLAIMS for meter in split_meters(consent.get(key)))


def split_meters(value: Json) -> list[str]:
    """Split a text, or a list of texts, at ``,`` and ``;``."""
    texts = value if isinstance(value, list) else [value]
    return [word.strip() for text in texts if isinstance(text, str) for word in re.split("[,;]", text)]


def _as_list(value: Json) -> list[Json]:
    """Return the value as a list; GRDF sends its consents as a text that holds JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return value if isinstance(value, list) else []
