"""Clients of the consent proxy: created, authenticated, revoked and listed. Only the hash of a secret is stored.

The client_id is the row's id; the secret's text names it: ``proxyclient_<client_id>_<secret>``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, insert, select, update

from worker.domain.consents import EndReason
from worker.domain.oauth_proxy import ProxyClient
from worker.errors import DataError
from worker.stores.database import ClockedTable
from worker.stores.encryption import SecretTexts
from worker.stores.registry.proxy.grants import end_grants
from worker.stores.registry.tables import PROXY_CLIENTS, PROXY_GRANTS, belongs_to

_TEXTS: Final = SecretTexts("proxyclient")  # Our logs recognise it, too.


class UnknownProxyClient(DataError):
    """The error for a client_id that does not exist."""


class ProxyClientTable(ClockedTable):
    """The table of the proxy's clients; every method raises StoreUnavailable. ``now`` is the real time."""

    def create(self, name: str, redirect_uris: Sequence[str], tenant: str, *, pkce: bool) -> tuple[ProxyClient, str]:
        """Create a client and return it with its secret, which can't be read again later.

        The caller has checked the addresses, which have no spaces.
        """
        client_id, secret_hash, secret = _TEXTS.create()
        client = ProxyClient(client_id, tenant, name, tuple(redirect_uris), pkce, self._now())
        row = {"id": client_id, "tenant": tenant, "name": name, "hash": secret_hash, "pkce": pkce}
        addresses = " ".join(client.redirect_uris)
        self._database.change(
            insert(PROXY_CLIENTS).values(**row, redirect_uris=addresses, created_at=client.created_at)
        )
        return client, secret

    def find(self, client_id: str) -> ProxyClient | None:
        """Return the client; None where it is unknown or revoked."""
        row = self._get_row(client_id)
        return _to_client(row) if row is not None and row.revoked_at is None else None

    def authenticate(self, client_id: str, secret: str) -> ProxyClient | None:
        """Return the client with this id and secret, or None where it is unknown, revoked, or the secret is wrong."""
        row = self._get_row(client_id)
        is_right = _TEXTS.matches(secret, row.hash if row else None)
        return _to_client(row) if row is not None and is_right and row.revoked_at is None else None

    def revoke(self, client_id: str) -> ProxyClient:
        """Revoke the client and end its grants. Safe to repeat: the first moment stays. Raises UnknownProxyClient."""
        has_id, now = PROXY_CLIENTS.c.id == client_id, self._now()
        with self._database.writing() as connection:
            revoking = update(PROXY_CLIENTS).where(has_id, PROXY_CLIENTS.c.revoked_at.is_(None))
            connection.execute(revoking.values(revoked_at=now))
            end_grants(connection, EndReason.CLIENT_REVOKED, now, PROXY_GRANTS.c.client_id == client_id)
            row = connection.execute(select(PROXY_CLIENTS).where(has_id)).one_or_none()
        if row is None:
            # The message doesn't repeat the id: a user may have passed the whole secret.
            raise UnknownProxyClient("no client has this id: `releve proxy-clients list` shows the ids")
        return _to_client(row)

    def _get_row(self, client_id: str) -> Row[Any] | None:
        with self._database.reading() as connection:
            return connection.execute(select(PROXY_CLIENTS).where(PROXY_CLIENTS.c.id == client_id)).one_or_none()

    # This method is the last one: below it, ``list`` in an annotation would mean the method.
    def list(self, tenant: str | None = None) -> list[ProxyClient]:
        """Return all clients, or those of a tenant, even revoked ones, the oldest first."""
        query = select(PROXY_CLIENTS).where(*belongs_to(PROXY_CLIENTS, tenant))
        oldest_first = query.order_by(PROXY_CLIENTS.c.created_at, PROXY_CLIENTS.c.id)
        return [_to_client(row) for row in self._database.fetch(oldest_first)]


def _to_client(row: Row[Any]) -> ProxyClient:
    addresses = tuple(row.redirect_uris.split())
    return ProxyClient(row.id, row.tenant, row.name, addresses, row.pkce, row.created_at, row.revoked_at)
