"""The users' tokens at the supplier: renewed before they expire, and revoked when no account uses them any more.

Only tokens that are still valid are renewed here; an expired token is renewed by the next call that needs it. A tick of
beat makes at most a tenth of the calls that the quota allows per minute. It renews the tokens that expire first.

When a household has its account erased or stops its consent, the supplier must revoke the token, because anyone with
another copy could go on renewing it. The token's row is kept until then, but for seven days at most.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from worker.accounts.refusals import RefusalPolicy
from worker.clients.supplier_session import TokenProvider
from worker.clients.tokens import RENEW_AHEAD_S
from worker.domain.account import Account
from worker.domain.clock import Clock, real_clock
from worker.domain.series import daily_of
from worker.domain.windows import civil_date
from worker.errors import (
    AccountError,
    ConsentEnded,
    RateLimited,
    StoreUnavailable,
    TransientError,
    UnknownAccount,
    WorkerError,
)
from worker.logs import fields
from worker.stores.registry.user_tokens import TokenTable
from worker.sync.claims import WindowClaims

log = logging.getLogger("releve.tokens")
_TICKS_PER_HOUR: Final = 60
_QUOTA_DIVISOR: Final = 10  # A tick makes a tenth of the calls that the quota allows per minute.
_MOST_AT_ONCE: Final = 200
_LONGEST_WAIT: Final = timedelta(days=7)


def renew_tokens(
    refusals: RefusalPolicy,
    claims: WindowClaims,
    tokens_of: Callable[[Account], TokenProvider],
    calls_per_hour: int | None,
) -> int:
    """Renew the tokens that expire soon and return how many were renewed; 0 during an incident that stops all calls.

    If a token can no longer be renewed, its accounts are suspended. Tokens expire by the real clock, but consents end
    by the fleet's clock, which may be simulated.
    """
    if refusals.incidents.is_open():
        return 0
    registry, now, renewed = refusals.registry, datetime.now(UTC), 0
    ahead, today = now + timedelta(seconds=RENEW_AHEAD_S), civil_date(refusals.now())
    most = _MOST_AT_ONCE
    if calls_per_hour is not None:
        most = min(most, max(1, calls_per_hour // (_TICKS_PER_HOUR * _QUOTA_DIVISOR)))
    for ending in registry.tokens.list_expiring(now, ahead, today, most):
        try:
            token = tokens_of(registry.accounts.get(ending.account_id)).current()
            # After a TransientError, ``current`` returns the old token, which ends soon; a later tick tries again.
            renewed += not token.ends_within(RENEW_AHEAD_S)
        except RateLimited as error:
            log.info("renewal stopped", extra=fields(renewed=renewed, reason=str(error)))
            break
        except TransientError as error:
            log.warning("token not renewed", extra=fields(account_id=ending.account_id, reason=str(error)))
        except (ConsentEnded, UnknownAccount) as error:
            # The error concerns only this account. Other accounts may use the token, so no account is suspended.
            log.info("token not renewed", extra=fields(account_id=ending.account_id, reason=str(error)))
        except AccountError as error:
            _suspend(registry.tokens.list_accounts_of(ending.id), error, refusals, claims)
    return renewed


def _suspend(account_ids: Iterable[str], error: AccountError, refusals: RefusalPolicy, claims: WindowClaims) -> None:
    for account_id in account_ids:
        log.warning("token lost", extra=fields(account_id=account_id, code=error.code, reason=str(error)))
        # All series need the token, but one record is enough: the daily series gets it.
        refusals.incidents.record_failure(claims.manual_look_back(account_id, daily_of()), error)
        during_incident = refusals.incidents.find_excuse(error) is not None
        with suppress(UnknownAccount):  # The account was removed meanwhile.
            refusals.record_refusal(account_id, error, during_incident=during_incident)


def revoke_tokens(
    tokens: TokenTable,
    revoke: Callable[[str], None],
    lock: Callable[[str], AbstractContextManager[None]],
    now: Clock = real_clock,
) -> int:
    """Revoke the tokens that wait to be revoked, and return how many were revoked. Safe to repeat.

    ``revoke`` takes a token's text. ``lock`` takes a token's id and blocks renewals of the token. If the supplier
    doesn't answer or makes us wait, the other tokens wait for the next run.
    """
    revoked = 0
    for token in tokens.list_to_revoke(_MOST_AT_ONCE):
        try:
            with lock(token.id):
                text = tokens.load_unused(token.id)
                if text is None:  # Another run was faster.
                    continue
                revoke(text)
                tokens.delete_unused(token.id)
            revoked += 1
            log.info("token revoked", extra=fields(token=token.id))
        except StoreUnavailable:
            raise
        except WorkerError as error:
            if now() - token.since > _LONGEST_WAIT:
                log.error("token not revoked, given up", extra=fields(token=token.id, reason=str(error)))
                tokens.delete_unused(token.id)
                continue
            log.warning("token not revoked yet", extra=fields(token=token.id, reason=str(error)))
            if isinstance(error, TransientError):
                break
    return revoked
