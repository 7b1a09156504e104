"""Records of suppliers' answers: corrected readings, raw answers, and the quarantine of unexpected answers.

A correction contains the old and the new value of a reading. Raw answers are sealed. Each new answer gets a row; when a
month is past, the rows of an account's month are packed into one. Raw answers are in the registry and not in the
measure store for two reasons. Only the registry's lock on the account prevents an answer from being stored after the
account's removal. And every measure store would need a second kind of document. The quarantine has one row for each way
in which suppliers' answers deviate from the known shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, func, select, union, update

from worker.domain.answers import Deviation, DeviationKind, RawAnswer, pack_raw_answers, to_sample, unpack_raw_answers
from worker.domain.documents import REMOVED
from worker.domain.notice import Notice
from worker.domain.series import Doctype, Series
from worker.errors import UnknownAccount
from worker.stores.database import SealedTable, SqlTable, build_insert, new_id, place_of
from worker.stores.registry import account_rows
from worker.stores.registry.notices import insert_notices
from worker.stores.registry.tables import CORRECTIONS, QUARANTINE, RAW_ANSWERS, READING_CHANGES

_A_SECOND: Final = timedelta(seconds=1)  # Answers' times are whole seconds, so two changes may have the same time.
_RAW = RAW_ANSWERS.c
PAGE = 50
_QUARANTINE = QUARANTINE.c
_ENTRY = [column for column in _QUARANTINE if column is not _QUARANTINE.sealed_sample]
# Without this limit, a supplier whose every answer deviates in a new way would fill the disk and the mailbox.
MAX_ROWS: Final = 200


@dataclass(frozen=True, slots=True)
class Correction:
    """A changed reading, with its old and new amount as in ``documents.Entry``.

    ``became_amount`` is ``documents.REMOVED`` if the reading was removed. A step is removed if steps with other bounds
    replace it, and a daily value if it is impossibly high. ``was_amount`` is ``documents.REMOVED`` if a removed reading
    was stored again. ``first_seen``: the ``created_at`` that was stored with the old reading, or None.
    """

    account_id: str
    doctype: Doctype
    key: str
    was_amount: int
    became_amount: int
    first_seen: datetime | None
    changed_at: datetime
    run_id: str


_TABLES: Final = (CORRECTIONS, READING_CHANGES)
_COLUMNS: Final = [field.name for field in fields(Correction)]
# UNION drops duplicates: while workers of 0.2.0 still ran, a correction may have been recorded in both tables.
_BOTH: Final = union(*(select(*(table.c[name] for name in _COLUMNS)) for table in _TABLES)).subquery().c
_OF_SERIES: Final = _BOTH.account_id == bindparam("of_account"), _BOTH.doctype == bindparam("of_doctype")
_IN_KEYS: Final = _BOTH.key >= bindparam("first_key"), _BOTH.key < bindparam("end_key")
# This statement is built only once, because building it costs more than running it.
_IN_SPAN: Final = select(*_BOTH).where(*_OF_SERIES, *_IN_KEYS).order_by(_BOTH.key, _BOTH.changed_at)


class CorrectionTable(SqlTable):
    """The journal of corrections, read together with the table of 0.2.0. New corrections go only into the journal."""

    def record(self, corrections: Iterable[Correction]) -> None:
        """Insert each correction unless the newest entry of its reading records the same. Raises UnknownAccount.

        If ``was_amount`` is ``REMOVED`` and the reading has no entries, the reading is new, and nothing is recorded.
        """
        rows = list(corrections)
        keys, known = sorted(row.key for row in rows), {(row.account_id, row.doctype) for row in rows}
        spans = [_span(*series, keys[0], keys[-1] + " ") for series in known]
        if all(row.was_amount == REMOVED for row in rows) and not any(
            self._database.fetch(_IN_SPAN, one) for one in spans
        ):
            return  # All readings are new. Most calls end here.
        with self._database.writing() as connection:
            # All processes lock the accounts in the same order, so that they can't deadlock.
            for account_id in sorted({row.account_id for row in rows}):
                account_rows.lock(connection, account_id, shared=True)
            newest = {_reading_of(one): one for span in spans for one in _read(connection.execute(_IN_SPAN, span))}
            changes = []
            for row in rows:
                last = newest.get(_reading_of(row))
                if not _is_told(last, row):
                    newest[_reading_of(row)] = change = _placed_after(last, row)
                    changes.append(asdict(change))
            if changes:
                insert = build_insert(self._database.dialect, READING_CHANGES)
                connection.execute(insert.on_conflict_do_nothing(), changes)

    def withdraw(self, account_id: str, doctype: Doctype, run_id: str, stored: Mapping[str, int]) -> None:
        """Delete a run's changes that never happened, because the run's write was lost.

        ``stored``: the stored amount of each reading whose write was lost, ``REMOVED`` if none is stored. A change that
        is one of the steps that lead to this amount has happened, and stays.
        """
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, shared=True)
            changes = _read(connection.execute(_IN_SPAN, _span(account_id, doctype, min(stored), max(stored) + " ")))
            values = dict(stored)
            for change in reversed(changes):
                if change.became_amount == values.get(change.key):
                    values[change.key] = change.was_amount
                elif change.run_id == run_id and change.key in stored:
                    is_change = (column == getattr(change, column.name) for column in READING_CHANGES.primary_key)
                    connection.execute(delete(READING_CHANGES).where(*is_change))

    def list_between(self, account_id: str, doctype: Doctype, first_key: str, end_key: str) -> list[Correction]:
        """Return an account's corrections with ``first_key <= key < end_key``, sorted by key, then by time."""
        return _read(self._database.fetch(_IN_SPAN, _span(account_id, doctype, first_key, end_key)))

    def count_since(self, moment: datetime) -> dict[Series, int]:
        """Return the number of the fleet's corrections since ``moment`` by series; series without any are left out."""
        query = select(_BOTH.doctype, func.count()).where(_BOTH.changed_at >= moment).group_by(_BOTH.doctype)
        counts: dict[Doctype, int] = dict(self._database.fetch(query))
        return {series: counts[series.inputs] for series in Series if series.inputs in counts}

    def delete_before(self, moment: datetime) -> int:
        """Delete the corrections from before ``moment``, and return how many were deleted."""
        return sum(self._database.change(delete(table).where(table.c.changed_at < moment)) for table in _TABLES)


def _span(account_id: str, doctype: Doctype, first_key: str, end_key: str) -> dict[str, str]:
    return {"of_account": account_id, "of_doctype": doctype, "first_key": first_key, "end_key": end_key}


def _read(rows: Iterable[Row[Any]]) -> list[Correction]:
    return [Correction(**row._asdict()) for row in rows]


def _reading_of(correction: Correction) -> tuple[str, Doctype, str]:
    return correction.account_id, correction.doctype, correction.key


def _is_told(last: Correction | None, correction: Correction) -> bool:
    """Return whether the newest entry already records this change, or the change is only a new reading.

    Two removals are the same change only if they removed the same value.
    """
    if last is None:
        return correction.was_amount == REMOVED
    same_value = last.was_amount == correction.was_amount
    if correction.was_amount == REMOVED:
        # Two runs may store a removed step again, with different values. Each records its own value, and ``withdraw``
        # deletes one of the two entries later.
        return last.became_amount != REMOVED and not (same_value and last.became_amount != correction.became_amount)
    return last.became_amount == correction.became_amount and (same_value or correction.became_amount != REMOVED)


def _placed_after(last: Correction | None, correction: Correction) -> Correction:
    """Return the change. If it follows the newest entry in the same second, its time is set just after that entry's."""
    if last is None or last.became_amount != correction.was_amount:
        return correction
    in_same_second = timedelta() <= last.changed_at - correction.changed_at < _A_SECOND
    return replace(correction, changed_at=last.changed_at + timedelta(microseconds=1)) if in_same_second else correction


class RawAnswerTable(SealedTable):
    def record_answer(self, account_id: str, answer: RawAnswer) -> None:
        """Store an answer. It is on disk when this returns. Raises UnknownAccount, also for a removed account."""
        # Sealing takes most of the time, so it happens before the transaction.
        row = self._to_row(account_id, month_of(answer.asked_at), [answer])
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id, shared=True)
            connection.execute(RAW_ANSWERS.insert().values(**row, packed=False))

    def list_months(self, account_id: str) -> list[str]:
        """Return the months in which answers are stored, for example "2024-07", the oldest first."""
        query = select(_RAW.month).where(_RAW.account_id == account_id).distinct().order_by(_RAW.month)
        return [row.month for row in self._database.fetch(query)]

    def read_answers(self, account_id: str) -> Iterator[RawAnswer]:
        """Yield all answers of an account in the order of their requests, with one month in memory at a time."""
        for month in self.list_months(account_id):
            yield from self._unseal(
                self._database.fetch(select(_RAW.id, _RAW.sealed).where(*_in_month(account_id, month)))
            )

    def delete_before(self, moment: datetime) -> int:
        """Delete the rows whose last answer is older than ``moment``, and return how many were deleted.

        A packed month is one row, so its answers are deleted together.
        """
        return self._database.change(delete(RAW_ANSWERS).where(_RAW.last_at < moment))

    def pack_past_months(self, now: datetime, limit: int) -> int:
        """Pack at most ``limit`` past months into one row each, and return how many months were packed."""
        unpacked = select(_RAW.month, _RAW.account_id).where(_RAW.packed.is_(False), _RAW.month < month_of(now))
        months = self._database.fetch(unpacked.distinct().order_by(_RAW.month, _RAW.account_id).limit(limit))
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
            # transaction, so that a reader never sees the month twice.
            rows = connection.execute(select(RAW_ANSWERS).where(*in_month).with_for_update()).all()
            if len(rows) == 1:
                connection.execute(update(RAW_ANSWERS).where(*in_month).values(packed=True))
            elif rows:
                row = self._to_row(account_id, month, self._unseal(rows))
                connection.execute(delete(RAW_ANSWERS).where(_RAW.id.in_([row.id for row in rows])))
                connection.execute(RAW_ANSWERS.insert().values(**row, packed=True))
            return bool(rows)

    def _to_row(self, account_id: str, month: str, answers: list[RawAnswer]) -> dict[str, Any]:
        """Return the row for these answers, which are in the order of their requests."""
        answer_id, first, last = new_id(), answers[0].asked_at, answers[-1].asked_at
        sealed = self._sealer.seal_bytes(pack_raw_answers(answers), place_of(_RAW.sealed, answer_id))
        ids = {"id": answer_id, "account_id": account_id, "month": month}
        return {**ids, "first_at": first, "last_at": last, "sealed": sealed}

    def _unseal(self, rows: Iterable[Row[Any]]) -> list[RawAnswer]:
        contents = [self._sealer.unseal_bytes(row.sealed, place_of(_RAW.sealed, row.id)) for row in rows]
        answers = [answer for content in contents for answer in unpack_raw_answers(content)]
        return sorted(answers, key=lambda answer: answer.asked_at)


def month_of(moment: datetime) -> str:
    """Return the month of a moment in UTC, for example "2024-07"."""
    return moment.astimezone(UTC).strftime("%Y-%m")


def _in_month(account_id: str, month: str) -> tuple[ColumnElement[bool], ...]:
    return (_RAW.account_id == account_id, _RAW.month == month)


class QuarantineResult(Enum):
    """Whether a recorded deviation was new, known, or new but left out because the table is full."""

    NEW = auto()
    KNOWN = auto()
    FULL = auto()


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """A deviation in the quarantine.

    ``times`` may be behind, because each process adds its own count only now and then.
    """

    fingerprint: str
    kind: DeviationKind
    place: str
    detail: str
    preset: str
    first_seen: datetime
    last_seen: datetime
    times: int


class QuarantineTable(SealedTable):
    def record(
        self,
        deviation: Deviation,
        times: int,
        preset: str,
        now: datetime,
        notices: Callable[[QuarantineResult], Iterable[Notice]],
    ) -> QuarantineResult:
        """Count a deviation; a new deviation is inserted, with a sealed sample.

        For NEW and FULL, the notices that ``notices`` returns are inserted in the same transaction.
        """
        with self._database.writing() as connection:
            has_fingerprint = _QUARANTINE.fingerprint == deviation.fingerprint
            add_times = update(QUARANTINE).where(has_fingerprint).values(times=_QUARANTINE.times + times, last_seen=now)
            # Most deviations are known, so the update comes before the insert.
            if connection.execute(add_times).rowcount:
                return QuarantineResult.KNOWN
            result = QuarantineResult.FULL
            if connection.execute(select(func.count()).select_from(QUARANTINE)).scalar_one() < MAX_ROWS:
                if not self._insert(connection, deviation, times, preset, now):
                    # Another process has inserted the deviation in the meantime.
                    connection.execute(add_times)
                    return QuarantineResult.KNOWN
                result = QuarantineResult.NEW
            insert_notices(connection, notices(result))
            return result

    def list_entries(self) -> Iterable[QuarantineEntry]:
        """Return all deviations, the newest first."""
        query = select(*_ENTRY).order_by(_QUARANTINE.first_seen.desc(), _QUARANTINE.fingerprint)
        return [QuarantineEntry(*row) for row in self._database.fetch(query)]

    def get(self, fingerprint: str) -> tuple[QuarantineEntry, str] | None:
        """Return a deviation and its sample; None if unknown. Raises OperatorFault if the sample's key is missing."""
        of_it = _QUARANTINE.fingerprint == fingerprint
        row = self._database.first(select(*_ENTRY, _QUARANTINE.sealed_sample).where(of_it))
        if row is None:
            return None
        *fields, sealed_sample = row
        return QuarantineEntry(*fields), self._sealer.unseal_bytes(sealed_sample, _place_of(fingerprint)).decode()

    def delete(self, fingerprint: str) -> bool:
        """Delete a deviation, so that it counts as new when it comes again; return whether it existed."""
        return bool(self._database.change(delete(QUARANTINE).where(_QUARANTINE.fingerprint == fingerprint)))

    def delete_before(self, moment: datetime) -> int:
        """Delete the deviations that were last seen before ``moment``, and return their number."""
        return self._database.change(delete(QUARANTINE).where(_QUARANTINE.last_seen < moment))

    def _insert(self, connection: Connection, deviation: Deviation, times: int, preset: str, now: datetime) -> bool:
        sample = to_sample(deviation.sample).encode()
        row = {
            "fingerprint": deviation.fingerprint,
            "kind": deviation.kind,
            "place": deviation.place[:200],
            "detail": deviation.detail[:64],
            "preset": preset,
            "first_seen": now,
            "last_seen": now,
            "times": times,
            "sealed_sample": self._sealer.seal_bytes(sample, _place_of(deviation.fingerprint)),
        }
        statement = build_insert(self._database.dialect, QUARANTINE).values(**row)
        insert_once = statement.on_conflict_do_nothing(index_elements=["fingerprint"]).returning(
            _QUARANTINE.fingerprint
        )
        return connection.execute(insert_once).first() is not None


def _place_of(fingerprint: str) -> str:
    return place_of(_QUARANTINE.sealed_sample, fingerprint)
