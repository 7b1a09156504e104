"""The OAuth proxy of consents: its clients, and their grants with an access token and refresh tokens.

An access token lives for an hour, and a refresh token works once. The registry stores hashes alone; the texts name
their client or grant: ``proxyclient_<client_id>_<secret>``, ``proxyaccess_<grant>_<secret>`` and
``proxyrefresh_<grant>_<secret>``. A meter is stored as the keyed hash that the memory of erasures uses, so a grant
names nobody.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, or_, select, update

from worker.domain.consents import EndReason, Proof
from worker.domain.oauth_proxy import ACCESS_LIFE, ProxyClient, ProxyGrant
from worker.errors import DataError
from worker.logs import fields
from worker.stores.database import ClockedTable
from worker.stores.encryption import SecretTexts
from worker.stores.registry.tables import PROXY_CLIENTS, PROXY_GRANTS, PROXY_REFRESH_TOKENS, belongs_to

log = logging.getLogger("releve.proxy")
# Our logs recognise all three.
_CLIENT: Final = SecretTexts("proxyclient")
_ACCESS: Final = SecretTexts("proxyaccess")
_REFRESH: Final = SecretTexts("proxyrefresh")
# A refresh token that comes again after this time is refused as an unknown one. A grant has up to 24 a day.
_USED_TOKENS_KEPT: Final = timedelta(days=30)
_GRANT_COLUMNS: Final = tuple(column for column in PROXY_GRANTS.c if column.name in ProxyGrant.__dataclass_fields__)


class UnknownProxyClient(DataError):
    """The error for a client_id that does not exist."""


@dataclass(frozen=True, slots=True)
class ProxyTokens:
    """A new pair of tokens of a grant."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)


class ProxyClientTable(ClockedTable):
    """The table of the proxy's clients."""

    def create(self, name: str, redirect_uris: Sequence[str], tenant: str, *, pkce: bool) -> tuple[ProxyClient, str]:
        """Create a client and return it with its secret, which can't be read again later.

        The caller has checked the addresses, which have no spaces.
        """
        client_id, secret_hash, secret = _CLIENT.create()
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
        is_right = _CLIENT.matches(secret, row.hash if row else None)
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

    def list_clients(self, tenant: str | None = None) -> list[ProxyClient]:
        """Return all clients, or those of a tenant, even revoked ones, the oldest first."""
        query = select(PROXY_CLIENTS).where(*belongs_to(PROXY_CLIENTS, tenant))
        oldest_first = query.order_by(PROXY_CLIENTS.c.created_at, PROXY_CLIENTS.c.id)
        return [_to_client(row) for row in self._database.fetch(oldest_first)]


def _to_client(row: Row[Any]) -> ProxyClient:
    addresses = tuple(row.redirect_uris.split())
    return ProxyClient(row.id, row.tenant, row.name, addresses, row.pkce, row.created_at, row.revoked_at)


class ProxyGrantTable(ClockedTable):
    """The tables of grants and refresh tokens."""

    def create(
        self,
        connection: Connection,
        client_id: str,
        supplier: str,
        meter: str,
        *,
        proof: Proof,
        vouched_by: str | None,
        granted_at: datetime,
        consent_until: date | None,
        browser: str | None = None,
        data_from: date | None = None,
    ) -> ProxyTokens:
        """Create the grant of one meter in the caller's transaction, and return its first tokens.

        ``meter``: its keyed hash. ``granted_at``: by the fleet's clock, like the dates of the consent.
        """
        grant_id, access_hash, access = _ACCESS.create()
        row = {
            "id": grant_id,
            "client_id": client_id,
            "supplier": supplier,
            "meter": meter,
            "proof": proof,
            "vouched_by": vouched_by,
            "granted_at": granted_at,
            "browser": browser,
            "data_from": data_from,
            "consent_until": consent_until,
            "access_hash": access_hash,
            "access_expires_at": self._now() + ACCESS_LIFE,
            "end_reason": "",
        }
        connection.execute(insert(PROXY_GRANTS).values(row))
        return ProxyTokens(access, self._add_refresh_token(connection, grant_id))

    def find_by_access_token(self, text: str) -> ProxyGrant | None:
        """Return the grant of an access token that is in force; None where it is unknown, replaced or expired.

        An ended grant is returned as such; None for one of a revoked client.
        """
        grant_id = _ACCESS.read_id(text)
        if grant_id is None:
            return None
        with self._database.reading() as connection:
            grant = PROXY_GRANTS.join(PROXY_CLIENTS)
            of_id = (PROXY_GRANTS.c.id == grant_id, PROXY_CLIENTS.c.revoked_at.is_(None))
            row = connection.execute(select(PROXY_GRANTS).select_from(grant).where(*of_id)).one_or_none()
        if not _ACCESS.matches(text, row.access_hash if row else None) or row is None:
            return None
        return _to_grant(row) if row.access_expires_at > self._now() else None

    def rotate(self, client_id: str, refresh_token: str, today: date) -> ProxyTokens | None:
        """Exchange a client's refresh token, which works once, for the next pair; the access token before it ends.

        Returns None where it is unknown, another client's, of an ended grant or of a consent that is over. One that was
        used before was stolen or copied: it ends the grant.
        """
        grant_id = _REFRESH.read_id(refresh_token)
        if grant_id is None:
            return None
        token = PROXY_REFRESH_TOKENS.c
        is_token = (token.hash == _REFRESH.hash_of(refresh_token), token.grant_id == grant_id)
        with self._database.writing() as connection:
            query = (
                select(*_GRANT_COLUMNS)
                .join(PROXY_CLIENTS)
                .where(
                    PROXY_GRANTS.c.id == grant_id,
                    PROXY_GRANTS.c.client_id == client_id,
                    PROXY_CLIENTS.c.revoked_at.is_(None),
                )
            )
            row = connection.execute(query.with_for_update(of=PROXY_GRANTS)).one_or_none()
            known = connection.execute(select(token.used_at).where(*is_token)).one_or_none()
            if row is None or known is None or _to_grant(row).is_over(today):
                return None
            if known.used_at is not None:
                self._end(connection, EndReason.TOKEN_REUSED, PROXY_GRANTS.c.id == grant_id)
                log.warning("refresh token used twice: grant ended", extra=fields(client=client_id, grant=grant_id))
                return None
            now = self._now()
            connection.execute(update(PROXY_REFRESH_TOKENS).where(*is_token).values(used_at=now))
            _, access_hash, access = _ACCESS.create(grant_id)
            renewed = {"access_hash": access_hash, "access_expires_at": now + ACCESS_LIFE}
            connection.execute(update(PROXY_GRANTS).where(PROXY_GRANTS.c.id == grant_id).values(renewed))
            return ProxyTokens(access, self._add_refresh_token(connection, grant_id))

    def end_for(
        self, connection: Connection, meter_digests: Collection[str], reason: EndReason, but_of: Collection[str] = ()
    ) -> int:
        """End the grants of a meter in the caller's transaction, and return their number.

        ``meter_digests``: the meter's keyed hashes, under every key. ``but_of``: the names of a browser whose grants
        stay.
        """
        others = or_(PROXY_GRANTS.c.browser.is_(None), PROXY_GRANTS.c.browser.not_in(but_of))
        return self._end(connection, reason, PROXY_GRANTS.c.meter.in_(meter_digests), others)

    def first_day_of(self, meter_digests: Collection[str]) -> date | None:
        """Return the first day of the meter's present holder, as its grants know it; None where they don't."""
        query = select(func.max(PROXY_GRANTS.c.data_from)).where(PROXY_GRANTS.c.meter.in_(meter_digests))
        with self._database.reading() as connection:
            day: date | None = connection.execute(query).scalar()
        return day

    def apply_retention(self, today: date, keep_until: datetime) -> int:
        """End the grants whose consent is over, and return their number; forget old tokens and old grants.

        ``today`` is the date in Europe/Paris. Grants that ended before ``keep_until`` are deleted.
        """
        token = PROXY_REFRESH_TOKENS.c
        old = select(PROXY_GRANTS.c.id).where(PROXY_GRANTS.c.ended_at < keep_until)
        with self._database.writing() as connection:
            ended = self._end(connection, EndReason.EXPIRED, PROXY_GRANTS.c.consent_until < today)
            used = delete(PROXY_REFRESH_TOKENS).where(token.used_at < self._now() - _USED_TOKENS_KEPT)
            connection.execute(used)
            connection.execute(delete(PROXY_REFRESH_TOKENS).where(token.grant_id.in_(old)))
            connection.execute(delete(PROXY_GRANTS).where(PROXY_GRANTS.c.ended_at < keep_until))
        return ended

    def _end(self, connection: Connection, reason: EndReason, *which: ColumnElement[bool]) -> int:
        return end_grants(connection, reason, self._now(), *which)

    def _add_refresh_token(self, connection: Connection, grant_id: str) -> str:
        _, token_hash, text = _REFRESH.create(grant_id)
        row = {"hash": token_hash, "grant_id": grant_id, "issued_at": self._now()}
        connection.execute(insert(PROXY_REFRESH_TOKENS).values(row))
        return text

    def list_grants(self, client_id: str) -> list[ProxyGrant]:
        """Return a client's grants, even ended ones, the oldest first."""
        query = select(PROXY_GRANTS).where(PROXY_GRANTS.c.client_id == client_id)
        rows = self._database.fetch(query.order_by(PROXY_GRANTS.c.granted_at, PROXY_GRANTS.c.id))
        return [_to_grant(row) for row in rows]


def end_grants(connection: Connection, reason: EndReason, now: datetime, *which: ColumnElement[bool]) -> int:
    """End the open grants that these conditions choose, all without any, and return their number."""
    ending = update(PROXY_GRANTS).where(PROXY_GRANTS.c.ended_at.is_(None), *which)
    return connection.execute(ending.values(ended_at=now, end_reason=reason.value)).rowcount


def _to_grant(row: Any) -> ProxyGrant:
    return ProxyGrant(**{column.name: row._mapping[column.name] for column in _GRANT_COLUMNS})
