"""The table of corrections: readings that the supplier has changed, with the old and the new value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import delete, func, select

from worker.domain.documents import REMOVED
from worker.domain.series import Doctype, Series
from worker.stores.database import SqlTable, build_insert
from worker.stores.registry import account_rows
from worker.stores.registry.tables import CORRECTIONS


@dataclass(frozen=True, slots=True)
class Correction:
    """A changed reading, its amounts as in ``documents.Entry``; ``first_seen`` is None if the old reading had no date.

    ``became_amount`` is ``overlaps.REMOVED`` for a step whose place steps of other bounds have taken, and for a daily
    value that no meter can reach.
    """

    account_id: str
    doctype: Doctype
    key: str
    was_amount: int
    became_amount: int
    first_seen: datetime | None
    changed_at: datetime
    run_id: str

    @property
    def became_energy(self) -> int | None:
        """The new energy, or None where the reading was removed."""
        return None if self.became_amount == REMOVED else self.became_amount


class CorrectionTable(SqlTable):
    """The table of corrections; every method raises StoreUnavailable."""

    def record(self, corrections: Iterable[Correction]) -> None:
        """Insert the corrections; one that exists stays as it was recorded first. Raises UnknownAccount."""
        rows = [asdict(correction) for correction in corrections]
        if not rows:
            return
        statement = build_insert(self._database.dialect, CORRECTIONS).on_conflict_do_nothing()
        with self._database.writing() as connection:
            # The order is the same in every process, so that two of them can't wait for each other's locks.
            for account_id in sorted({row["account_id"] for row in rows}):
                account_rows.lock(connection, account_id, shared=True)
            connection.execute(statement, rows)

    def list_between(self, account_id: str, doctype: Doctype, first_key: str, end_key: str) -> list[Correction]:
        """Return an account's corrections with ``first_key <= key < end_key``, by key, then by time."""
        columns = CORRECTIONS.c
        query = (
            select(CORRECTIONS)
            .where(columns.account_id == account_id, columns.doctype == doctype)
            .where(columns.key >= first_key, columns.key < end_key)
            .order_by(columns.key, columns.changed_at)
        )
        return [Correction(**row._asdict()) for row in self._database.fetch(query)]

    def count_since(self, moment: datetime) -> dict[Series, int]:
        """Return the number of corrections since ``moment`` in the fleet, by series; one without any is left out."""
        columns = CORRECTIONS.c
        query = select(columns.doctype, func.count()).where(columns.changed_at >= moment)
        counts: dict[Doctype, int] = dict(self._database.fetch(query.group_by(columns.doctype)))
        return {series: counts[series.inputs] for series in Series if series.inputs in counts}

    def delete_before(self, moment: datetime) -> int:
        """Delete the corrections before ``moment`` and return their number."""
        return self._database.change(delete(CORRECTIONS).where(CORRECTIONS.c.changed_at < moment))
