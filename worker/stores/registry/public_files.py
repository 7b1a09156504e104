"""The newest copies of published files, such as lists of prices, where every process reads them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from sqlalchemy import select

from worker.stores.database import SqlTable, build_insert
from worker.stores.registry.tables import PUBLIC_FILES

_C: Final = PUBLIC_FILES.c


@dataclass(frozen=True, slots=True)
class PublicFile:
    """A file as it was on the day of the copy."""

    name: str
    text: str
    copied_on: date


class PublicFileTable(SqlTable):
    """The table of copies, one a name."""

    def load_all(self) -> dict[str, PublicFile]:
        """Return the newest copies of all files, by name."""
        return {row.name: PublicFile(**row._asdict()) for row in self._database.fetch(select(PUBLIC_FILES))}

    def save(self, name: str, text: str, day: date) -> None:
        """Save the copy of a day, in the place of the one before."""
        values = {"text": text, "copied_on": day}
        row = build_insert(self._database.dialect, PUBLIC_FILES).values(name=name, **values)
        self._database.change(row.on_conflict_do_update(index_elements=[_C.name], set_=values))
