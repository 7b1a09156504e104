"""A grant of a client of the proxy, as if its code had been exchanged."""

from __future__ import annotations

from datetime import timedelta

from tests.support.parts import Parts
from worker.domain.consents import Proof
from worker.stores.registry.proxy import NewGrant, hash_of_code


def give_grant(parts: Parts, client_id: str, meter: str, days: int = 30) -> str:
    """Give the client a grant of v5 or 2026, whose consent ends in so many days, and return its id."""
    facts = NewGrant(
        client_id=client_id,
        supplier="enedis",
        meter=parts.stores.registry.erasures.digests("enedis", meter)[0],
        proof=Proof.INVITED,
        granted_at=parts.stores.now(),
        consent_until=parts.sync.history.today() + timedelta(days=days),
        code_hash=hash_of_code(f"{client_id} {meter} {days}", None),
    )
    with parts.stores.registry.database.writing() as connection:
        tokens = parts.stores.registry.proxy_grants.create(connection, facts)
    return tokens.access.split("_")[1]
