"""Wrong tries to prove a meter by a reading of its display (P4): three a day and ten in all, over all people who try.

A row has the keyed hash of the meter, so its readers learn no meter. Rows stay: to forget wrong tries would allow
further guesses.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import ColumnElement, and_, case, delete, func, or_, select, update

from worker.domain.consents import MOST_TRIES_A_DAY, MOST_WRONG
from worker.stores.database import Database, SqlTable, build_insert
from worker.stores.encryption import KeyedHashes
from worker.stores.registry.tables import READING_TRIES

_C = READING_TRIES.c


class ReadingTryTable(SqlTable):
    """The table of wrong tries; every method raises StoreUnavailable. ``today``: the date in Europe/Paris."""

    def __init__(self, database: Database, hashes: KeyedHashes) -> None:
        super().__init__(database)
        self._hashes = hashes

    def lock_name(self, supplier: str, usage_point_id: str) -> str:
        """Return a name of the meter that tells nobody its number."""
        return self._digests(supplier, usage_point_id)[0][:32]

    def may_try(self, supplier: str, usage_point_id: str, today: date) -> bool:
        """Return whether the meter has a try left today."""
        used_up = or_(_C.wrong >= MOST_WRONG, and_(_C.day == today, _C.tries >= MOST_TRIES_A_DAY))
        query = select(_C.meter).where(self._is_meter(supplier, usage_point_id), used_up)
        return not self._database.fetch(query)

    def count_wrong(self, supplier: str, usage_point_id: str, today: date) -> bool:
        """Count a wrong try, and return whether it was the last one until an operator opens the meter again."""
        is_meter = self._is_meter(supplier, usage_point_id)
        counted = {"tries": case((_C.day == today, _C.tries + 1), else_=1), "day": today, "wrong": _C.wrong + 1}
        newest = self._digests(supplier, usage_point_id)[0]
        first = build_insert(self._database.dialect, READING_TRIES).values(meter=newest, day=today, tries=1, wrong=1)
        with self._database.writing() as connection:
            if not connection.execute(update(READING_TRIES).where(is_meter).values(counted)).rowcount:
                connection.execute(first.on_conflict_do_update(index_elements=["meter"], set_=counted))
            most = connection.execute(select(func.max(_C.wrong)).where(is_meter)).scalar_one()
        return int(most) >= MOST_WRONG

    def forget(self, supplier: str, usage_point_id: str) -> bool:
        """Forget a meter's wrong tries, after a right one or as an operator asks; return whether there were any."""
        return bool(self._database.change(delete(READING_TRIES).where(self._is_meter(supplier, usage_point_id))))

    def _digests(self, supplier: str, usage_point_id: str) -> list[str]:
        return self._hashes.all_hashes("meter", f"{supplier}:{usage_point_id}")

    def _is_meter(self, supplier: str, usage_point_id: str) -> ColumnElement[bool]:
        return _C.meter.in_(self._digests(supplier, usage_point_id))
