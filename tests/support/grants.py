"""A grant of a client of the proxy, as if its code had been exchanged."""

from __future__ import annotations

from datetime import timedelta

from worker.domain.consents import Proof
from worker.runtime.process import Runtime
from worker.stores.registry.proxy import NewGrant, hash_of_code


def give_grant(runtime: Runtime, client_id: str, meter: str, days: int = 30) -> str:
    """Give the client a grant of v5 or 2026, whose consent ends in so many days, and return its id."""
    facts = NewGrant(
        client_id=client_id,
        supplier="enedis",
        meter=runtime.erasures.digests("enedis", meter)[0],
        proof=Proof.INVITED,
        granted_at=runtime.now(),
        consent_until=runtime.history.today() + timedelta(days=days),
        code_hash=hash_of_code(f"{client_id} {meter} {days}", None),
    )
    with runtime.registry.database.writing() as connection:
        tokens = runtime.proxy_grant_table.create(connection, facts)
    return tokens.access.split("_")[1]
