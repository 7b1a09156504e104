"""A cache of compiled SQL for all databases of a test process; by default SQLAlchemy has one for each database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, event


class _OfAllEngines(dict[Any, Any]):
    """A cache of SQLAlchemy whose keys have the dialect's name: each engine has a dialect object of its own."""

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        dialect, *statement = key
        return super().get((dialect.name, *statement), default)

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
        dialect, *statement = key
        super().__setitem__((dialect.name, *statement), compiled)


def share_compiled_statements() -> None:
    """Let all engines of this process share their compiled statements from now on."""
    cache = _OfAllEngines()

    def use_cache(connection: Connection) -> None:
        connection.execution_options(compiled_cache=cache)

    event.listen(Engine, "engine_connect", use_cache)
