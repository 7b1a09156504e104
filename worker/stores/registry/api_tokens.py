"""API tokens and tenants.

A token's text is ``releve_<id>_<secret>``, for example ``releve_k3q7d0fr2mxx_Zr0…`` (``SecretTexts``); the registry
stores only the secret's hash.

A tenant has a name that households read, default prices, and a webhook, whose address and secret are sealed. The
default tenant exists even if it has no row; its webhook is always the one in the settings.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, func, insert, or_, select, update

from worker.domain.account import DEFAULT_TENANT
from worker.errors import DataError, UnknownTenant
from worker.stores.database import ClockedTable, Database, SealedTable, build_upsert, place_of
from worker.stores.encryption import SecretTexts
from worker.stores.registry.tables import API_TOKENS, TENANTS

_TEXTS: Final = SecretTexts("releve")
USUAL_LIFE: Final = timedelta(days=90)
LONGEST_LIFE: Final = timedelta(days=366)
ENDS_SOON: Final = timedelta(days=14)  # The operator gets a notice this long before a token's end.
_USE_RECORDED_EVERY: Final = timedelta(minutes=1)  # SQLite has one writer at a time, so not every call may write.
_HAS_WEBHOOK: Final = TENANTS.c.sealed_webhook.is_not(None).label("has_webhook")


class UnknownToken(DataError):
    """The error of ``revoke`` for a token id that does not exist."""


@dataclass(frozen=True, slots=True)
class ApiToken:
    """An API token without its secret; it gives access only to the data of ``tenant``."""

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


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant without its webhook's secret. ``title`` and ``created_at`` are None only for the default tenant."""

    id: str
    title: str | None = None
    has_webhook: bool = False
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """The address to which a tenant's notices are sent, and the secret that signs them."""

    url: str = field(repr=False)
    secret: str = field(repr=False)


class ApiTokenTable(ClockedTable):
    def create(
        self, name: str, scopes: Collection[str], expires_in: timedelta | None = None, *, tenant: str = DEFAULT_TENANT
    ) -> tuple[ApiToken, str]:
        """Create a token; return it with its secret text, which can't be read again later.

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
        """Return the token that has this text; None if it is unknown, revoked or expired."""
        if (token_id := _TEXTS.read_id(text)) is None:
            return None
        row = self._get_row(token_id)
        if not _TEXTS.matches(text, row.hash if row else None) or row is None:
            return None
        token = _to_token(row)
        return token if token.is_valid(self._now()) else None

    def find_named(self, text: str) -> str | None:
        """Return the id of the token that a text names, even if the secret is wrong; None if no such token exists.

        Ids are public, so this reveals no secret.
        """
        token_id = _TEXTS.read_id(text)
        return token_id if token_id and self._load(token_id) is not None else None

    def is_open(self, token_id: str) -> bool:
        """Return whether a token that was found earlier is still valid, without recording a use."""
        token = self._load(token_id)
        return token is not None and token.is_valid(self._now())

    def revoke(self, token_id: str) -> ApiToken:
        """Revoke and return the token. Safe to repeat: the time of the first revocation stays. Raises UnknownToken."""
        has_id = API_TOKENS.c.id == token_id
        with self._database.writing() as connection:
            revoking = update(API_TOKENS).where(has_id, API_TOKENS.c.revoked_at.is_(None))
            connection.execute(revoking.values(revoked_at=self._now()))
            row = connection.execute(select(API_TOKENS).where(has_id)).one_or_none()
        if row is None:
            # The message doesn't repeat the id: a user may have passed the whole token.
            raise UnknownToken("no token has this id: `releve access list --kind token` shows the ids")
        return _to_token(row)

    def _load(self, token_id: str) -> ApiToken | None:
        row = self._get_row(token_id)
        return None if row is None else _to_token(row)

    def _get_row(self, token_id: str) -> Row[Any] | None:
        return self._database.first(select(API_TOKENS).where(API_TOKENS.c.id == token_id))

    def record_use(self, token: ApiToken) -> None:
        """Record that a token was just used; this writes at most once a minute."""
        now = self._now()
        before = now - _USE_RECORDED_EVERY
        if token.last_used_at is not None and token.last_used_at > before:
            return
        stale = or_(API_TOKENS.c.last_used_at.is_(None), API_TOKENS.c.last_used_at <= before)
        self._database.change(update(API_TOKENS).where(API_TOKENS.c.id == token.id, stale).values(last_used_at=now))

    def list_ending(self) -> list[ApiToken]:
        """Return the valid tokens that end soon, nearest end first."""
        now = self._now()
        soon = (API_TOKENS.c.expires_at > now, API_TOKENS.c.expires_at <= now + ENDS_SOON)
        query = select(API_TOKENS).where(API_TOKENS.c.revoked_at.is_(None), *soon)
        return [_to_token(row) for row in self._database.fetch(query.order_by(API_TOKENS.c.expires_at))]

    def count_open(self) -> int:
        """Return the number of valid tokens."""
        return sum(token.is_valid(self._now()) for token in self.list_tokens())

    def list_endless(self) -> list[ApiToken]:
        """Return the valid tokens that never expire, the oldest first; only older versions created such tokens."""
        query = select(API_TOKENS).where(API_TOKENS.c.revoked_at.is_(None), API_TOKENS.c.expires_at.is_(None))
        return [_to_token(row) for row in self._database.fetch(query.order_by(API_TOKENS.c.created_at))]

    def list_tokens(self) -> list[ApiToken]:
        """Return all tokens, even revoked and expired ones, the oldest first."""
        query = select(API_TOKENS).order_by(API_TOKENS.c.created_at, API_TOKENS.c.id)
        return [_to_token(row) for row in self._database.fetch(query)]


def _to_token(row: Row[Any]) -> ApiToken:
    moments = (row.created_at, row.last_used_at, row.expires_at, row.revoked_at)
    return ApiToken(row.id, row.name, frozenset(row.scopes.split()), *moments, row.tenant)


class TenantTable(SealedTable):
    """The table of tenants. ``now`` is the real time, even if the fleet's time is simulated."""

    def save(self, tenant: str, title: str | None) -> None:
        """Insert the tenant, or change its title; None keeps the present title.

        The caller has checked name and title. Raises UnknownTenant for a new tenant without a title.
        """
        if title is not None:
            row = {"id": tenant, "title": title}
            self._database.change(build_upsert(self._database.dialect, TENANTS, row, created_at=self._now()))
        elif not self._database.fetch(select(TENANTS.c.id).where(TENANTS.c.id == tenant)):
            raise UnknownTenant(f"the tenant {tenant} is new: give it a --title, which households see")

    def save_webhook(self, tenant: str, target: WebhookTarget | None) -> None:
        """Replace the tenant's webhook; None removes it. Raises UnknownTenant for a tenant without a row."""
        text = target and json.dumps({"url": target.url, "secret": target.secret})
        sealed = text and self._sealer.seal(text, _place_of(tenant))
        if not self._database.change(update(TENANTS).where(TENANTS.c.id == tenant).values(sealed_webhook=sealed)):
            raise _unknown(tenant)

    def title_of(self, tenant: str) -> str | None:
        """Return the tenant's name, which households read; None if the tenant has no name."""
        title: str | None = self._database.scalar(select(TENANTS.c.title).where(TENANTS.c.id == tenant))
        return title

    def has_webhook(self, tenant: str) -> bool:
        return bool(self._database.scalar(select(_HAS_WEBHOOK).where(TENANTS.c.id == tenant)))

    def find_webhook(self, tenant: str) -> WebhookTarget | None:
        """Return the tenant's webhook; None without one. Raises OperatorFault if the key for it is missing."""
        sealed = self._database.scalar(select(TENANTS.c.sealed_webhook).where(TENANTS.c.id == tenant))
        return None if sealed is None else WebhookTarget(**json.loads(self._sealer.unseal(sealed, _place_of(tenant))))

    def load_prices(self) -> dict[str, dict[str, Any]]:
        """Return by tenant what its accounts pay that have told no prices of their own, where that is set."""
        rows = self._database.fetch(select(TENANTS.c.id, TENANTS.c.prices).where(TENANTS.c.prices.is_not(None)))
        return {tenant: json.loads(prices) for tenant, prices in rows}

    def save_prices(self, tenant: str, prices: Mapping[str, Any] | None) -> None:
        """Replace these prices; None removes them. Raises UnknownTenant."""
        require_tenant(self._database, tenant)
        row = {"id": tenant, "prices": None if prices is None else json.dumps(prices)}
        self._database.change(build_upsert(self._database.dialect, TENANTS, row, title="", created_at=self._now()))

    def list_tenants(self) -> list[Tenant]:
        """Return all tenants by id, but the default tenant first."""
        title = func.nullif(TENANTS.c.title, "").label("title")
        query = select(TENANTS.c.id, title, _HAS_WEBHOOK, TENANTS.c.created_at).order_by(TENANTS.c.id)
        rows: dict[str, Any] = {row.id: Tenant(**row._asdict()) for row in self._database.fetch(query)}
        default = rows.pop(DEFAULT_TENANT, Tenant(DEFAULT_TENANT))
        return [default, *rows.values()]


def require_tenant(database: Database, tenant: str) -> str:
    """Return ``tenant`` unchanged if this tenant exists. Raises UnknownTenant otherwise."""
    if tenant != DEFAULT_TENANT and not database.fetch(select(TENANTS.c.id).where(TENANTS.c.id == tenant)):
        raise _unknown(tenant)
    return tenant


def _place_of(tenant: str) -> str:
    return place_of(TENANTS.c.sealed_webhook, tenant)


def _unknown(tenant: str) -> UnknownTenant:
    return UnknownTenant(f"no tenant {tenant}: add it with `releve tenants {tenant} --title …`")
