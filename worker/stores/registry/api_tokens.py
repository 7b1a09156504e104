"""Tokens of the API's clients: shown once, kept as a hash, good for some scopes until they expire or are revoked.

A token is ``releve_<id>_<secret>`` with a secret of 256 random bits.  Nobody can guess or list such secrets, so one
round of SHA-256 keeps a stolen registry useless; a slow hash is for what people choose, and would let strangers
spend our processor.  The id finds the row, the hashes are compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, insert, or_, select, update

from worker.domain.clock import Clock, real_clock
from worker.errors import DataError
from worker.stores.registry.database import Database
from worker.stores.registry.tables import API_TOKENS

_PREFIX: Final = "releve"  # so that scanners of leaked secrets know one when they see it
_TEXT: Final = re.compile(rf"{_PREFIX}_([a-z0-9]{{12}})_([A-Za-z0-9_-]{{43}})")
_SECRET_BYTES: Final = 32
_ID_LETTERS: Final = "abcdefghjkmnpqrstvwxyz0123456789"
_USE_NOTED_EVERY: Final = timedelta(minutes=1)  # a write for each call would make SQLite's one writer the limit


class UnknownToken(DataError):
    """No token of this id was ever made."""


@dataclass(frozen=True, slots=True)
class ApiToken:
    """All that is known of a token but its secret."""

    id: str
    name: str
    scopes: frozenset[str]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None

    def good(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class ApiTokenTable:
    """Every method raises StoreUnavailable.

    ``now`` is the real time even where measures live at a pretended one: a key must not outlive its end.
    """

    def __init__(self, database: Database, now: Clock = real_clock) -> None:
        self._database = database
        self._now = now

    def new(self, name: str, scopes: Collection[str], expires_in: timedelta | None = None) -> tuple[ApiToken, str]:
        """A new token and its text, which can't be had again.  ``scopes`` are words without spaces."""
        token_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(12))
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        now = self._now()
        expires_at = now + expires_in if expires_in else None
        token = ApiToken(token_id, name, frozenset(scopes), now, None, expires_at, None)
        row = {"id": token_id, "name": name, "hash": _hash(secret), "scopes": " ".join(sorted(scopes))}
        with self._database.writing() as connection:
            connection.execute(insert(API_TOKENS).values(**row, created_at=now, expires_at=expires_at))
        return token, f"{_PREFIX}_{token_id}_{secret}"

    def find(self, text: str) -> ApiToken | None:
        """The token that ``text`` is, or None for what was never one, is revoked or expired."""
        if (parts := _TEXT.fullmatch(text)) is None:
            return None
        token_id, secret = parts.groups()
        with self._database.reading() as connection:
            row = connection.execute(select(API_TOKENS).where(API_TOKENS.c.id == token_id)).one_or_none()
        holds = hmac.compare_digest(row.hash if row else "", _hash(secret))
        if row is None or not holds:
            return None
        token = _to_token(row)
        if not token.good(self._now()):
            return None
        self._note_use(token)
        return token

    def revoke(self, token_id: str) -> ApiToken:
        """From now on the token opens nothing.  Safe to repeat; the first time stays.  Raises UnknownToken."""
        which = API_TOKENS.c.id == token_id
        with self._database.writing() as connection:
            revoking = update(API_TOKENS).where(which, API_TOKENS.c.revoked_at.is_(None))
            connection.execute(revoking.values(revoked_at=self._now()))
            row = connection.execute(select(API_TOKENS).where(which)).one_or_none()
        if row is None:  # what was given is not repeated: it may be the token itself
            raise UnknownToken("no token of this id: `releve tokens list` shows them")
        return _to_token(row)

    def _note_use(self, token: ApiToken) -> None:
        """When it was last used, to the minute."""
        now = self._now()
        before = now - _USE_NOTED_EVERY
        if token.last_used_at is not None and token.last_used_at > before:
            return
        stale = or_(API_TOKENS.c.last_used_at.is_(None), API_TOKENS.c.last_used_at <= before)
        with self._database.writing() as connection:
            connection.execute(update(API_TOKENS).where(API_TOKENS.c.id == token.id, stale).values(last_used_at=now))

    # Stands last: below it, ``list`` in an annotation would mean this method.
    def list(self) -> list[ApiToken]:
        """All tokens, revoked and expired ones too, the oldest first."""
        query = select(API_TOKENS).order_by(API_TOKENS.c.created_at, API_TOKENS.c.id)
        with self._database.reading() as connection:
            return [_to_token(row) for row in connection.execute(query)]


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _to_token(row: Row[Any]) -> ApiToken:
    moments = (row.created_at, row.last_used_at, row.expires_at, row.revoked_at)
    return ApiToken(row.id, row.name, frozenset(row.scopes.split()), *moments)
