"""Where tokens are kept: an account's own in the registry, the application's in Redis; both sealed.

Clients and stores don't know each other; this is where the one is handed to the other.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from worker.clients.tokens import Token
from worker.errors import WorkerError
from worker.stores.registry import AccountRegistry
from worker.stores.sealing import Sealer
from worker.stores.state import SyncState

_RENEWAL_S: Final = 90.0  # longer than one exchange with all its time-outs
_PATIENCE_S: Final = 30.0
_SHARED_TTL_S: Final = 24 * 3600


@dataclass(frozen=True)
class AccountVault:
    """A user's rotating token; losing it would lose the consent, so it is in the registry."""

    account_id: str
    registry: AccountRegistry
    state: SyncState

    def load(self) -> Token | None:
        text = self.registry.load_token(self.account_id)
        return Token.from_text(text) if text else None

    def save(self, token: Token) -> None:
        self.registry.save_token(self.account_id, token.to_text())

    def renewing(self) -> AbstractContextManager[None]:
        return self.state.lock(f"token:{self.account_id}", _RENEWAL_S, wait_s=_PATIENCE_S)


@dataclass(frozen=True)
class SharedVault:
    """The application's token; losing it costs one call."""

    supplier: str
    sealer: Sealer
    state: SyncState

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
        return self.state.lock(f"token:{self.supplier}", _RENEWAL_S, wait_s=_PATIENCE_S)
