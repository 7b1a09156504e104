"""Meters by their keyed hashes: the memory of those that were erased, and wrong tries to prove one by its display (P4).

Readers of these tables learn no meter. What was erased stays closed to every proof that is older than the erasure; its
row goes at the end of the consent that there was, three years after the erasure at most. There may be three wrong tries
a day and ten in all, over all people who try; their rows stay, because to forget wrong tries would allow further
guesses.
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
    """Base of the tables of meters by their keyed hashes."""

    def __init__(self, database: Database, hashes: KeyedHashes) -> None:
        super().__init__(database)
        self._hashes = hashes

    def digests(self, supplier: str, usage_point_id: str) -> list[str]:
        """Return the keyed hashes of a meter, the one under the newest key first: rows may have any of them."""
        return self._hashes.all_hashes("meter", f"{supplier}:{usage_point_id}")


class ErasureTable(_HashedMeters):
    def remember(
        self, connection: Connection, meter: str, erased_at: datetime, forget_on: date, tenant: str | None = None
    ) -> None:
        """Remember the erasure of a meter, by its keyed hash, until the day ``forget_on``.

        ``tenant``: whose account it was, where that is known. Of several erasures the latest moment counts with its
        tenant, and the latest day: each consent must have ended.
        """
        row = {"meter": meter, "erased_at": erased_at, "forget_on": forget_on, "tenant": tenant}
        statement = build_insert(connection.dialect.name, ERASURES).values(**row)
        latest = {
            name: case((ERASURES.c[by] > statement.excluded[by], ERASURES.c[name]), else_=statement.excluded[name])
            for name, by in (("erased_at", "erased_at"), ("tenant", "erased_at"), ("forget_on", "forget_on"))
        }
        connection.execute(statement.on_conflict_do_update(index_elements=["meter"], set_=latest))

    def find(self, connection: Connection, supplier: str, usage_point_id: str) -> datetime | None:
        """Return when the meter's account was last erased, or None where that is not remembered."""
        last = self.find_last(connection, supplier, usage_point_id)
        return None if last is None else last[0]

    def find_last(
        self, connection: Connection, supplier: str, usage_point_id: str
    ) -> tuple[datetime, str | None] | None:
        """Return the same with the tenant whose account it was, None where that is not known."""
        is_meter = ERASURES.c.meter.in_(self.digests(supplier, usage_point_id))
        query = select(ERASURES.c.erased_at, ERASURES.c.tenant).where(is_meter).order_by(ERASURES.c.erased_at.desc())
        row = connection.execute(query.limit(1)).one_or_none()
        return None if row is None else (row.erased_at, row.tenant)

    def is_erased_since(
        self, connection: Connection, supplier: str, usage_points: Iterable[str], moment: datetime | None
    ) -> bool:
        """Return whether one of the meters was erased at that moment or later, so that what began then is void.

        A moment that is not known counts as older than each erasure.
        """
        erasures = (self.find(connection, supplier, number) for number in usage_points)
        return any(erased_at is not None and (moment is None or moment <= erased_at) for erased_at in erasures)

    def forget_before(self, today: date) -> int:
        """Delete the rows whose day has come, and return their number."""
        return self._database.change(delete(ERASURES).where(ERASURES.c.forget_on <= today))


class ReadingTryTable(_HashedMeters):
    """The table of wrong tries. ``today``: the date in Europe/Paris."""

    def lock_name(self, supplier: str, usage_point_id: str) -> str:
        """Return a name of the meter that tells nobody its number."""
        return self.digests(supplier, usage_point_id)[0][:32]

    def may_try(self, supplier: str, usage_point_id: str, today: date) -> bool:
        """Return whether the meter has a try left today."""
        used_up = or_(_C.wrong >= MOST_WRONG, and_(_C.day == today, _C.tries >= MOST_TRIES_A_DAY))
        query = select(_C.meter).where(self._is_meter(supplier, usage_point_id), used_up)
        return not self._database.fetch(query)

    def count_wrong(self, supplier: str, usage_point_id: str, today: date) -> bool:
        """Count a wrong try, and return whether it was the last one until an operator opens the meter again."""
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
        """Forget a meter's wrong tries, after a right one or as an operator asks; return whether there were any."""
        return bool(self._database.change(delete(READING_TRIES).where(self._is_meter(supplier, usage_point_id))))

    def _is_meter(self, supplier: str, usage_point_id: str) -> ColumnElement[bool]:
        return _C.meter.in_(self.digests(supplier, usage_point_id))
