"""Codes of the consent proxy: what a proven consent, or a code of v4, is handed over to a client by.

A code is random, works once and for 15 minutes, and only for the client, address and challenge of its request. What it
stands for is kept sealed in Redis under the code's hash.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

from pydantic import TypeAdapter

from worker.domain.connection_request import ConnectionRequest, RequestEvent
from worker.domain.consents import Proof
from worker.domain.oauth_proxy import ProxyCaller
from worker.errors import OperatorFault
from worker.stores.encryption import Sealer
from worker.stores.redis.pending_consents import ConsentFlows, place_of_code


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyCode:
    """What a code stands for: a proven meter with its consent (v5, 2026), or the supplier's own code (v4).

    ``usage_points``: the proven meters, or with v4 those that the callback names, which are no proof yet.
    ``data_from``: the first day that may be read, where the meter was another person's before.
    ``begun_at``: when the person was sent to the supplier's page; None where it is not known.
    """

    caller: ProxyCaller
    supplier: str
    begun_at: datetime | None
    usage_points: tuple[str, ...] = field(repr=False)
    autorisation_id: str | None = field(default=None, repr=False)
    supplier_code: str | None = field(default=None, repr=False)
    proof: Proof = Proof.NONE
    vouched_by: str | None = None
    browser: str | None = field(default=None, repr=False)
    data_from: date | None = None
    consent_until: date | None = None


_JSON: Final = TypeAdapter(ProxyCode)


@dataclass(frozen=True, kw_only=True)
class ProxyCodes:
    """Codes by which requests are handed over; every method raises StoreUnavailable."""

    flows: ConsentFlows
    sealer: Sealer

    def hand_over(self, request: ConnectionRequest, code: ProxyCode) -> ConnectionRequest:
        """Issue a code, and return the request with the address of the client that takes it there."""
        ids = {"usage_point_id": ",".join(code.usage_points), "autorisation_id": code.autorisation_id or ""}
        named = {name: value for name, value in ids.items() if value}
        text = secrets.token_urlsafe(32)
        self._store(text, code)
        return request.after(RequestEvent.HANDED_OVER, returns_to=code.caller.address(code=text, **named), page="")

    def redeem(self, text: str) -> ProxyCode | None:
        """Return what a code stands for, to the first caller; None where it is unknown, used or too old."""
        sealed = self.flows.redeem_code(text)
        try:
            return _JSON.validate_json(self.sealer.unseal(sealed, place_of_code(text))) if sealed else None
        except OperatorFault:  # The encryption key is gone: the person goes through the consent page again.
            return None

    def restore(self, text: str, code: ProxyCode) -> None:
        """Make a redeemed code valid again, for the supplier did not answer."""
        self._store(text, code)

    def _store(self, text: str, code: ProxyCode) -> None:
        self.flows.store_code(text, self.sealer.seal(_JSON.dump_json(code).decode(), place_of_code(text)))
