"""What suppliers sent that nobody had told us of: one row a surprise, however often it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, func, select, update

from worker.domain.consent.consents import Notice
from worker.domain.measures.answer_samples import to_sample
from worker.domain.measures.answer_shapes import Deviation, DeviationKind
from worker.errors import OperatorFault
from worker.stores.encryption import Sealer
from worker.stores.registry import consent_rows
from worker.stores.registry.database import Database
from worker.stores.registry.outcomes import insert
from worker.stores.registry.tables import QUARANTINE

_C = QUARANTINE.c
MOST_ROWS: Final = 200  # a supplier that sends something new each time must fill neither the disk nor the mailbox


class Noted(Enum):
    NEW = auto()
    KNOWN = auto()
    FULL = auto()


@dataclass(frozen=True, slots=True)
class Quarantined:
    """``times`` is counted by each process for itself and added up now and then, so it may lag a little."""

    fingerprint: str
    kind: DeviationKind
    place: str
    detail: str
    preset: str
    first_seen: datetime
    last_seen: datetime
    times: int


class QuarantineTable:
    """Every method raises StoreUnavailable."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    def note(
        self, surprise: Deviation, times: int, preset: str, now: datetime, notices: Callable[[Noted], Iterable[Notice]]
    ) -> Noted:
        """Count a surprise, keep a sample of the first; ``notices`` of it are posted in the same transaction."""
        with self._database.writing() as connection:
            this = _C.fingerprint == surprise.fingerprint
            counted = update(QUARANTINE).where(this).values(times=_C.times + times, last_seen=now)
            if connection.execute(counted).rowcount:
                return Noted.KNOWN
            noted = Noted.FULL
            if connection.execute(select(func.count()).select_from(QUARANTINE)).scalar_one() < MOST_ROWS:
                if not self._insert(connection, surprise, times, preset, now):  # another was quicker
                    connection.execute(counted)
                    return Noted.KNOWN
                noted = Noted.NEW
            consent_rows.insert_notices(connection, notices(noted))
            return noted

    def list(self) -> Iterable[Quarantined]:
        """Newest first."""
        query = select(QUARANTINE).order_by(_C.first_seen.desc(), _C.fingerprint)
        with self._database.reading() as connection:
            return [_to_quarantined(row) for row in connection.execute(query)]

    def get(self, fingerprint: str) -> tuple[Quarantined, str] | None:
        """A surprise and its sample.  Raises OperatorFault where the seal's key is gone."""
        with self._database.reading() as connection:
            row = connection.execute(select(QUARANTINE).where(_C.fingerprint == fingerprint)).one_or_none()
        return None if row is None else (_to_quarantined(row), self._sealer.unseal_bytes(row.sealed_sample).decode())

    def clear(self, fingerprint: str) -> bool:
        """Forget a surprise: when it comes again it is new.  Whether it was there."""
        with self._database.writing() as connection:
            return bool(connection.execute(delete(QUARANTINE).where(_C.fingerprint == fingerprint)).rowcount)

    def forget_before(self, moment: datetime) -> int:
        """Forget what hasn't come since; how many."""
        with self._database.writing() as connection:
            return connection.execute(delete(QUARANTINE).where(_C.last_seen < moment)).rowcount

    def rotate_seals(self) -> int:
        """Seal every sample anew under the first key; how many.  A sample whose key is gone goes with its row."""
        done = 0
        with self._database.writing() as connection:
            rows = connection.execute(select(_C.fingerprint, _C.sealed_sample).with_for_update()).all()
            for fingerprint, sealed in rows:
                this = _C.fingerprint == fingerprint
                try:
                    rotated = self._sealer.rotate_bytes(sealed)
                except OperatorFault:  # it tells nobody anything any more; when it comes again it is new
                    connection.execute(delete(QUARANTINE).where(this))
                    continue
                connection.execute(update(QUARANTINE).where(this).values(sealed_sample=rotated))
                done += 1
        return done

    def _insert(self, connection: Connection, surprise: Deviation, times: int, preset: str, now: datetime) -> bool:
        row = {
            "fingerprint": surprise.fingerprint,
            "kind": surprise.kind.value,
            "place": surprise.place[:200],
            "detail": surprise.detail[:64],
            "preset": preset,
            "first_seen": now,
            "last_seen": now,
            "times": times,
            "sealed_sample": self._sealer.seal_bytes(to_sample(surprise.sample).encode()),
        }
        statement = insert(self._database.dialect, QUARANTINE).values(**row)
        new = statement.on_conflict_do_nothing(index_elements=["fingerprint"]).returning(_C.fingerprint)
        return connection.execute(new).first() is not None


def _to_quarantined(row: Row[Any]) -> Quarantined:
    return Quarantined(
        row.fingerprint,
        DeviationKind(row.kind),
        row.place,
        row.detail,
        row.preset,
        row.first_seen,
        row.last_seen,
        row.times,
    )
