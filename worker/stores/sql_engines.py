"""SQL engines for the registry and the embedded measures alike: each wait bounded, nothing secret in an error,
safe over forks.
"""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError, NoSuchModuleError

from worker.errors import StoreUnavailable

_DRIVERS: Final = ("pysqlite", "psycopg")


def parse_url(text: str, what: str, good: str) -> URL:
    """A SQLite file's URL or a PostgreSQL database's.

    Raises ValueError, which says what is ``good``, and doesn't repeat the URL: it may hold a password.
    """
    try:
        url = make_url(text)
        dialect = url.get_dialect()
        dialect.import_dbapi()
    except (ArgumentError, NoSuchModuleError, ValueError):  # also a port that is no number
        raise ValueError(good) from None
    except ImportError:
        raise ValueError(f"the driver that {what} names is not installed: leave it out of the URL") from None
    in_memory = url.database in (None, "", ":memory:")  # each connection would see a database of its own
    if in_memory or dialect.is_async or dialect.driver not in _DRIVERS:
        raise ValueError(good)
    return url


def open_engine(url: URL, timeout_s: float) -> Engine:
    """Connects at first use.

    ``timeout_s`` is how long a server may take to answer, and a SQLite writer waits for another.
    """
    # hide_parameters: a statement's values are meter numbers, tokens and consumption, and errors end up in logs.
    # pool_size: a thread's each, for what goes beyond the pool is opened and closed again each time.
    common: dict[str, Any] = {"hide_parameters": True, "pool_size": 16}
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": timeout_s}, **common)
        event.listen(engine, "connect", _set_up_sqlite)
    else:
        arguments = {name: value for name, value in _time_outs(timeout_s).items() if name not in url.query}
        engine = create_engine(url, connect_args=arguments, **common)
        ping_the_idle(engine)
    close_around_forks(engine)
    return engine


def for_reading(engine: Engine) -> Engine:
    """The same connections for statements that only read: PostgreSQL then need not hear of BEGIN and COMMIT.

    Each statement sees what is committed when it begins, as it does within a transaction there (READ COMMITTED).
    """
    return engine if engine.dialect.name == "sqlite" else engine.execution_options(isolation_level="AUTOCOMMIT")


def _time_outs(timeout_s: float) -> dict[str, str]:
    """For psycopg; what the URL says itself goes first."""
    whole_s = max(1, round(timeout_s))
    return {
        "connect_timeout": str(min(10, whole_s)),
        "options": f"-c statement_timeout={whole_s * 1000}",
        "tcp_user_timeout": str(whole_s * 1000),  # a server that vanished without a word
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
    }


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    # synchronous stays FULL: what a power cut takes back (a refresh token, a window marked done) can't be asked again.
    with suppress(sqlite3.OperationalError):  # another process is turning it on: it doesn't wait, but it lasts
        connection.execute("PRAGMA journal_mode = WAL")


def create_file(url: URL) -> None:
    """Make sure that a SQLite file exists, for its owner's eyes alone: SQLite would ask the umask.

    Raises StoreUnavailable.
    """
    if url.get_backend_name() != "sqlite" or "uri" in url.query:
        return
    file = url.database or ""
    try:
        if not os.path.exists(file):  # noqa: PTH110 - asked with each transaction, and a Path takes ten times longer
            Path(file).touch(mode=0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"sqlite file {file} can't be created ({error.strerror}): its folder must exist and be writable"
        ) from error


def first_line(error: object) -> str:
    """Of what a driver says: it names a server or a file, where a longer text may quote what was written."""
    return next(iter(str(error or "").splitlines()), "no reason given")[:200]


# SQL connections and forks: none is carried over.

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


# SQL connections that lay idle are asked whether they still live before they are used.

TRUSTED_S: Final = 2.0
_USED_AT: Final = "used_at"


def ping_the_idle(engine: Engine) -> None:
    """From now on a connection of ``engine`` that was idle for longer than ``TRUSTED_S`` proves itself at first."""

    def note(_connection: Any, record: Any) -> None:
        record.info[_USED_AT] = time.monotonic()

    def look(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get(_USED_AT, 0.0) < TRUSTED_S:
            return
        try:
            alive = engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error:
            alive = False
        if not alive:
            raise DisconnectionError  # the pool opens another

    event.listen(engine, "connect", note)
    event.listen(engine, "checkin", note)
    event.listen(engine, "checkout", look)
