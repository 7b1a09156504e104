"""API tokens: created, looked up, revoked and listed. The registry stores only the hash of a token (``SecretTexts``).

A token's text is ``releve_<id>_<secret>``, for example ``releve_k3q7d0fr2mxx_Zr0…``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, insert, or_, select, update

from worker.domain.account import DEFAULT_TENANT
from worker.errors import DataError
from worker.stores.database import ClockedTable
from worker.stores.encryption import SecretTexts
from worker.stores.registry.tables import API_TOKENS

_TEXTS: Final = SecretTexts("releve")
USUAL_LIFE: Final = timedelta(days=90)
LONGEST_LIFE: Final = timedelta(days=366)
ENDS_SOON: Final = timedelta(days=14)  # Before its end the operator is told.
_USE_RECORDED_EVERY: Final = timedelta(minutes=1)  # SQLite has one writer, so not every call may write.


class UnknownToken(DataError):
    """The error for a token id that does not exist."""


@dataclass(frozen=True, slots=True)
class ApiToken:
    """An API token without its secret; it opens what belongs to ``tenant``, and nothing else."""

    id: str
    name: str
    scopes: frozenset[str]
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    tenant: str = DEFAULT_TENANT

    def is_valid(self, now: datetime) -> bool:
        """Return whether the token is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class ApiTokenTable(ClockedTable):
    """The table of API tokens; every method raises StoreUnavailable.

    ``now`` is the real time even if the fleet runs at a simulated one: a token must not live longer than it should.
    """

    def create(
        self,
        name: str,
        scopes: Collection[str],
        expires_in: timedelta | None = None,
        *,
        tenant: str = DEFAULT_TENANT,
    ) -> tuple[ApiToken, str]:
        """Create a token and return it with its text, which can't be read again later.

        ``scopes`` are words without spaces.
        """
        token_id, secret_hash, text = _TEXTS.create()
        now = self._now()
        expires_at = now + expires_in if expires_in else None
        token = ApiToken(token_id, name, frozenset(scopes), now, None, expires_at, None, tenant)
        row = {"id": token_id, "tenant": tenant, "name": name, "hash": secret_hash, "scopes": " ".join(sorted(scopes))}
        self._database.change(insert(API_TOKENS).values(**row, created_at=now, expires_at=expires_at))
        return token, text

    def find(self, text: str) -> ApiToken | None:
        """Return the token with this text, or None if it is unknown, revoked or expired."""
        if (token_id := _TEXTS.read_id(text)) is None:
            return None
        row = self._get_row(token_id)
        if not _TEXTS.matches(text, row.hash if row else None) or row is None:
            return None
        token = _to_token(row)
        if not token.is_valid(self._now()):
            return None
        self._record_use(token)
        return token

    def find_named(self, text: str) -> str | None:
        """Return the id of the token that a text names, whether or not its secret is right; None where there is none.

        A token's id is no secret.
        """
        token_id = _TEXTS.read_id(text)
        return token_id if token_id and self._load(token_id) is not None else None

    def is_open(self, token_id: str) -> bool:
        """Return whether a token that was found earlier is still valid; records no use."""
        token = self._load(token_id)
        return token is not None and token.is_valid(self._now())

    def revoke(self, token_id: str) -> ApiToken:
        """Revoke the token. Safe to repeat: the first moment stays. Raises UnknownToken."""
        has_id = API_TOKENS.c.id == token_id
        with self._database.writing() as connection:
            revoking = update(API_TOKENS).where(has_id, API_TOKENS.c.revoked_at.is_(None))
            connection.execute(revoking.values(revoked_at=self._now()))
            row = connection.execute(select(API_TOKENS).where(has_id)).one_or_none()
        if row is None:
            # The message doesn't repeat the id: a user may have passed the whole token.
            raise UnknownToken("no token has this id: `releve tokens list` shows the ids")
        return _to_token(row)

    def _load(self, token_id: str) -> ApiToken | None:
        row = self._get_row(token_id)
        return None if row is None else _to_token(row)

    def _get_row(self, token_id: str) -> Row[Any] | None:
        with self._database.reading() as connection:
            return connection.execute(select(API_TOKENS).where(API_TOKENS.c.id == token_id)).one_or_none()

    def _record_use(self, token: ApiToken) -> None:
        """Record when the token was last used, to the minute."""
        now = self._now()
        before = now - _USE_RECORDED_EVERY
        if token.last_used_at is not None and token.last_used_at > before:
            return
        stale = or_(API_TOKENS.c.last_used_at.is_(None), API_TOKENS.c.last_used_at <= before)
        self._database.change(update(API_TOKENS).where(API_TOKENS.c.id == token.id, stale).values(last_used_at=now))

    def list_ending(self) -> list[ApiToken]:
        """Return the valid tokens that end soon, the first to end first."""
        now = self._now()
        soon = (API_TOKENS.c.expires_at > now, API_TOKENS.c.expires_at <= now + ENDS_SOON)
        query = select(API_TOKENS).where(API_TOKENS.c.revoked_at.is_(None), *soon)
        return [_to_token(row) for row in self._database.fetch(query.order_by(API_TOKENS.c.expires_at))]

    def count_open(self) -> int:
        """Return the number of valid tokens."""
        return sum(token.is_valid(self._now()) for token in self.list())

    def list_endless(self) -> list[ApiToken]:
        """Return the valid tokens that have no end, the oldest first. Older versions made them."""
        query = select(API_TOKENS).where(API_TOKENS.c.revoked_at.is_(None), API_TOKENS.c.expires_at.is_(None))
        return [_to_token(row) for row in self._database.fetch(query.order_by(API_TOKENS.c.created_at))]

    # This method is the last one: below it, ``list`` in an annotation would mean the method.
    def list(self) -> list[ApiToken]:
        """Return all tokens, even revoked and expired ones, the oldest first."""
        query = select(API_TOKENS).order_by(API_TOKENS.c.created_at, API_TOKENS.c.id)
        return [_to_token(row) for row in self._database.fetch(query)]


def _to_token(row: Row[Any]) -> ApiToken:
    moments = (row.created_at, row.last_used_at, row.expires_at, row.revoked_at)
    return ApiToken(row.id, row.name, frozenset(row.scopes.split()), *moments, row.tenant)
