"""What is to be told to whom, and how often that was tried; a sender claims a notice before it sends.

So two senders don't tell it at once, and one that dies in between costs a repeat: the receiver knows a notice
by its id.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, delete, select, update

from worker.domain.consent.consents import Notice
from worker.stores.registry import consent_rows
from worker.stores.registry.database import Database
from worker.stores.registry.tables import NOTICES

MOST_ATTEMPTS: Final = 8
WAITS: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 180, 360, 720, 720))  # about a day
_PAGE: Final = 500


class NoticeTable:
    """Every method raises StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def post(self, notices: Iterable[Notice]) -> list[Notice]:
        """Keep what wasn't told of before; which that is."""
        with self._database.writing() as connection:
            return consent_rows.insert_notices(connection, notices)

    def due(self, now: datetime, limit: int = _PAGE) -> list[str]:
        """Ids of notices that wait to be sent, those waiting longest first."""
        waiting = (NOTICES.c.delivered_at.is_(None), NOTICES.c.attempts < MOST_ATTEMPTS)
        query = select(NOTICES.c.id).where(*waiting, NOTICES.c.next_attempt_at <= now)
        with self._database.reading() as connection:
            return list(connection.execute(query.order_by(NOTICES.c.next_attempt_at).limit(limit)).scalars())

    def claim(self, notice_id: str, now: datetime) -> Notice | None:
        """The notice, if it is due and ours to send; counted as an attempt, and due again later if nothing comes."""
        this = NOTICES.c.id == notice_id
        with self._database.writing() as connection:
            row = connection.execute(select(NOTICES).where(this).with_for_update()).one_or_none()
            if row is None or row.delivered_at is not None:
                return None
            if row.attempts >= MOST_ATTEMPTS or row.next_attempt_at > now:
                return None
            values = {"attempts": row.attempts + 1, "next_attempt_at": now + WAITS[row.attempts]}
            connection.execute(update(NOTICES).where(this).values(**values))
            return consent_rows.to_notice(connection.execute(select(NOTICES).where(this)).one())

    def delivered(self, notice_id: str, now: datetime) -> None:
        with self._database.writing() as connection:
            connection.execute(update(NOTICES).where(NOTICES.c.id == notice_id).values(delivered_at=now, last_error=""))

    def failed(self, notice_id: str, why: str) -> None:
        """Note why an attempt failed; ``why`` is ours and names no secret."""
        with self._database.writing() as connection:
            connection.execute(update(NOTICES).where(NOTICES.c.id == notice_id).values(last_error=why[:200]))

    def drop(self, notice_id: str) -> None:
        """It is not true any more, so it isn't told."""
        with self._database.writing() as connection:
            connection.execute(delete(NOTICES).where(NOTICES.c.id == notice_id))

    def of(self, account_id: str) -> list[Notice]:
        return self._list(NOTICES.c.account_id == account_id)

    def given_up(self, since: datetime) -> list[Notice]:
        """Those that nobody took, for the operator."""
        return self._list(
            NOTICES.c.delivered_at.is_(None), NOTICES.c.attempts >= MOST_ATTEMPTS, NOTICES.c.created_at >= since
        )

    def erase_before(self, moment: datetime) -> int:
        """Forget old notices, told or not; how many."""
        with self._database.writing() as connection:
            return connection.execute(delete(NOTICES).where(NOTICES.c.created_at < moment)).rowcount

    def _list(self, *where: ColumnElement[bool]) -> list[Notice]:
        query = select(NOTICES).where(*where).order_by(NOTICES.c.created_at, NOTICES.c.id)
        with self._database.reading() as connection:
            return [consent_rows.to_notice(row) for row in connection.execute(query)]
