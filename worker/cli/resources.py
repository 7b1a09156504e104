"""How commands print lists and report unknown ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import click

from worker.cli.parameters import print_rows
from worker.domain.account import DEFAULT_TENANT

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Listing:
    """How rows of one kind are printed. ``columns``: names of values, comma-separated; ``title=name`` sets a title.

    ``?`` and ``…`` after a name are those of ``print_table``. A column ``tenant`` is shown only if a tenant other than
    the default occurs. ``empty``: printed instead of a table without rows.
    """

    columns: str
    empty: str

    def print(self, rows: Iterable[Row], *, as_json: bool, limit: int | None = None, tenant: str | None = None) -> None:
        """Print the rows, or only those of ``tenant``, as lines of JSON or as a table."""
        shown = [*islice((row for row in rows if tenant in (None, row.get("tenant"))), limit)]
        has_tenants = any(row.get("tenant") not in (None, DEFAULT_TENANT) for row in shown)
        self.print_all(shown, as_json=as_json, has_tenants=has_tenants)

    def print_all(self, rows: Iterable[Row], *, as_json: bool, has_tenants: bool = False, empty: str = "") -> None:
        """Print all rows. ``has_tenants``: whether to show the column ``tenant``."""
        columns = dict(map(_to_column, self.columns.split(", ")))
        if not has_tenants:
            columns = {title: name for title, name in columns.items() if name != "tenant?"}
        print_rows(rows, columns, as_json=as_json, empty=empty or self.empty)


def _to_column(text: str) -> tuple[str, str]:
    """Return a column's title and the name of its value; a missing title is derived from the name."""
    title, _, name = text.rpartition("=")
    return title or name.rstrip("?…").removeprefix("has_").removesuffix("_at").replace("_", " "), name


def require_known(found: object, what: str, list_command: str) -> None:
    """Raise ClickException if ``found`` is false, which means that the given id is unknown."""
    if not found:
        raise click.ClickException(f"no {what} has this id: `releve {list_command}` shows the ids")
