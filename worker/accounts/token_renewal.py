"""Users' tokens renewed ahead of their end, by beat.

Only tokens that are still good: one that has ended already is renewed by whoever needs it next, so a fleet at rest
costs little.  A tick spends at most a tenth of a minute's quota, the next to end first.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from worker.clients.tokens import RENEW_AHEAD_S
from worker.domain.measures.readings import Series
from worker.errors import AccountError, RateLimited, TransientError, UnknownAccount
from worker.logs import fields
from worker.runtime.process import Runtime

log = logging.getLogger("releve.tokens")

_MOST_A_TICK: Final = 200
_TICKS_AN_HOUR: Final = 60
_SHARE: Final = 10


def renew_ending(runtime: Runtime) -> int:
    """Renew what ends soon; how many.  A token that can't be renewed any more sets its accounts aside.

    Tokens age by the real clock, whatever time the system pretends.  None in an incident that holds everything.
    """
    if runtime.incidents.is_open():
        return 0
    now = datetime.now(UTC)
    renewed = 0
    ahead = now + timedelta(seconds=RENEW_AHEAD_S)
    for ending in runtime.registry.tokens.ending(now, ahead, _budget(runtime.calls_per_hour)):
        try:
            token = runtime.tokens_of(ending.account_id).current()
            renewed += not token.ends_within(RENEW_AHEAD_S, now.timestamp())  # else it was in vain, and early yet
        except RateLimited as error:
            log.info("renewal stopped", extra=fields(renewed=renewed, reason=str(error)))
            break
        except TransientError as error:  # the next tick tries again
            log.warning("token not renewed", extra=fields(account_id=ending.account_id, reason=str(error)))
        except AccountError as error:
            _set_aside(runtime, ending.id, error)
    return renewed


def _budget(calls_per_hour: int | None) -> int:
    if calls_per_hour is None:
        return _MOST_A_TICK
    return min(_MOST_A_TICK, max(1, calls_per_hour // (_TICKS_AN_HOUR * _SHARE)))


def _set_aside(runtime: Runtime, token_id: str, error: AccountError) -> None:
    for account_id in runtime.registry.tokens.users_of(token_id):
        log.warning("token lost", extra=fields(account_id=account_id, code=error.code, reason=str(error)))
        origin = runtime.dispatcher.look_back_now(account_id, Series.DAILY)  # which needs the token, like the other
        runtime.incidents.failed(origin, error)
        try:
            runtime.desk.refused(account_id, error, spared=runtime.incidents.spares(None, error) is not None)
        except UnknownAccount:  # removed meanwhile
            continue
