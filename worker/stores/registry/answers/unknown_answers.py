"""The quarantine table: deviations of supplier answers from the known shapes, one row a deviation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Final

from sqlalchemy import Connection, delete, func, select, update

from worker.domain.answers import Deviation, DeviationKind, to_sample
from worker.domain.consents import Notice
from worker.stores.database import SealedTable, build_insert, place_of
from worker.stores.registry import consent_rows
from worker.stores.registry.tables import QUARANTINE

_C = QUARANTINE.c
_ENTRY = [column for column in _C if column is not _C.sealed_sample]
# A supplier that sends a new deviation each time must fill neither the disk nor the mailbox.
MAX_ROWS: Final = 200


class QuarantineResult(Enum):
    """Whether a recorded deviation was new, known, or new in a full table."""

    NEW = auto()
    KNOWN = auto()
    FULL = auto()


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """A deviation in the quarantine; ``times`` may lag, because each process counts and adds its sum now and then."""

    fingerprint: str
    kind: DeviationKind
    place: str
    detail: str
    preset: str
    first_seen: datetime
    last_seen: datetime
    times: int


class QuarantineTable(SealedTable):
    """The quarantine table; every method raises StoreUnavailable."""

    def record(
        self,
        deviation: Deviation,
        times: int,
        preset: str,
        now: datetime,
        notices: Callable[[QuarantineResult], Iterable[Notice]],
    ) -> QuarantineResult:
        """Count a deviation; a new one is inserted with a sealed sample.

        The notices that ``notices`` returns for the result are inserted in the same transaction.
        """
        with self._database.writing() as connection:
            has_fingerprint = _C.fingerprint == deviation.fingerprint
            add_times = update(QUARANTINE).where(has_fingerprint).values(times=_C.times + times, last_seen=now)
            # Most deviations are known, so the update comes before the insert.
            if connection.execute(add_times).rowcount:
                return QuarantineResult.KNOWN
            result = QuarantineResult.FULL
            if connection.execute(select(func.count()).select_from(QUARANTINE)).scalar_one() < MAX_ROWS:
                if not self._insert(connection, deviation, times, preset, now):
                    # Another process has inserted it in the meantime.
                    connection.execute(add_times)
                    return QuarantineResult.KNOWN
                result = QuarantineResult.NEW
            consent_rows.insert_notices(connection, notices(result))
            return result

    def list(self) -> Iterable[QuarantineEntry]:
        """Return all deviations, the newest first."""
        query = select(*_ENTRY).order_by(_C.first_seen.desc(), _C.fingerprint)
        return [QuarantineEntry(*row) for row in self._database.fetch(query)]

    def get(self, fingerprint: str) -> tuple[QuarantineEntry, str] | None:
        """Return a deviation and its sample, or None. Raises OperatorFault if the encryption key is missing."""
        with self._database.reading() as connection:
            row = connection.execute(
                select(*_ENTRY, _C.sealed_sample).where(_C.fingerprint == fingerprint)
            ).one_or_none()
        if row is None:
            return None
        *fields, sealed_sample = row
        return QuarantineEntry(*fields), self._sealer.unseal_bytes(sealed_sample, _place_of(fingerprint)).decode()

    def delete(self, fingerprint: str) -> bool:
        """Delete a deviation, so that it is new when it comes again; return whether it was there."""
        return bool(self._database.change(delete(QUARANTINE).where(_C.fingerprint == fingerprint)))

    def delete_before(self, moment: datetime) -> int:
        """Delete the deviations that were last seen before ``moment`` and return their number."""
        return self._database.change(delete(QUARANTINE).where(_C.last_seen < moment))

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
        insert_once = statement.on_conflict_do_nothing(index_elements=["fingerprint"]).returning(_C.fingerprint)
        return connection.execute(insert_once).first() is not None


def _place_of(fingerprint: str) -> str:
    return place_of(_C.sealed_sample, fingerprint)
