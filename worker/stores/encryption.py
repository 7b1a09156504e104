"""Tokens at rest: sealed under the first of the operator's keys, readable under any of them.

To change keys, put the new one first in RELEVE_TOKEN_KEYS, rotate, then drop the old one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import Column, select, update

from worker.errors import OperatorFault
from worker.stores.registry.database import Database

_UNREADABLE = (
    "a stored token was sealed under a key that is no longer given: put the old key back into "
    "RELEVE_TOKEN_KEYS, after the new one, until tokens are rotated"
)


class Sealer:
    """Seals short texts with Fernet (AES-128-CBC and HMAC-SHA256); shows neither key nor text."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Take the keys, newest first.  Raises ValueError, which names a key by its place alone."""
        if not keys:
            raise ValueError("no token key is given: RELEVE_TOKEN_KEYS needs at least one")
        fernets = [_to_fernet(key, place) for place, key in enumerate(keys, start=1)]
        self._newest = fernets[0]
        self._fernet = MultiFernet(fernets)
        self.number = len(fernets)

    def seal(self, text: str) -> str:
        """The text, sealed under the first key; twice the same text gives two different seals."""
        return self._fernet.encrypt(text.encode()).decode()

    def unseal(self, sealed: str) -> str:
        """The text that was sealed.  Raises OperatorFault where no key fits or the seal is broken."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise OperatorFault(_UNREADABLE) from error

    def rotate(self, sealed: str) -> str:
        """The same text sealed anew under the first key.  Raises as ``unseal`` does."""
        try:
            return self._fernet.rotate(sealed.encode()).decode()
        except InvalidToken as error:
            raise OperatorFault(_UNREADABLE) from error

    # The same for bytes, without the third that text would add.

    def seal_bytes(self, content: bytes) -> bytes:
        return base64.urlsafe_b64decode(self._fernet.encrypt(content))

    def unseal_bytes(self, sealed: bytes) -> bytes:
        """Raises as ``unseal`` does."""
        try:
            return self._fernet.decrypt(base64.urlsafe_b64encode(sealed))
        except InvalidToken as error:
            raise OperatorFault(_UNREADABLE) from error

    def rotate_bytes(self, sealed: bytes) -> bytes:
        """Raises as ``unseal`` does."""
        try:
            return base64.urlsafe_b64decode(self._fernet.rotate(base64.urlsafe_b64encode(sealed)))
        except InvalidToken as error:
            raise OperatorFault(_UNREADABLE) from error

    def is_newest(self, sealed: str) -> bool:
        """Whether the first key opens it, so that the others may go as far as it is concerned."""
        try:
            self._newest.decrypt(sealed.encode())
        except InvalidToken:
            return False
        return True

    def __repr__(self) -> str:
        return "Sealer(…)"


def sealed_at(sealed: str) -> datetime:
    """When it was sealed first; sealing it anew under another key keeps that.  Needs no key.

    Source: the Fernet specification, a version byte and then the moment in seconds, 64 bits, big-endian.
    """
    return datetime.fromtimestamp(int.from_bytes(base64.urlsafe_b64decode(sealed)[1:9], "big"), UTC)


def new_key() -> str:
    """A fresh random key, as RELEVE_TOKEN_KEYS takes it."""
    return Fernet.generate_key().decode()


def _to_fernet(key: str, place: int) -> Fernet:
    try:
        return Fernet(key.strip())
    except ValueError:
        # From None: what the library met is the key itself.
        raise ValueError(
            f"token key {place} is not a Fernet key: 32 random bytes in URL-safe base64, 44 characters"
        ) from None


# Short signed texts (JWT, HS256): sessions of browsers, states of consents, renewal links in messages.

_ALGORITHM: Final = "HS256"
SHORTEST_KEY: Final = 32
RENEWAL: Final = "renewal"
RENEWAL_LIFE: Final = timedelta(days=30)


class Signer:
    """Signs and reads; what is forged, expired or of another kind reads as nothing."""

    def __init__(self, key: str) -> None:
        if len(key) < SHORTEST_KEY:
            raise ValueError(f"the session key must have at least {SHORTEST_KEY} characters")
        self._key = key

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def sign(self, kind: str, claims: dict[str, Any], life: timedelta) -> str:
        now = datetime.now(UTC)
        return jwt.encode({**claims, "aud": kind, "iat": now, "exp": now + life}, self._key, _ALGORITHM)

    def read(self, kind: str, token: str | None) -> dict[str, Any] | None:
        """The claims, or None for whatever is not ours, not of this kind or no longer good."""
        if not token:
            return None
        try:
            claims: dict[str, Any] = jwt.decode(token, self._key, [_ALGORITHM], audience=kind)
        except jwt.InvalidTokenError:
            return None
        return claims

    def csrf(self, sid: str) -> str:
        """What a form of this session carries; it can't be guessed without the key, nor taken from another session."""
        return hmac.new(self._key.encode(), f"csrf:{sid}".encode(), hashlib.sha256).hexdigest()

    def csrf_holds(self, sid: str, told: str | None) -> bool:
        return told is not None and hmac.compare_digest(self.csrf(sid).encode(), told.encode("utf-8", "replace"))

    def renewal(self, account_id: str) -> str:
        """What a renewal link carries: who holds it may give this account a new consent, and nothing else."""
        return self.sign(RENEWAL, {"account": account_id}, RENEWAL_LIFE)

    def renewed_account(self, token: str | None) -> str | None:
        """The account that a renewal link is for, or None."""
        claims = self.read(RENEWAL, token)
        account_id = claims.get("account") if claims else None
        return account_id if isinstance(account_id, str) else None


# A column of seals, sealed anew under the first key: page by page, beside whoever works.

PAGE = 500


def rotate_seals(
    database: Database, sealer: Sealer, key: Column[Any], seals: Column[Any], what: str, *, page: int | None = None
) -> int:
    """How many ``seals``, found by their row's ``key``, are under the first key now.  Safe to repeat and to stop.

    Raises OperatorFault at the end if some could not be read; the others are done.  ``what`` they are, it says.
    ``page``: rows held at once, PAGE unless told.  Seals are text or bytes.
    """
    done, unread, after = 0, 0, ""
    while turned := _rotate_page(database, sealer, key, seals, after, page or PAGE):
        after = turned[-1][0]
        done += sum(readable for _, readable in turned)
        unread += sum(not readable for _, readable in turned)
    if unread:
        raise OperatorFault(
            f"{done} {what} are sealed under the first key, {unread} can't be read: put the key they were "
            "sealed under back into RELEVE_TOKEN_KEYS and rotate again"
        )
    return done


def _rotate_page(
    database: Database, sealer: Sealer, key: Column[Any], seals: Column[Any], after: str, limit: int
) -> list[tuple[str, bool]]:
    """The keys of the next page, each with whether its seal could be read."""
    query = select(key, seals).where(key > after, seals.is_not(None)).order_by(key).limit(limit)
    page = []
    with database.writing() as connection:
        for found, sealed in connection.execute(query.with_for_update()).all():
            try:
                rotated = sealer.rotate_bytes(sealed) if isinstance(sealed, bytes) else sealer.rotate(sealed)
            except OperatorFault:  # counted; one lost key must not keep the rest from moving on
                page.append((found, False))
                continue
            connection.execute(update(seals.table).where(key == found).values({seals: rotated}))
            page.append((found, True))
    return page
