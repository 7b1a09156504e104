"""SQL connections that lay idle are asked whether they still live before they are used.

SQLAlchemy's own ``pool_pre_ping`` asks each time, which costs a window of a night ten questions to a server that has
just answered.  One that dies within ``TRUSTED_S`` of its last use fails the call that meets it, as it would between
ping and statement: the task tries again.  Source: SQLAlchemy 2.1, "Disconnect Handling - Pessimistic".
"""

from __future__ import annotations

import time
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

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
