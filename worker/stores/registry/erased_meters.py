"""Keyed hashes of erased meters, and of meters for which people failed to prove by a reading that they hold them.

A person who reads these tables doesn't learn a meter's number. After an erasure, a proof of an earlier consent gives no
access to the meter. The row of an erased meter is deleted when the account's consent would have ended, but eight days
after the erasure at the earliest and three years at the latest. For each meter, all people together have three wrong
tries a day and ten in total. The rows with wrong tries never expire, because an expiry would allow further guesses.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime

from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, or_, select, update

from worker.domain.consents import MOST_TRIES_A_DAY, MOST_WRONG
from worker.stores.database import Database, SqlTable, build_insert
from worker.stores.encryption import KeyedHashes
from worker.stores.registry.tables import ERASURES, READING_TRIES

_C = READING_TRIES.c


class _HashedMeters(SqlTable):
    """Base class of the tables with meters, which are identified by their keyed hashes."""

    def __init__(self, database: Database, hashes: KeyedHashes) -> None:
        super().__init__(database)
        self._hashes = hashes

    def digests(self, supplier: str, usage_point_id: str) -> list[str]:
        """Return the keyed hashes of a meter under all keys, newest key first; rows may have any of these hashes."""
        return self._hashes.all_hashes("meter", f"{supplier}:{usage_point_id}")


class ErasureTable(_HashedMeters):
    def remember(
        self, connection: Connection, meter: str, erased_at: datetime, forget_on: date, tenant: str | None = None
    ) -> None:
        """Remember the erasure of a meter, by its keyed hash, until the day ``forget_on``.

        ``tenant``: the tenant of the account, if known. If the meter was erased several times, the row keeps the latest
        ``erased_at`` with its ``tenant``, and the latest ``forget_on``. By that day, all erased consents have ended.
        """
        row = {"meter": meter, "erased_at": erased_at, "forget_on": forget_on, "tenant": tenant}
        statement = build_insert(connection.dialect.name, ERASURES).values(**row)
        latest = {
            name: case((ERASURES.c[by] > statement.excluded[by], ERASURES.c[name]), else_=statement.excluded[name])
            for name, by in (("erased_at", "erased_at"), ("tenant", "erased_at"), ("forget_on", "forget_on"))
        }
        connection.execute(statement.on_conflict_do_update(index_elements=["meter"], set_=latest))

    def find(self, connection: Connection, supplier: str, usage_point_id: str) -> datetime | None:
        """Return when the meter's account was last erased; None if no erasure is remembered."""
        last = self.find_last(connection, supplier, usage_point_id)
        return None if last is None else last[0]

    def find_last(
        self, connection: Connection, supplier: str, usage_point_id: str
    ) -> tuple[datetime, str | None] | None:
        """Return when the meter's account was last erased, and its tenant (None if unknown).

        Returns None if no erasure is remembered.
        """
        is_meter = ERASURES.c.meter.in_(self.digests(supplier, usage_point_id))
        query = select(ERASURES.c.erased_at, ERASURES.c.tenant).where(is_meter).order_by(ERASURES.c.erased_at.desc())
        row = connection.execute(query.limit(1)).one_or_none()
        return None if row is None else (row.erased_at, row.tenant)

    def is_erased_since(
        self, connection: Connection, supplier: str, usage_points: Iterable[str], moment: datetime | None
    ) -> bool:
        """Return whether one of the meters was erased at or after ``moment``, when a consent began.

        If so, this consent is void. An unknown ``moment`` (None) counts as older than every erasure.
        """
        erasures = (self.find(connection, supplier, number) for number in usage_points)
        return any(erased_at is not None and (moment is None or moment <= erased_at) for erased_at in erasures)

    def forget_before(self, today: date) -> int:
        """Delete the rows that are to be forgotten by ``today``, and return their number."""
        return self._database.change(delete(ERASURES).where(ERASURES.c.forget_on <= today))


class ReadingTryTable(_HashedMeters):
    """Counts, by meter, the wrong readings that people typed to prove that they hold it. ``today``: in Europe/Paris."""

    def lock_name(self, supplier: str, usage_point_id: str) -> str:
        """Return a name for the meter's lock; it doesn't reveal the meter's number."""
        return self.digests(supplier, usage_point_id)[0][:32]

    def may_try(self, supplier: str, usage_point_id: str, today: date) -> bool:
        """Return whether a further try is allowed today for this meter."""
        used_up = or_(_C.wrong >= MOST_WRONG, and_(_C.day == today, _C.tries >= MOST_TRIES_A_DAY))
        query = select(_C.meter).where(self._is_meter(supplier, usage_point_id), used_up)
        return not self._database.fetch(query)

    def count_wrong(self, supplier: str, usage_point_id: str, today: date) -> bool:
        """Count a wrong try; return whether further tries are forbidden until an operator allows them (``forget``)."""
        is_meter = self._is_meter(supplier, usage_point_id)
        counted = {"tries": case((_C.day == today, _C.tries + 1), else_=1), "day": today, "wrong": _C.wrong + 1}
        newest = self.digests(supplier, usage_point_id)[0]
        first = build_insert(self._database.dialect, READING_TRIES).values(meter=newest, day=today, tries=1, wrong=1)
        with self._database.writing() as connection:
            if not connection.execute(update(READING_TRIES).where(is_meter).values(counted)).rowcount:
                connection.execute(first.on_conflict_do_update(index_elements=["meter"], set_=counted))
            most = connection.execute(select(func.max(_C.wrong)).where(is_meter)).scalar_one()
        return int(most) >= MOST_WRONG

    def forget(self, supplier: str, usage_point_id: str) -> bool:
        """Delete a meter's wrong tries, after a correct try or for an operator; return whether there were any."""
        return bool(self._database.change(delete(READING_TRIES).where(self._is_meter(supplier, usage_point_id))))

    def _is_meter(self, supplier: str, usage_point_id: str) -> ColumnElement[bool]:
        return _C.meter.in_(self.digests(supplier, usage_point_id))
