"""The revocation of users' tokens that no account uses any more, at the supplier.

Where a household has its account erased or stops its consent, deleting our copy of its token is not enough: a person
with another copy could renew it. A token waits in its row until the supplier has revoked it, for seven days at most.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from worker.domain.clock import Clock, real_clock
from worker.errors import StoreUnavailable, TransientError, WorkerError
from worker.logs import fields
from worker.stores.registry.user_tokens import TokenTable, UnusedToken

log = logging.getLogger("releve.tokens")
_MOST_AT_ONCE: Final = 200
_LONGEST_WAIT: Final = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class TokenRevocation:
    """The job that revokes tokens. ``revoke`` takes a token's text; ``lock`` holds off renewals of a token's id."""

    tokens: TokenTable
    revoke: Callable[[str], None]
    lock: Callable[[str], AbstractContextManager[None]]
    now: Clock = real_clock

    def run(self) -> int:
        """Revoke the tokens that wait and return their number. Safe to repeat. Raises StoreUnavailable.

        Where the supplier is silent or it is not our turn, the rest waits for the next run.
        """
        revoked = 0
        for token in self.tokens.list_to_revoke(_MOST_AT_ONCE):
            try:
                with self.lock(token.id):
                    revoked += self._revoke(token)
            except StoreUnavailable:
                raise
            except WorkerError as error:
                if self.now() - token.since > _LONGEST_WAIT:
                    log.error("token not revoked, given up", extra=fields(token=token.id, reason=str(error)))
                    self.tokens.delete_unused(token.id)
                    continue
                log.warning("token not revoked yet", extra=fields(token=token.id, reason=str(error)))
                if isinstance(error, TransientError):
                    break
        return revoked

    def _revoke(self, token: UnusedToken) -> bool:
        text = self.tokens.load_unused(token.id)
        if text is None:
            return False  # Another run was faster.
        self.revoke(text)
        self.tokens.delete_unused(token.id)
        log.info("token revoked", extra=fields(token=token.id))
        return True
