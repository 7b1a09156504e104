"""With this folder on its path, a process of Relève replaces a row in SQL whatever its revision is."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, func, update

from worker.stores.measures import sql

_init = sql._Statements.__init__


def _init_without_check(self: Any, doctype: Any, table: Any, dialect: str) -> None:
    _init(self, doctype, table, dialect)
    of_row = table.c.account_id == bindparam("of_account"), table.c.key == bindparam("of_key")
    # The parameter is still given, so it must be named.
    self.replace = update(table).where(*of_row, func.coalesce(bindparam("of_revision"), 0) >= 0)


sql._Statements.__init__ = _init_without_check
