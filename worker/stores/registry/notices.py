"""The table of notices to owners and operators, with their delivery attempts.

A sender claims a notice before sending it, so that two senders don't send the same notice at the same time. If a sender
dies after its claim, the notice becomes due again; the receiver may then get it twice, and can recognise it by its id.

Functions that take a connection work inside their caller's transaction, so that several tables change together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, select, update

from worker.domain.notice import HOUSEHOLD_CHANNEL, Notice, NoticeKind
from worker.domain.retry import NOTICE_DELAYS
from worker.stores.database import SqlTable, build_insert, new_id
from worker.stores.registry.tables import HOUSEHOLD_ACCOUNTS, MAIL_ADDRESSES, NOTICES

# A newer version's kinds are left to its processes.
_IS_KNOWN: Final = NOTICES.c.kind.in_(list(NoticeKind))
NOTICE_QUERY = select(*(column for column in NOTICES.c if column is not NOTICES.c.key)).where(_IS_KNOWN)
MAX_ATTEMPTS: Final = len(NOTICE_DELAYS)
_PAGE_SIZE: Final = 500


class NoticeTable(SqlTable):
    def insert_new(self, notices: Iterable[Notice]) -> list[Notice]:
        """Insert the notices whose key isn't in the table yet, and return them."""
        with self._database.writing() as connection:
            return insert_notices(connection, notices)

    def list_due(self, now: datetime, *, to_households: bool = False) -> list[str]:
        """Return the ids of the notices that are due, longest waiting first.

        ``to_households``: True for the notices to households, False for all others. Notices to households are sent by
        the web application, because only the web application can read the households' addresses.
        """
        channel = NOTICES.c.channel
        is_wanted = channel == HOUSEHOLD_CHANNEL if to_households else channel != HOUSEHOLD_CHANNEL
        waiting = (NOTICES.c.delivered_at.is_(None), NOTICES.c.attempts < MAX_ATTEMPTS)
        query = select(NOTICES.c.id).where(_IS_KNOWN, is_wanted, *waiting, NOTICES.c.next_attempt_at <= now)
        return [row.id for row in self._database.fetch(query.order_by(NOTICES.c.next_attempt_at).limit(_PAGE_SIZE))]

    def claim(self, notice_id: str, now: datetime) -> Notice | None:
        """Claim a notice if it is still due, and return it; otherwise return None.

        The claim counts as an attempt. If the notice isn't marked as delivered, it is due again after a delay.
        """
        has_id = NOTICES.c.id == notice_id
        with self._database.writing() as connection:
            # A second sender waits here for the row lock, and then sees the attempt of the first one.
            row = connection.execute(select(NOTICES).where(has_id).with_for_update()).one_or_none()
            if row is None or row.delivered_at is not None:
                return None
            if row.attempts >= MAX_ATTEMPTS or row.next_attempt_at > now:
                return None
            values = {"attempts": row.attempts + 1, "next_attempt_at": now + NOTICE_DELAYS[row.attempts]}
            connection.execute(update(NOTICES).where(has_id).values(**values))
            return Notice(**connection.execute(NOTICE_QUERY.where(has_id)).one()._asdict())

    def mark_delivered(self, notice_id: str, now: datetime) -> None:
        """Record that a notice was delivered, so that it is no longer due."""
        self._database.change(update(NOTICES).where(NOTICES.c.id == notice_id).values(delivered_at=now, last_error=""))

    def record_failure(self, notice_id: str, reason: str) -> None:
        """Record why an attempt failed; ``reason`` is a text of our own without secrets."""
        self._database.change(update(NOTICES).where(NOTICES.c.id == notice_id).values(last_error=reason[:200]))

    def delete(self, notice_id: str) -> None:
        """Delete a notice that no longer applies."""
        self._database.change(delete(NOTICES).where(NOTICES.c.id == notice_id))

    def list_for_account(self, account_id: str) -> list[Notice]:
        """Return all notices about an account, the oldest first."""
        query = NOTICE_QUERY.where(NOTICES.c.account_id == account_id)
        oldest_first = query.order_by(NOTICES.c.created_at, NOTICES.c.id)
        return [Notice(**row._asdict()) for row in self._database.fetch(oldest_first)]

    def delete_before(self, moment: datetime) -> int:
        """Delete the notices created before ``moment``, delivered or not; return how many were deleted."""
        return self._database.change(delete(NOTICES).where(NOTICES.c.created_at < moment))


def build_notices(
    channels: Iterable[str], kind: NoticeKind, reason: str, about: str, now: datetime, account_id: str | None = None
) -> list[Notice]:
    """Return a new notice for each channel. It is for the account's owner or, without ``account_id``, the operator."""
    return [Notice(new_id(), account_id, kind, reason, about, channel, now, now) for channel in channels]


def insert_notices(connection: Connection, notices: Iterable[Notice]) -> list[Notice]:
    """Insert the notices whose key isn't in the table yet, and return them.

    A notice to a household without a mail address is left out.
    """
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


def _has_address(connection: Connection, account_id: str | None) -> bool:
    """Return whether a household with this account has a mail address. No key is needed for this."""
    is_same = HOUSEHOLD_ACCOUNTS.c.household_id == MAIL_ADDRESSES.c.household_id
    query = select(MAIL_ADDRESSES.c.household_id).join_from(MAIL_ADDRESSES, HOUSEHOLD_ACCOUNTS, is_same)
    return connection.execute(query.where(HOUSEHOLD_ACCOUNTS.c.account_id == account_id).limit(1)).first() is not None
