"""The move of the consents of before step 0004 into the chain of evidence.

A migration has no keys, so the first process that has them does this, before the chain has its first row. Later rows
of the old table are left where they are: nothing of ours writes them, and the check of the chain names them.
"""

from __future__ import annotations

import secrets
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, delete, select

from worker.domain.account import AccountState
from worker.domain.consents import ConsentKind
from worker.domain.evidence import DatesSource, PersonalPart
from worker.errors import OperatorFault
from worker.stores.database import Database, place_of
from worker.stores.registry.evidence.chain import EvidenceChain
from worker.stores.registry.tables import ACCOUNTS, CONSENT_PROOFS, USAGE_POINTS
from worker.stores.sealing import Sealer


def import_older_consents(database: Database, sealer: Sealer) -> int:
    """Move the consents of before into the chain, in the order in which they began and ended; return their number.

    Processes that do this at the same time take turns.
    """
    with database.reading() as connection:
        if connection.execute(select(CONSENT_PROOFS.c.id).limit(1)).first() is None:
            return 0
    chain = EvidenceChain(sealer)
    with database.writing() as connection:
        return _import(connection, chain, sealer) if chain.is_empty(connection) else 0


def _import(connection: Connection, chain: EvidenceChain, sealer: Sealer) -> int:
    joined = CONSENT_PROOFS.join(ACCOUNTS).outerjoin(USAGE_POINTS, USAGE_POINTS.c.account_id == ACCOUNTS.c.id)
    query = select(CONSENT_PROOFS, ACCOUNTS.c.tenant, ACCOUNTS.c.state, USAGE_POINTS.c.usage_point_id)
    rows = [dict(row) for row in connection.execute(query.select_from(joined)).mappings()]
    events = [(row["consented_at"], 0, row["id"], row) for row in rows]
    events += [(row["ended_at"], 1, row["id"], row) for row in rows if row["ended_at"] is not None]
    # A consent that was ended before it was given, by a clock that was set back, still begins first.
    given: set[str] = set()
    for moment, is_end, consent_id, row in sorted(events, key=itemgetter(0, 1, 2)):
        if consent_id not in given:
            given.add(consent_id)
            _append(connection, chain, sealer, row)
        if is_end:
            chain.append_end(connection, {**row, "consent_id": consent_id}, row["end_reason"], moment, None)
    # What an erasure left in clear text, the reference, goes with the meter now.
    for account_id in {row["account_id"] for row in rows if row["state"] is AccountState.DELETED}:
        chain.erase_personal(connection, account_id)
    connection.execute(delete(CONSENT_PROOFS))
    return len(rows)


def _append(connection: Connection, chain: EvidenceChain, sealer: Sealer, row: dict[str, Any]) -> None:
    personal = PersonalPart(secrets.token_hex(32), _meter_of(sealer, row), row["reference"])
    names = ("account_id", "tenant", "supplier", "kind", "proof", "browser", "consent_from", "consent_until")
    facts = {name: row[name] for name in names}
    dates_from = DatesSource.ASSERTED if row["kind"] is ConsentKind.ASSERTED else DatesSource.UNKNOWN
    columns = {"consent_id": row["id"], "actor": row["vouched_by"], "recorded_at": row["consented_at"]}
    unknown = {"dates_from": dates_from, "line": None}
    chain.append_given(connection, {**facts, **columns, **unknown}, personal)


def _meter_of(sealer: Sealer, row: dict[str, Any]) -> str | None:
    sealed: str | None = row["sealed_usage_point"]
    try:
        place = place_of(CONSENT_PROOFS.c.sealed_usage_point, row["id"])
        return sealer.unseal(sealed, place) if sealed else None
    except OperatorFault:  # Its key is gone, but an account that still reads the meter names it.
        number: str | None = row["usage_point_id"]
        return number
