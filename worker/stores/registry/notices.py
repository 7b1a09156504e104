"""The table of notices to owners and operators, with their delivery attempts.

A sender claims a notice before it sends it, so that two senders don't send it at the same time. A sender that dies
after its claim leaves the notice due again: the receiver may get it twice and recognises it by its id.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import delete, select, update

from worker.domain.consents import HOUSEHOLD_CHANNEL, Notice
from worker.domain.retry import NOTICE_DELAYS
from worker.stores.database import SqlTable
from worker.stores.registry import consent_rows
from worker.stores.registry.tables import NOTICES

MAX_ATTEMPTS: Final = len(NOTICE_DELAYS)
_PAGE_SIZE: Final = 500


class NoticeTable(SqlTable):
    """The table of notices; every method raises StoreUnavailable."""

    def insert_new(self, notices: Iterable[Notice]) -> list[Notice]:
        """Insert the notices whose key is new, and return them."""
        with self._database.writing() as connection:
            return consent_rows.insert_notices(connection, notices)

    def list_due(self, now: datetime, *, to_households: bool = False) -> list[str]:
        """Return the ids of the notices that are due, the longest waiting first.

        Those to households are listed apart: the web application sends them, which alone can read their addresses.
        """
        channel = NOTICES.c.channel
        is_wanted = channel == HOUSEHOLD_CHANNEL if to_households else channel != HOUSEHOLD_CHANNEL
        waiting = (NOTICES.c.delivered_at.is_(None), NOTICES.c.attempts < MAX_ATTEMPTS)
        query = select(NOTICES.c.id).where(is_wanted, *waiting, NOTICES.c.next_attempt_at <= now)
        return [row.id for row in self._database.fetch(query.order_by(NOTICES.c.next_attempt_at).limit(_PAGE_SIZE))]

    def claim(self, notice_id: str, now: datetime) -> Notice | None:
        """Claim a notice if it is still due, and return it; else return None.

        The claim counts as an attempt. The notice is due again after a delay unless it is marked as delivered.
        """
        has_id = NOTICES.c.id == notice_id
        with self._database.writing() as connection:
            # A second sender waits here for the row lock and then reads the new attempt.
            row = connection.execute(select(NOTICES).where(has_id).with_for_update()).one_or_none()
            if row is None or row.delivered_at is not None:
                return None
            if row.attempts >= MAX_ATTEMPTS or row.next_attempt_at > now:
                return None
            values = {"attempts": row.attempts + 1, "next_attempt_at": now + NOTICE_DELAYS[row.attempts]}
            connection.execute(update(NOTICES).where(has_id).values(**values))
            return Notice(**connection.execute(consent_rows.NOTICE_QUERY.where(has_id)).one()._asdict())

    def mark_delivered(self, notice_id: str, now: datetime) -> None:
        """Record that a notice was delivered, so that it is not due any more."""
        self._database.change(update(NOTICES).where(NOTICES.c.id == notice_id).values(delivered_at=now, last_error=""))

    def record_failure(self, notice_id: str, reason: str) -> None:
        """Record why an attempt failed; ``reason`` is our own text and contains no secret."""
        self._database.change(update(NOTICES).where(NOTICES.c.id == notice_id).values(last_error=reason[:200]))

    def delete(self, notice_id: str) -> None:
        """Delete a notice that is no longer true."""
        self._database.change(delete(NOTICES).where(NOTICES.c.id == notice_id))

    def list_for_account(self, account_id: str) -> list[Notice]:
        """Return all notices about an account, the oldest first."""
        query = consent_rows.NOTICE_QUERY.where(NOTICES.c.account_id == account_id)
        oldest_first = query.order_by(NOTICES.c.created_at, NOTICES.c.id)
        return [Notice(**row._asdict()) for row in self._database.fetch(oldest_first)]

    def delete_before(self, moment: datetime) -> int:
        """Delete the notices created before ``moment``, delivered or not, and return their number."""
        return self._database.change(delete(NOTICES).where(NOTICES.c.created_at < moment))
