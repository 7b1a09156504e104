"""Rows of proofs, doubts and notices to nouns and back, inside a transaction that a book opened."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from worker.domain.consent.consents import ConsentKind, ConsentProof, Notice, NoticeKind, PendingRefusal
from worker.stores.registry.outcomes import insert
from worker.stores.registry.tables import CONSENT_PROOFS, DOUBTS, NOTICES


def new_id() -> str:
    return secrets.token_hex(10)


def clear_doubts(connection: Connection, account_id: str) -> int:
    return connection.execute(delete(DOUBTS).where(DOUBTS.c.account_id == account_id)).rowcount


def end_proofs(connection: Connection, account_id: str, reason: str, now: datetime) -> int:
    """End the account's open proofs; how many there were."""
    which = (CONSENT_PROOFS.c.account_id == account_id, CONSENT_PROOFS.c.ended_at.is_(None))
    return connection.execute(update(CONSENT_PROOFS).where(*which).values(ended_at=now, end_reason=reason)).rowcount


def reopen_proofs(connection: Connection, account_id: str, reason: str, since: datetime) -> int:
    """What ``end_proofs`` ended since then for this reason holds after all; how many."""
    ended = (CONSENT_PROOFS.c.ended_at >= since, CONSENT_PROOFS.c.end_reason == reason)
    which = (CONSENT_PROOFS.c.account_id == account_id, *ended)
    return connection.execute(update(CONSENT_PROOFS).where(*which).values(ended_at=None, end_reason="")).rowcount


def insert_notices(connection: Connection, notices: Iterable[Notice]) -> list[Notice]:
    """Keep those that weren't told of before; which they were."""
    kept = []
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
        statement = insert(connection.dialect.name, NOTICES).values(**row)
        new = statement.on_conflict_do_nothing(index_elements=["key"]).returning(NOTICES.c.id)
        if connection.execute(new).first() is not None:
            kept.append(notice)
    return kept


def drop_untold(connection: Connection, account_id: str) -> int:
    """Forget what was still to be told of the account."""
    untold = (NOTICES.c.account_id == account_id, NOTICES.c.delivered_at.is_(None))
    return connection.execute(delete(NOTICES).where(*untold)).rowcount


def open_proof(connection: Connection, account_id: str) -> Row[Any] | None:
    query = select(CONSENT_PROOFS).where(CONSENT_PROOFS.c.account_id == account_id, CONSENT_PROOFS.c.ended_at.is_(None))
    return connection.execute(query.order_by(CONSENT_PROOFS.c.consented_at.desc()).limit(1)).one_or_none()


def to_proof(row: Row[Any]) -> ConsentProof:
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


def to_doubt(row: Row[Any]) -> PendingRefusal:
    return PendingRefusal(row.account_id, row.code, row.first_seen, row.last_seen, row.times)


def to_notice(row: Row[Any]) -> Notice:
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
