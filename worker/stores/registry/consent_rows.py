"""SQL statements for the rows of consent proofs, pending refusals and notices.

Every function works inside a transaction that its caller has opened, so that several tables change together.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from worker.domain.consent.consents import ConsentKind, ConsentProof, Notice, NoticeKind, PendingRefusal
from worker.stores.registry.tables import CONSENT_PROOFS, NOTICES, PENDING_REFUSALS
from worker.stores.sql_engines import build_insert


def new_id() -> str:
    """Return a random id: 20 hexadecimal digits."""
    return secrets.token_hex(10)


def delete_pending_refusals(connection: Connection, account_id: str) -> int:
    """Delete the account's pending refusals and return their number."""
    return connection.execute(delete(PENDING_REFUSALS).where(PENDING_REFUSALS.c.account_id == account_id)).rowcount


def end_proofs(connection: Connection, account_id: str, reason: str, now: datetime) -> int:
    """End the account's open proofs and return their number."""
    conditions = (CONSENT_PROOFS.c.account_id == account_id, CONSENT_PROOFS.c.ended_at.is_(None))
    return connection.execute(
        update(CONSENT_PROOFS).where(*conditions).values(ended_at=now, end_reason=reason)
    ).rowcount


def reopen_proofs(connection: Connection, account_id: str, reason: str, since: datetime) -> int:
    """Reopen the proofs that ``end_proofs`` has ended for this reason since ``since``, and return their number."""
    conditions = (
        CONSENT_PROOFS.c.account_id == account_id,
        CONSENT_PROOFS.c.ended_at >= since,
        CONSENT_PROOFS.c.end_reason == reason,
    )
    return connection.execute(update(CONSENT_PROOFS).where(*conditions).values(ended_at=None, end_reason="")).rowcount


def insert_notices(connection: Connection, notices: Iterable[Notice]) -> list[Notice]:
    """Insert the notices whose key is new, and return them."""
    inserted = []
    for notice in notices:
        row = {
            "id": notice.id,
            "key": notice.key,
            "account_id": notice.account_id,
            "kind": notice.kind.value,
            "reason": notice.reason,
            "about": notice.about,
            "channel": notice.channel,
            "created_at": notice.created_at,
            "attempts": notice.attempts,
            "next_attempt_at": notice.next_attempt_at,
            "delivered_at": notice.delivered_at,
            "last_error": notice.last_error,
        }
        statement = build_insert(connection.dialect.name, NOTICES).values(**row)
        insert_once = statement.on_conflict_do_nothing(index_elements=["key"]).returning(NOTICES.c.id)
        if connection.execute(insert_once).first() is not None:
            inserted.append(notice)
    return inserted


def delete_undelivered_notices(connection: Connection, account_id: str) -> int:
    """Delete the account's notices that were not delivered yet, and return their number."""
    conditions = (NOTICES.c.account_id == account_id, NOTICES.c.delivered_at.is_(None))
    return connection.execute(delete(NOTICES).where(*conditions)).rowcount


def find_open_proof(connection: Connection, account_id: str) -> Row[Any] | None:
    """Return the row of the account's proof in force, or None."""
    query = select(CONSENT_PROOFS).where(CONSENT_PROOFS.c.account_id == account_id, CONSENT_PROOFS.c.ended_at.is_(None))
    return connection.execute(query.order_by(CONSENT_PROOFS.c.consented_at.desc()).limit(1)).one_or_none()


def to_proof(row: Row[Any]) -> ConsentProof:
    """Convert a row of ``consent_proofs``."""
    return ConsentProof(
        id=row.id,
        account_id=row.account_id,
        supplier=row.supplier,
        kind=ConsentKind(row.kind),
        consented_at=row.consented_at,
        consent_from=row.consent_from,
        consent_until=row.consent_until,
        reference=row.reference,
        names_meter=row.sealed_usage_point is not None,
        ended_at=row.ended_at,
        end_reason=row.end_reason,
    )


def to_pending_refusal(row: Row[Any]) -> PendingRefusal:
    """Convert a row of ``pending_refusals``."""
    return PendingRefusal(row.account_id, row.code, row.first_seen, row.last_seen, row.times)


def to_notice(row: Row[Any]) -> Notice:
    """Convert a row of ``notices``."""
    return Notice(
        id=row.id,
        account_id=row.account_id,
        kind=NoticeKind(row.kind),
        reason=row.reason,
        about=row.about,
        channel=row.channel,
        created_at=row.created_at,
        next_attempt_at=row.next_attempt_at,
        attempts=row.attempts,
        delivered_at=row.delivered_at,
        last_error=row.last_error,
    )
