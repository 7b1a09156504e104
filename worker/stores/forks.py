"""SQL connections and forks: none is carried over.

A child that inherits an open SQLite file believes that it holds the parent's locks, and a shared socket mixes up
two conversations.  So idle connections are closed before a fork, and the child starts with an empty pool; what
another thread had in use at that moment stays the parent's.
"""

from __future__ import annotations

import os
import weakref

from sqlalchemy import Engine

_ENGINES: weakref.WeakSet[Engine] = weakref.WeakSet()


def close_around_forks(engine: Engine) -> None:
    """From now on ``engine`` is safe to use on both sides of any fork."""
    _ENGINES.add(engine)


def _close_idle() -> None:
    for engine in list(_ENGINES):
        engine.dispose()


def _forget() -> None:
    for engine in list(_ENGINES):
        engine.dispose(close=False)


os.register_at_fork(before=_close_idle, after_in_child=_forget)
