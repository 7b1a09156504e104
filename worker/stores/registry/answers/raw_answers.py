"""The table of raw answers: each supplier answer as it came, sealed, by account and month.

Answers are appended one by one; a past month is later packed into one row. They are in the registry and not in the
measure store for two reasons: only the registry's lock on the account prevents an answer from being stored after the
account's removal, and every measure store would need a second kind of document for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, select, update

from worker.domain.answers import RawAnswer, pack_raw_answers, unpack_raw_answers
from worker.errors import UnknownAccount
from worker.stores.database import SealedTable, place_of
from worker.stores.registry import account_rows, consent_rows
from worker.stores.registry.tables import RAW_ANSWERS

_C = RAW_ANSWERS.c
PAGE = 50


class RawAnswerTable(SealedTable):
    """The table of raw answers.

    Every method raises StoreUnavailable; a method that unseals answers raises OperatorFault if their key is missing.
    """

    def record_answer(self, account_id: str, answer: RawAnswer) -> None:
        """Store an answer; it is on disk when this returns. Raises UnknownAccount, also for a removed account."""
        # Sealing takes the longest, so it happens outside of the transaction.
        answer_id, span = consent_rows.new_id(), (answer.asked_at, answer.asked_at)
        sealed = self._seal(answer_id, [answer])
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, shared=True)
            self._insert(connection, answer_id, account_id, month_of(answer.asked_at), span, sealed)

    def list_months(self, account_id: str) -> list[str]:
        """Return the months with stored answers, for example "2024-07", the oldest first."""
        query = select(_C.month).where(_C.account_id == account_id).distinct().order_by(_C.month)
        return [row.month for row in self._database.fetch(query)]

    def read_answers(self, account_id: str) -> Iterator[RawAnswer]:
        """Yield all answers of an account in the order of their requests, with one month in memory at a time."""
        for month in self.list_months(account_id):
            yield from self._unseal(self._database.fetch(select(_C.id, _C.sealed).where(*_in_month(account_id, month))))

    def delete_before(self, moment: datetime) -> int:
        """Delete the rows whose last answer is older than ``moment`` and return their number.

        A packed month is deleted as a whole.
        """
        return self._database.change(delete(RAW_ANSWERS).where(_C.last_at < moment))

    def pack_past_months(self, now: datetime, limit: int) -> int:
        """Pack at most ``limit`` past months into one row each and return how many were packed."""
        unpacked = select(_C.month, _C.account_id).where(_C.packed.is_(False), _C.month < month_of(now))
        months = self._database.fetch(unpacked.distinct().order_by(_C.month, _C.account_id).limit(limit))
        return sum(self._pack(account_id, month) for month, account_id in months)

    def _pack(self, account_id: str, month: str) -> bool:
        with self._database.writing() as connection:
            try:
                account_rows.lock(connection, account_id, shared=True)
            except UnknownAccount:
                # The account was removed meanwhile, together with its answers.
                return False
            in_month = _in_month(account_id, month)
            # The rows are locked, so that two processes don't pack the same month. Both statements are in one
            # transaction: a reader sees the month either packed or not, never twice.
            rows = connection.execute(select(RAW_ANSWERS).where(*in_month).with_for_update()).all()
            if len(rows) == 1:
                connection.execute(update(RAW_ANSWERS).where(*in_month).values(packed=True))
            elif rows:
                packed_id = consent_rows.new_id()
                sealed = self._seal(packed_id, self._unseal(rows))
                connection.execute(delete(RAW_ANSWERS).where(_C.id.in_([row.id for row in rows])))
                span = (min(row.first_at for row in rows), max(row.last_at for row in rows))
                self._insert(connection, packed_id, account_id, month, span, sealed, packed=True)
            return bool(rows)

    def _seal(self, answer_id: str, answers: list[RawAnswer]) -> bytes:
        return self._sealer.seal_bytes(pack_raw_answers(answers), place_of(_C.sealed, answer_id))

    def _unseal(self, rows: Iterable[Row[Any]]) -> list[RawAnswer]:
        contents = [self._sealer.unseal_bytes(row.sealed, place_of(_C.sealed, row.id)) for row in rows]
        answers = [answer for content in contents for answer in unpack_raw_answers(content)]
        return sorted(answers, key=lambda answer: answer.asked_at)

    def _insert(
        self,
        connection: Connection,
        answer_id: str,
        account_id: str,
        month: str,
        span: tuple[datetime, datetime],
        sealed: bytes,
        *,
        packed: bool = False,
    ) -> None:
        row = {"id": answer_id, "account_id": account_id, "month": month, "packed": packed}
        connection.execute(RAW_ANSWERS.insert().values(first_at=span[0], last_at=span[1], sealed=sealed, **row))


def month_of(moment: datetime) -> str:
    """Return the UTC month of a moment, for example "2024-07"."""
    return moment.astimezone(UTC).strftime("%Y-%m")


def _in_month(account_id: str, month: str) -> tuple[ColumnElement[bool], ...]:
    return (_C.account_id == account_id, _C.month == month)
