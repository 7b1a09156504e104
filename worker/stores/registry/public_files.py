"""The newest copies of published files, such as lists of prices, where every process reads them."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

from sqlalchemy import select

from worker.stores.database import SqlTable, build_upsert
from worker.stores.registry.tables import PUBLIC_FILES


class PublicFile(NamedTuple):
    """A file as it was on the day of the copy."""

    name: str
    text: str
    copied_on: date


class PublicFileTable(SqlTable):
    """The table of copies, one a name."""

    def load_all(self) -> dict[str, PublicFile]:
        """Return the newest copies of all files, by name."""
        return {row.name: PublicFile(*row) for row in self._database.fetch(select(PUBLIC_FILES))}

    def save(self, name: str, text: str, day: date) -> None:
        """Save the copy of a day, in the place of the one before."""
        row = {"name": name, "text": text, "copied_on": day}
        self._database.change(build_upsert(self._database.dialect, PUBLIC_FILES, row))
