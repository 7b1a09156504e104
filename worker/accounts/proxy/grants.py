"""What a client of the consent proxy gets for a code or a refresh token: tokens, and never the application's own.

- v4: the supplier's own token of the holder, once its answer names a meter (P1).
- v5, 2026: opaque tokens of ours, good for the meter of that code alone (``stores.registry.proxy.grants``).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from worker.accounts.proxy.codes import ProxyCode, ProxyCodes
from worker.accounts.proxy.supplier_calls import SupplierCalls
from worker.clients.supplier import SupplierConsents
from worker.clients.tokens import Token
from worker.domain.clock import Clock
from worker.domain.lanes import in_lane, request_lane
from worker.domain.oauth_proxy import ACCESS_LIFE, ProxyClient, is_proven
from worker.domain.windows import civil_date
from worker.errors import DataError, TransientError
from worker.logs import fields
from worker.stores.database import Database
from worker.stores.registry import account_rows
from worker.stores.registry.erased_meters import ErasureTable
from worker.stores.registry.proxy import ProxyGrantTable, ProxyTokens

log = logging.getLogger("releve.proxy")
TokenAnswer = dict[str, Any]  # The JSON of RFC 6749, 5.1, with the meters as a Cozy stack keeps them.
_DEFAULT_TOKEN_LIFE_S: Final = 12_600


class InvalidGrant(DataError):
    """The code or refresh token is unknown, used, too old, another client's, or its consent is over."""


@dataclass(frozen=True, kw_only=True)
class ProxyGrants:
    """The use case behind the token endpoint of the proxy.

    ``refresh_token`` exchanges a holder's refresh token at the supplier (v4); ``calls`` is shared with ``ProxyData``.
    Every method raises InvalidGrant, what the client of the supplier raises, TransientError where too many calls are
    under way, and StoreUnavailable.
    """

    codes: ProxyCodes
    supplier: SupplierConsents | None
    refresh_token: Callable[[str], Token]
    database: Database
    grants: ProxyGrantTable
    erasures: ErasureTable
    now: Clock
    calls: SupplierCalls

    def exchange(self, client: ProxyClient, code: str, redirect_uri: str | None, verifier: str | None) -> TokenAnswer:
        """Exchange a code, which works once, even where it is refused.

        ``redirect_uri``: as in the request for the code, if the client names it again. ``verifier``: of PKCE.
        """
        facts = self.codes.redeem(code)
        caller = facts.caller if facts else None
        if facts is None or caller is None or caller.client_id != client.id:
            raise InvalidGrant("this code is unknown, used, expired or another client's")
        if redirect_uri not in (None, "", caller.redirect_uri):
            raise InvalidGrant("redirect_uri differs from the request for this code")
        if not is_proven(caller.code_challenge, verifier):
            raise InvalidGrant("code_verifier does not match the request for this code")
        if facts.supplier_code is None:
            return self._grant(facts)
        try:
            return self._exchange_at_supplier(facts, facts.supplier_code)
        except TransientError:
            self.codes.restore(code, facts)
            raise

    def refresh(self, client: ProxyClient, refresh_token: str) -> TokenAnswer:
        """Exchange a refresh token, which works once, for the next pair of tokens."""
        if self.supplier and self.supplier.account_tokens:
            with self.calls.take():
                return _supplier_answer(self.refresh_token(refresh_token))
        tokens = self.grants.rotate(client.id, refresh_token, civil_date(self.now()))
        if tokens is None:
            raise InvalidGrant("this refresh token is unknown or used, or its consent has ended: consent again")
        return _own_answer(tokens)

    def _exchange_at_supplier(self, facts: ProxyCode, supplier_code: str) -> TokenAnswer:
        if self.supplier is None:
            raise InvalidGrant("no supplier with a consent page is set up")
        with self.calls.take(), in_lane(request_lane(vouched=False)):  # Anybody can type a code.
            grant, confirmed = self.supplier.confirm_code(supplier_code, facts.usage_points)
        with self.database.reading() as connection:
            if self.erasures.is_erased_since(connection, facts.supplier, confirmed, facts.begun_at):
                raise InvalidGrant("the meter's data were erased in the meantime: consent again")
        return {**grant.extras, **_meter_fields(confirmed), **_supplier_answer(grant.token)}

    def _grant(self, facts: ProxyCode) -> TokenAnswer:
        (meter,) = facts.usage_points  # An invitation is a proof for its one meter.
        with self.database.writing() as connection:
            # An erasure holds this lock, so it is seen here, or ends the grant.
            account_rows.find_locked(connection, facts.supplier, meter)
            if self.erasures.is_erased_since(connection, facts.supplier, [meter], facts.begun_at):
                raise InvalidGrant("the meter's data were erased in the meantime: consent again")
            tokens = self.grants.create(
                connection,
                facts.caller.client_id,
                facts.supplier,
                self.erasures.digests(facts.supplier, meter)[0],
                proof=facts.proof,
                vouched_by=facts.vouched_by,
                granted_at=self.now(),
                browser=facts.browser,
                data_from=facts.data_from,
                consent_until=facts.consent_until,
            )
        log.info("proxy grant given", extra=fields(client=facts.caller.client_id, proof=facts.proof.value))
        named = {} if facts.autorisation_id is None else {"autorisation_id": facts.autorisation_id}
        return {**_meter_fields([meter]), **named, **_own_answer(tokens)}


def _meter_fields(usage_points: Sequence[str]) -> TokenAnswer:
    """Return the usage points under both names in use. A Cozy stack stores them as ``oauth_callback_results``."""
    joined = ",".join(usage_points)
    return {"usage_point_id": joined, "usage_points_id": joined}


def _own_answer(tokens: ProxyTokens) -> TokenAnswer:
    life_s = int(ACCESS_LIFE.total_seconds())
    return {
        "access_token": tokens.access,
        "token_type": "Bearer",
        "expires_in": life_s,
        "refresh_token": tokens.refresh,
    }


def _supplier_answer(token: Token) -> TokenAnswer:
    """Return the token answer. ``expires_in`` is a whole number: Cozy's stack can't decode a text there."""
    life_s = _DEFAULT_TOKEN_LIFE_S if token.expires_at is None else max(0, int(token.expires_at - time.time()))
    body = {"access_token": token.access, "token_type": "Bearer", "expires_in": life_s}
    return body if token.refresh is None else {**body, "refresh_token": token.refresh}
