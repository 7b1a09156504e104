"""The memory of erased meters: what was erased stays closed to every proof that is older than the erasure.

The table has keyed hashes, so its readers learn no meter. A row goes at the end of the consent that there
was, three years after the erasure at most.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime

from sqlalchemy import Connection, case, delete, func, select

from worker.stores.database import Database, SqlTable, build_insert
from worker.stores.encryption import KeyedHashes
from worker.stores.registry.tables import ERASURES


class ErasureTable(SqlTable):
    """The table of erased meters; every method raises StoreUnavailable."""

    def __init__(self, database: Database, hashes: KeyedHashes) -> None:
        super().__init__(database)
        self._hashes = hashes

    def digests(self, supplier: str, usage_point_id: str) -> list[str]:
        """Return the keyed hashes of a meter, the one under the newest key first: rows may have any of them."""
        return self._hashes.all_hashes("meter", f"{supplier}:{usage_point_id}")

    def remember(self, connection: Connection, meter: str, erased_at: datetime, forget_on: date) -> None:
        """Remember the erasure of a meter, by its keyed hash, until the day ``forget_on``.

        Of several erasures the latest moment counts, and the latest day: each consent must have ended.
        """
        row = {"meter": meter, "erased_at": erased_at, "forget_on": forget_on}
        statement = build_insert(connection.dialect.name, ERASURES).values(**row)
        latest = {
            column.name: case((column > statement.excluded[column.name], column), else_=statement.excluded[column.name])
            for column in (ERASURES.c.erased_at, ERASURES.c.forget_on)
        }
        connection.execute(statement.on_conflict_do_update(index_elements=["meter"], set_=latest))

    def find(self, connection: Connection, supplier: str, usage_point_id: str) -> datetime | None:
        """Return when the meter's account was last erased, or None where that is not remembered."""
        query = select(func.max(ERASURES.c.erased_at)).where(
            ERASURES.c.meter.in_(self.digests(supplier, usage_point_id))
        )
        erased_at: datetime | None = connection.execute(query).scalar()
        return erased_at

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
