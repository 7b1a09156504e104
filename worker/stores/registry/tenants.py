"""Tenants in the registry: the name that households read, and the webhook, whose address and secret are sealed.

The default tenant exists without a row. Its webhook is that of the settings, never one of this table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from sqlalchemy import insert, select, update

from worker.domain.account import DEFAULT_TENANT
from worker.domain.clock import Clock, real_clock
from worker.errors import UnknownTenant
from worker.stores.database import Database, SealedTable, place_of
from worker.stores.registry.tables import TENANTS
from worker.stores.sealing import Sealer

_HAS_WEBHOOK: Final = TENANTS.c.sealed_webhook.is_not(None).label("has_webhook")


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant without its webhook's secret; only the default one may have no ``title`` and no ``created_at``."""

    id: str
    title: str | None = None
    has_webhook: bool = False
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """Where a tenant gets its notices, and the secret that signs them."""

    url: str = field(repr=False)
    secret: str = field(repr=False)


class TenantTable(SealedTable):
    """The table of tenants; every method raises StoreUnavailable. ``now`` is the real time."""

    def __init__(self, database: Database, sealer: Sealer, now: Clock = real_clock) -> None:
        super().__init__(database, sealer)
        self._now = now

    def save(self, tenant: str, title: str | None) -> None:
        """Insert the tenant, or give it another title; None keeps the one it has.

        The caller has checked name and title. Raises UnknownTenant where a new one gets no title.
        """
        is_it = TENANTS.c.id == tenant
        with self._database.writing() as connection:
            known = connection.execute(select(TENANTS.c.id).where(is_it).with_for_update()).first() is not None
            if not known and title is None:
                raise UnknownTenant(f"the tenant {tenant} is new: give it a --title, which households see")
            if not known:
                connection.execute(insert(TENANTS).values(id=tenant, title=title, created_at=self._now()))
            elif title is not None:
                connection.execute(update(TENANTS).where(is_it).values(title=title))

    def save_webhook(self, tenant: str, target: WebhookTarget | None) -> None:
        """Replace the tenant's webhook; None removes it. Raises UnknownTenant for one without a row."""
        text = target and json.dumps({"url": target.url, "secret": target.secret})
        sealed = text and self._sealer.seal(text, _place_of(tenant))
        if not self._database.change(update(TENANTS).where(TENANTS.c.id == tenant).values(sealed_webhook=sealed)):
            raise _unknown(tenant)

    def title_of(self, tenant: str) -> str | None:
        """Return the name that households read, or None where there is none."""
        rows = self._database.fetch(select(TENANTS.c.title).where(TENANTS.c.id == tenant))
        return rows[0].title if rows else None

    def has_webhook(self, tenant: str) -> bool:
        rows = self._database.fetch(select(_HAS_WEBHOOK).where(TENANTS.c.id == tenant))
        return bool(rows) and bool(rows[0].has_webhook)

    def find_webhook(self, tenant: str) -> WebhookTarget | None:
        """Return the tenant's webhook, or None. Raises OperatorFault where the key that sealed it is missing."""
        rows = self._database.fetch(select(TENANTS.c.sealed_webhook).where(TENANTS.c.id == tenant))
        sealed = rows[0].sealed_webhook if rows else None
        return None if sealed is None else WebhookTarget(**json.loads(self._sealer.unseal(sealed, _place_of(tenant))))

    # This method is the last one: below it, ``list`` in an annotation would mean the method.
    def list(self) -> list[Tenant]:
        """Return all tenants by name, the default one first."""
        query = select(TENANTS.c.id, TENANTS.c.title, _HAS_WEBHOOK, TENANTS.c.created_at).order_by(TENANTS.c.id)
        rows: dict[str, Any] = {row.id: Tenant(**row._asdict()) for row in self._database.fetch(query)}
        default = rows.pop(DEFAULT_TENANT, Tenant(DEFAULT_TENANT))
        return [default, *rows.values()]


def require_tenant(database: Database, tenant: str) -> str:
    """Return the name of a tenant that exists. Raises UnknownTenant."""
    if tenant != DEFAULT_TENANT and not database.fetch(select(TENANTS.c.id).where(TENANTS.c.id == tenant)):
        raise _unknown(tenant)
    return tenant


def _place_of(tenant: str) -> str:
    return place_of(TENANTS.c.sealed_webhook, tenant)


def _unknown(tenant: str) -> UnknownTenant:
    return UnknownTenant(f"no tenant {tenant}: add it with `releve tenants set {tenant} --title …`")
