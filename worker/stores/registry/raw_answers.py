"""Answers as they came, sealed, per account and month: appended one by one, later made one row a month.

They stand in the registry and not with the measures: an answer must not outlive its account by a race, which takes
the registry's lock on the account, and every measure store would need a second kind of document for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, delete, select, update

from worker.domain.measures.answers import RawAnswer, pack_raw_answer, unpack_raw_answer
from worker.errors import UnknownAccount
from worker.stores.encryption import Sealer, rotate_seals
from worker.stores.registry import account_rows, consent_rows
from worker.stores.registry.database import Database
from worker.stores.registry.tables import RAW_ANSWERS

_C = RAW_ANSWERS.c
PAGE = 50


class RawAnswerTable:
    """Every method raises StoreUnavailable; those that open a seal OperatorFault where its key is gone."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    def answered(self, account_id: str, told: RawAnswer) -> None:
        """Keep an answer; it is on disk when this returns.  Raises UnknownAccount for a removed account."""
        sealed = self._sealer.seal_bytes(pack_raw_answer([told]))  # outside of the transaction: it takes the longest
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, shared=True)
            self._insert(connection, account_id, month_of(told.asked_at), (told.asked_at, told.asked_at), sealed)

    def months(self, account_id: str) -> list[str]:
        """Months that anything is kept of, oldest first."""
        query = select(_C.month).where(_C.account_id == account_id).distinct().order_by(_C.month)
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())

    def told(self, account_id: str) -> Iterator[RawAnswer]:
        """All that is kept of an account, as it was told in time; a month at a time in memory."""
        for month in self.months(account_id):
            with self._database.reading() as connection:
                rows = connection.execute(select(_C.sealed).where(*_of(account_id, month))).scalars().all()
            yield from self._open(rows)

    def forget_before(self, moment: datetime) -> int:
        """Erase the rows whose last answer is older; how many.  A month that was made one row goes as a whole."""
        with self._database.writing() as connection:
            return connection.execute(delete(RAW_ANSWERS).where(_C.last_at < moment)).rowcount

    def pack(self, now: datetime, most: int) -> int:
        """Make months that are over one row each, at most so many; how many were."""
        loose = select(_C.month, _C.account_id).where(_C.packed.is_(False), _C.month < month_of(now))
        with self._database.reading() as connection:
            due = connection.execute(loose.distinct().order_by(_C.month, _C.account_id).limit(most)).all()
        return sum(self._pack(account_id, month) for month, account_id in due)

    def rotate_seals(self) -> int:
        """Seal every row anew under the first key; how many.  Safe to repeat and to run beside work.

        Raises OperatorFault at the end if some could not be read; the others are done.
        """
        return rotate_seals(self._database, self._sealer, _C.id, _C.sealed, "kept answers", page=PAGE)

    def _pack(self, account_id: str, month: str) -> bool:
        with self._database.writing() as connection:
            try:
                account_rows.lock(connection, account_id, shared=True)
            except UnknownAccount:  # removed since, and its answers with it
                return False
            mine = _of(account_id, month)
            rows = connection.execute(select(RAW_ANSWERS).where(*mine).with_for_update()).all()
            if len(rows) == 1:
                connection.execute(update(RAW_ANSWERS).where(*mine).values(packed=True))
            elif rows:
                sealed = self._sealer.seal_bytes(pack_raw_answer(self._open([row.sealed for row in rows])))
                connection.execute(delete(RAW_ANSWERS).where(_C.id.in_([row.id for row in rows])))
                span = (min(row.first_at for row in rows), max(row.last_at for row in rows))
                self._insert(connection, account_id, month, span, sealed, packed=True)
            return bool(rows)

    def _open(self, rows: Iterable[bytes]) -> list[RawAnswer]:
        every = [told for sealed in rows for told in unpack_raw_answer(self._sealer.unseal_bytes(sealed))]
        return sorted(every, key=lambda told: told.asked_at)

    def _insert(
        self,
        connection: Connection,
        account_id: str,
        month: str,
        span: tuple[datetime, datetime],
        sealed: bytes,
        *,
        packed: bool = False,
    ) -> None:
        row = {"id": consent_rows.new_id(), "account_id": account_id, "month": month, "packed": packed}
        connection.execute(RAW_ANSWERS.insert().values(first_at=span[0], last_at=span[1], sealed=sealed, **row))


def month_of(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m")


def _of(account_id: str, month: str) -> tuple[ColumnElement[bool], ...]:
    return (_C.account_id == account_id, _C.month == month)
