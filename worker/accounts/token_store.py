"""Where tokens are kept: an account's own in the registry, the application's in Redis; both sealed.

Clients and stores don't know each other; this is where the one is handed to the other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from worker.clients.tokens import Token
from worker.errors import WorkerError
from worker.logs import fields
from worker.stores.encryption import Sealer
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry

log = logging.getLogger("releve.tokens")

_RENEWAL_S: Final = 90.0  # longer than one exchange with all its time-outs
_KILLED_S: Final = 20.0  # the token of a worker that was killed while renewing it is free again after so long
_PATIENCE_S: Final = 30.0  # longer than that: whoever waits gets it
_SHARED_TTL_S: Final = 24 * 3600


class UserTokenStore:
    """A user's rotating token; losing it would lose the consent, so it is in the registry.

    Accounts of one consent share one token, so what is locked and saved is the token's id, not the account's.  One
    vault serves one session in one thread.
    """

    def __init__(self, account_id: str, registry: AccountRegistry, state: ProgressStore) -> None:
        self.account_id = account_id
        self.registry = registry
        self.state = state
        self._renewing: str | None = None

    def load(self) -> Token | None:
        text = self.registry.load_token(self.account_id)
        return Token.from_text(text) if text else None

    def save(self, token: Token) -> None:
        """By a renewal: what a new consent brought meanwhile stays."""
        ends = None if token.expires_at is None else datetime.fromtimestamp(token.expires_at, UTC)
        if self._renewing is None:
            self.registry.tokens.save(self.account_id, token.to_text(), ends)
        elif not self.registry.tokens.renewed(self._renewing, token.to_text(), ends):
            log.info(
                "token renewed and not kept: a new consent has replaced it", extra=fields(account_id=self.account_id)
            )

    @contextmanager
    def renewing(self) -> Iterator[None]:
        while True:
            token_id = self.registry.tokens.id_of(self.account_id)
            name = f"token:{token_id or self.account_id}"
            with self.state.lock(name, _KILLED_S, wait_s=_PATIENCE_S, most_s=_RENEWAL_S):
                if self.registry.tokens.id_of(self.account_id) != token_id:  # a new consent, while we waited
                    continue
                self._renewing = token_id
                try:
                    yield
                finally:
                    self._renewing = None
                return

    def note_refresh(self) -> bool:
        return self._renewing is not None and self.registry.tokens.note_refresh(self._renewing)

    def forget_refresh(self) -> None:
        if self._renewing is not None:
            self.registry.tokens.forget_refresh(self._renewing)


@dataclass(frozen=True)
class ApplicationTokenStore:
    """The application's token; losing it costs one call."""

    supplier: str
    sealer: Sealer
    state: ProgressStore

    def load(self) -> Token | None:
        sealed = self.state.get_secret(f"token:{self.supplier}")
        if sealed is None:
            return None
        try:
            return Token.from_text(self.sealer.unseal(sealed))
        except WorkerError:  # sealed under a key that is gone: a new one costs one call
            return None

    def save(self, token: Token) -> None:
        self.state.put_secret(f"token:{self.supplier}", self.sealer.seal(token.to_text()), _SHARED_TTL_S)

    def renewing(self) -> AbstractContextManager[None]:
        name = f"token:{self.supplier}"
        return self.state.lock(name, _KILLED_S, wait_s=_PATIENCE_S, most_s=_RENEWAL_S)
