"""The statements that an SQL database is asked within a block, and those of them that change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event


@contextmanager
def watch_statements(counts: Callable[[str], bool] = lambda statement: True) -> Iterator[list[str]]:
    """Yield the list of statements within the block, of which ``counts`` may choose some."""
    seen: list[str] = []

    def watch(*arguments: object) -> None:
        statement = str(arguments[2])
        if counts(statement):
            seen.append(statement)

    event.listen(Engine, "before_cursor_execute", watch)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", watch)


def changes_something(statement: str) -> bool:
    """Return whether a statement writes; but for the use of an API token, and the audit log of a refused request."""
    left_out = ("UPDATE api_tokens", "INSERT INTO audit_log")
    return statement.startswith(("INSERT", "UPDATE", "DELETE")) and not statement.startswith(left_out)
