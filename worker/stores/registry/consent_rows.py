"""SQL statements for the rows of pending refusals and notices.

Every function works inside a transaction that its caller has opened, so that several tables change together.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Connection, delete, select

from worker.domain.consents import HOUSEHOLD_CHANNEL, Notice, NoticeKind
from worker.stores.database import build_insert
from worker.stores.registry.tables import HOUSEHOLD_ACCOUNTS, MAIL_ADDRESSES, NOTICES, PENDING_REFUSALS

NOTICE_QUERY = select(*(column for column in NOTICES.c if column is not NOTICES.c.key))


def new_id() -> str:
    """Return a random id: 20 hexadecimal digits."""
    return secrets.token_hex(10)


def build_notices(
    channels: Iterable[str], kind: NoticeKind, reason: str, about: str, now: datetime, account_id: str | None = None
) -> list[Notice]:
    """Return a new notice for each channel, to its account's owner or, without an account, to the operator."""
    return [Notice(new_id(), account_id, kind, reason, about, channel, now, now) for channel in channels]


def delete_pending_refusals(connection: Connection, account_id: str) -> int:
    """Delete the account's pending refusals and return their number."""
    return connection.execute(delete(PENDING_REFUSALS).where(PENDING_REFUSALS.c.account_id == account_id)).rowcount


def insert_notices(connection: Connection, notices: Iterable[Notice]) -> list[Notice]:
    """Insert the notices whose key is new, and return them; none for a household without a mail address."""
    inserted = []
    for notice in notices:
        if notice.channel == HOUSEHOLD_CHANNEL and not _has_address(connection, notice.account_id):
            continue
        row = {**asdict(notice), "key": notice.key}
        statement = build_insert(connection.dialect.name, NOTICES).values(**row)
        insert_once = statement.on_conflict_do_nothing(index_elements=["key"]).returning(NOTICES.c.id)
        if connection.execute(insert_once).first() is not None:
            inserted.append(notice)
    return inserted


def delete_undelivered_notices(connection: Connection, account_id: str) -> int:
    """Delete the account's notices that were not delivered yet, and return their number."""
    conditions = (NOTICES.c.account_id == account_id, NOTICES.c.delivered_at.is_(None))
    return connection.execute(delete(NOTICES).where(*conditions)).rowcount


def _has_address(connection: Connection, account_id: str | None) -> bool:
    """Return whether a household of the account has an address; what it says, and what for, the web alone can read."""
    is_same = HOUSEHOLD_ACCOUNTS.c.household_id == MAIL_ADDRESSES.c.household_id
    query = select(MAIL_ADDRESSES.c.household_id).join_from(MAIL_ADDRESSES, HOUSEHOLD_ACCOUNTS, is_same)
    return connection.execute(query.where(HOUSEHOLD_ACCOUNTS.c.account_id == account_id).limit(1)).first() is not None
