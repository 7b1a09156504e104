"""The OAuth proxy of consents: its clients, and their grants with an access token and refresh tokens.

An access token lives for an hour, and a refresh token works once. The registry stores only hashes of the secrets; each
text contains the id of its client or grant: ``proxyclient_<client_id>_<secret>``, ``proxyaccess_<grant>_<secret>`` and
``proxyrefresh_<grant>_<secret>``. A meter is stored as the same keyed hash as in the table of erasures, so a grant
doesn't reveal whose data it is for.

With v4 of Enedis' API, a client uses the tokens that the supplier has given for the meter's holder. The grant then has
no access token of ours. The hash of the supplier's refresh token is stored with the grant, so that no other client can
use this token here.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, delete, func, insert, or_, select, true, update

from worker.domain.consents import EndReason, Proof
from worker.domain.oauth_proxy import ACCESS_LIFE, ProxyClient, ProxyGrant
from worker.errors import DataError
from worker.logs import fields
from worker.stores.database import ClockedTable, new_id
from worker.stores.encryption import SecretTexts
from worker.stores.registry.tables import PROXY_CLIENTS, PROXY_GRANTS, PROXY_REFRESH_TOKENS

log = logging.getLogger("releve.proxy")
# Our logs recognise these three kinds of text by their prefixes, and mask them.
_CLIENT: Final = SecretTexts("proxyclient")
_ACCESS: Final = SecretTexts("proxyaccess")
_REFRESH: Final = SecretTexts("proxyrefresh")
# A used refresh token is kept this long: if it is sent again, its grant ends. After this time it is refused as unknown.
# A grant may get 24 refresh tokens a day, so they can't all be kept.
_USED_TOKENS_KEPT: Final = timedelta(days=30)
_GRANT_COLUMNS: Final = tuple(column for column in PROXY_GRANTS.c if column.name in ProxyGrant.__dataclass_fields__)


class UnknownProxyClient(DataError):
    """The error for a client_id that does not exist."""


@dataclass(frozen=True, slots=True)
class ProxyTokens:
    access: str = field(repr=False)
    refresh: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGrant:
    """The facts of a grant to store.

    ``meter``: the meter's keyed hash, empty if unknown. ``granted_at``: the fleet's time, which may be simulated.
    ``code_hash``: the hash of the code for which the client got the grant (``hash_of_code``).
    """

    client_id: str
    supplier: str
    meter: str = ""
    proof: Proof
    granted_at: datetime
    vouched_by: str | None = None
    consent_until: date | None = None
    browser: str | None = None
    data_from: date | None = None
    code_hash: str


class ProxyClientTable(ClockedTable):
    def create(
        self, name: str, redirect_uris: Sequence[str], tenant: str, *, pkce: bool, numbers_in_redirect: bool = False
    ) -> tuple[ProxyClient, str]:
        """Create a client; return it with its secret text, which can't be read again later.

        The caller must have checked the redirect addresses. They must not contain spaces.
        """
        client_id, secret_hash, secret = _CLIENT.create()
        addresses = tuple(redirect_uris)
        client = ProxyClient(client_id, tenant, name, addresses, pkce, True, numbers_in_redirect, self._now())
        row = {**asdict(client), "hash": secret_hash, "redirect_uris": " ".join(addresses)}
        self._database.change(insert(PROXY_CLIENTS).values(row))
        return client, secret

    def set_ways(self, client_id: str, *, pkce: bool, numbers_in_redirect: bool) -> ProxyClient:
        """Set these two options of a client, make the client ``strict`` like new clients, and return the client.

        Raises UnknownProxyClient.
        """
        ways = {"strict": True, "pkce": pkce, "numbers_in_redirect": numbers_in_redirect}
        with self._database.writing() as connection:
            connection.execute(update(PROXY_CLIENTS).where(PROXY_CLIENTS.c.id == client_id).values(ways))
            return _get_client(connection, client_id)

    def find(self, client_id: str) -> ProxyClient | None:
        """Return the client with this id; None if it is unknown or revoked."""
        row = self._get_row(client_id)
        return _to_client(row) if row is not None and row.revoked_at is None else None

    def authenticate(self, client_id: str, secret: str) -> ProxyClient | None:
        """Return the client with this id and secret; None if it is unknown or revoked, or if the secret is wrong."""
        row = self._get_row(client_id)
        is_right = _CLIENT.matches(secret, row.hash if row else None)
        return _to_client(row) if row is not None and is_right and row.revoked_at is None else None

    def revoke(self, client_id: str) -> ProxyClient:
        """Revoke the client, end its grants, and return the client. Raises UnknownProxyClient.

        The call is safe to repeat: the time of the first revocation stays.
        """
        is_open, now = (PROXY_CLIENTS.c.id == client_id, PROXY_CLIENTS.c.revoked_at.is_(None)), self._now()
        with self._database.writing() as connection:
            connection.execute(update(PROXY_CLIENTS).where(*is_open).values(revoked_at=now))
            end_grants(connection, EndReason.CLIENT_REVOKED, now, PROXY_GRANTS.c.client_id == client_id)
            return _get_client(connection, client_id)

    def _get_row(self, client_id: str) -> Row[Any] | None:
        return self._database.first(select(PROXY_CLIENTS).where(PROXY_CLIENTS.c.id == client_id))

    def list_clients(self) -> list[ProxyClient]:
        """Return all clients, even revoked ones, the oldest first."""
        oldest_first = select(PROXY_CLIENTS).order_by(PROXY_CLIENTS.c.created_at, PROXY_CLIENTS.c.id)
        return [_to_client(row) for row in self._database.fetch(oldest_first)]


def _get_client(connection: Connection, client_id: str) -> ProxyClient:
    row = connection.execute(select(PROXY_CLIENTS).where(PROXY_CLIENTS.c.id == client_id)).one_or_none()
    if row is None:
        # The message doesn't repeat the id: a user may have passed the whole secret.
        raise UnknownProxyClient("no client has this id: `releve access list --kind client` shows the ids")
    return _to_client(row)


def _to_client(row: Row[Any]) -> ProxyClient:
    facts = {name: row._mapping[name] for name in ProxyClient.__dataclass_fields__}
    return ProxyClient(**{**facts, "redirect_uris": tuple(row.redirect_uris.split())})


class ProxyGrantTable(ClockedTable):
    """The tables of grants and of their refresh tokens."""

    def create(self, connection: Connection, facts: NewGrant) -> ProxyTokens:
        """Create a grant in the caller's transaction; return its first access token and refresh token."""
        grant_id, access_hash, access = _ACCESS.create()
        self._insert(connection, grant_id, facts, access_hash)
        return ProxyTokens(access, self._add_refresh_token(connection, grant_id))

    def bind(self, connection: Connection, facts: NewGrant, refresh_token: str | None) -> None:
        """Create a grant in the caller's transaction, and bind to it the refresh token that the supplier gave (v4)."""
        grant_id = new_id()
        self._insert(connection, grant_id, facts, access_hash="")
        self._bind_token(connection, grant_id, refresh_token)

    def find_by_bound_token(self, refresh_token: str) -> ProxyGrant | None:
        """Return the grant to which a supplier's refresh token (v4) is bound; None if there is none.

        The returned grant may have ended.
        """
        row = self._database.first(_of_bound_token(refresh_token))
        return None if row is None else _to_grant(row)

    def renew_bound(self, refresh_token: str, renewed: str | None, today: date) -> bool:
        """Bind the supplier's next refresh token (v4) to the grant of the present token.

        Returns False, and binds nothing, if the present token has no grant, or if the grant has ended.
        """
        with self._database.writing() as connection:
            query = _of_bound_token(refresh_token).with_for_update(of=PROXY_GRANTS)
            row = connection.execute(query).one_or_none()
            if row is None or _to_grant(row).is_over(today):
                return False
            used = update(PROXY_REFRESH_TOKENS).where(PROXY_REFRESH_TOKENS.c.hash == _hash(refresh_token))
            connection.execute(used.values(used_at=self._now()))
            self._bind_token(connection, row.id, renewed)
            of_same_code = PROXY_GRANTS.c.code_hash == row.code_hash
            connection.execute(update(PROXY_GRANTS).where(of_same_code).values(last_used_on=today))
        return True

    def note_use(self, grant: ProxyGrant, today: date) -> None:
        """Record the day on which a client reads data; this writes at most once a day."""
        if grant.last_used_on != today:
            self._database.change(update(PROXY_GRANTS).where(PROXY_GRANTS.c.id == grant.id).values(last_used_on=today))

    def _insert(self, connection: Connection, grant_id: str, facts: NewGrant, access_hash: str) -> None:
        access = {"access_hash": access_hash, "access_expires_at": self._now() + ACCESS_LIFE}
        connection.execute(insert(PROXY_GRANTS).values(id=grant_id, **asdict(facts), **access, end_reason=""))

    def _bind_token(self, connection: Connection, grant_id: str, text: str | None) -> None:
        if text is not None:
            # If the token is bound already (to another meter's grant, or by an earlier call), this binding is replaced.
            connection.execute(delete(PROXY_REFRESH_TOKENS).where(PROXY_REFRESH_TOKENS.c.hash == _hash(text)))
            row = {"hash": _hash(text), "grant_id": grant_id, "issued_at": self._now()}
            connection.execute(insert(PROXY_REFRESH_TOKENS).values(row))

    def find_by_access_token(self, text: str) -> ProxyGrant | None:
        """Return the grant of a valid access token. The returned grant may have ended.

        Returns None if the token is unknown, replaced or expired, or if its client is revoked.
        """
        grant_id = _ACCESS.read_id(text)
        if grant_id is None:
            return None
        of_id = (PROXY_GRANTS.c.id == grant_id, PROXY_CLIENTS.c.revoked_at.is_(None))
        row = self._database.first(select(PROXY_GRANTS).join(PROXY_CLIENTS).where(*of_id))
        if not _ACCESS.matches(text, row.access_hash if row else None) or row is None:
            return None
        return _to_grant(row) if row.access_expires_at > self._now() else None

    def rotate(self, client_id: str, refresh_token: str, today: date) -> ProxyTokens | None:
        """Exchange a client's refresh token for the next pair of tokens; the previous access token ends.

        Returns None if the token is unknown or another client's, if the client is revoked, or if the grant or its
        consent has ended. A refresh token works once: if it was used before, it may have been stolen, so the grant is
        ended, and None is returned.
        """
        grant_id = _REFRESH.read_id(refresh_token)
        if grant_id is None:
            return None
        token = PROXY_REFRESH_TOKENS.c
        is_token = (token.hash == _REFRESH.hash_of(refresh_token), token.grant_id == grant_id)
        with self._database.writing() as connection:
            of_client = (PROXY_GRANTS.c.id == grant_id, PROXY_GRANTS.c.client_id == client_id)
            query = select(*_GRANT_COLUMNS).join(PROXY_CLIENTS).where(*of_client, PROXY_CLIENTS.c.revoked_at.is_(None))
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
        """End the grants of a meter in the caller's transaction, and return how many were ended.

        ``meter_digests``: the meter's keyed hashes under all keys. ``but_of``: a browser's hashed names. Grants whose
        consent was given in this browser stay.
        """
        others = or_(PROXY_GRANTS.c.browser.is_(None), PROXY_GRANTS.c.browser.not_in(but_of))
        return self._end(connection, reason, PROXY_GRANTS.c.meter.in_(meter_digests), others)

    def end(self, grant_id: str, reason: EndReason, meter_digests: Collection[str] | None = None) -> bool:
        """End a grant; return whether there is such a grant. A grant that has ended stays as it is.

        ``meter_digests``: if given, the grant must be for the meter with these keyed hashes.
        """
        which = (PROXY_GRANTS.c.id == grant_id, *_is_of(meter_digests))
        with self._database.writing() as connection:
            self._end(connection, reason, *which)
            return connection.execute(select(PROXY_GRANTS.c.id).where(*which)).first() is not None

    def end_of_code(self, client_id: str, code_hash: str) -> None:
        """End the grant that a client got for a code, because the client has sent the code again."""
        of_code = (PROXY_GRANTS.c.client_id == client_id, PROXY_GRANTS.c.code_hash == code_hash)
        with self._database.writing() as connection:
            if self._end(connection, EndReason.CODE_REUSED, *of_code):
                log.warning("code used twice: grant ended", extra=fields(client=client_id))

    def first_day_of(self, meter_digests: Collection[str]) -> date | None:
        """Return the first day of a meter's present holder: the latest ``data_from`` of its grants, None if unknown."""
        query = select(func.max(PROXY_GRANTS.c.data_from)).where(PROXY_GRANTS.c.meter.in_(meter_digests))
        day: date | None = self._database.scalar(query)
        return day

    def apply_retention(self, today: date, keep_until: datetime) -> int:
        """End the grants whose consent has expired, and return how many were ended.

        Also deletes old used tokens, and the grants that ended before ``keep_until``. ``today``: the Paris date.
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

    def list_grants(
        self, client_id: str | None = None, meter_digests: Collection[str] | None = None
    ) -> list[ProxyGrant]:
        """Return all grants, or only those of a client or meter, the oldest first. Ended grants are included."""
        of_client = () if client_id is None else (PROXY_GRANTS.c.client_id == client_id,)
        query = select(*_GRANT_COLUMNS).where(*of_client, *_is_of(meter_digests))
        rows = self._database.fetch(query.order_by(PROXY_GRANTS.c.granted_at, PROXY_GRANTS.c.id))
        return [_to_grant(row) for row in rows]


def end_grants(connection: Connection, reason: EndReason, now: datetime, *which: ColumnElement[bool]) -> int:
    """End the open grants that meet the conditions, and return how many were ended.

    Grants that were given for the same code as one of these grants end, too: with v4, such grants share their tokens.
    """
    of_same_code = PROXY_GRANTS.c.code_hash.in_(select(PROXY_GRANTS.c.code_hash).where(*which).correlate(None))
    ending = update(PROXY_GRANTS).where(PROXY_GRANTS.c.ended_at.is_(None), or_(and_(true(), *which), of_same_code))
    return connection.execute(ending.values(ended_at=now, end_reason=reason.value)).rowcount


def hash_of_code(code: str, challenge: str | None) -> str:
    """Return the hash of a code with its challenge.

    A code that is sent again ends its grant (RFC 6749, 4.1.2). Because the hash includes the challenge, the grant ends
    only if the verifier is right, too.
    """
    return _hash(f"{code} {challenge or ''}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _is_of(meter_digests: Collection[str] | None) -> tuple[ColumnElement[bool], ...]:
    return () if meter_digests is None else (PROXY_GRANTS.c.meter.in_(meter_digests),)


def _of_bound_token(refresh_token: str) -> Select[Any]:
    is_token = PROXY_REFRESH_TOKENS.c.hash == _hash(refresh_token)
    return select(PROXY_GRANTS).join(PROXY_REFRESH_TOKENS).where(is_token)


def _to_grant(row: Any) -> ProxyGrant:
    return ProxyGrant(**{column.name: row._mapping[column.name] for column in _GRANT_COLUMNS})
