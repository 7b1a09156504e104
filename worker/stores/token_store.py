"""The token stores: users' tokens in the registry, the application's token in Redis, both encrypted.

Clients and stores don't import each other. These classes implement protocols that ``worker.clients.tokens`` defines,
and treat a token as a text without structure.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from worker.errors import WorkerError
from worker.logs import fields
from worker.stores.encryption import Sealer
from worker.stores.redis.claims import ProgressStore
from worker.stores.registry import Registry

log = logging.getLogger("releve.tokens")
_LOCK_MAX_S: Final = 90.0  # Locks are extended up to this time. An exchange of tokens takes less, even with timeouts.
_LOCK_TTL_S: Final = 20.0  # A lock expires after this time if nobody extends it, because its worker was killed.
_LOCK_WAIT_S: Final = 30.0  # Longer than the expiry, so a waiting worker gets the lock if its holder was killed.
_APPLICATION_TOKEN_TTL_S: Final = 24 * 3600


def token_lock(progress: ProgressStore) -> Callable[[str], AbstractContextManager[None]]:
    """Return a function that takes the id of a user's token and locks the token against a renewal by others.

    The function raises StoreUnavailable if the lock stays busy.
    """
    return lambda token_id: progress.lock(f"token:{token_id}", _LOCK_TTL_S, wait_s=_LOCK_WAIT_S, most_s=_LOCK_MAX_S)


class UserTokenStore:
    """A user's rotating token, kept in the registry because losing it would lose the consent.

    Accounts of one consent share one token, so the lock and the stored row are identified by the token's id, not by the
    account's. An instance serves one session in one thread.
    """

    def __init__(self, account_id: str, registry: Registry, progress: ProgressStore) -> None:
        self.account_id = account_id
        self.registry = registry
        self.progress = progress
        self._locked_token_id: str | None = None

    def load(self) -> str | None:
        return self.registry.tokens.load(self.account_id)

    def save(self, token: str, expires_at: int | None) -> None:
        """Save the token. A token from a renewal doesn't overwrite the token of a newer consent."""
        ends = None if expires_at is None else datetime.fromtimestamp(expires_at, UTC)
        if self._locked_token_id is None:
            self.registry.tokens.save(self.account_id, token, ends)
        elif not self.registry.tokens.save_renewed(self._locked_token_id, token, ends):
            log.info("token renewed and discarded: a new consent replaced it", extra=fields(account_id=self.account_id))

    @contextmanager
    def renewal_lock(self) -> Iterator[None]:
        """Hold the lock of the account's token during the block. Raises StoreUnavailable if the lock stays busy."""
        while True:
            token_id = self.registry.tokens.find_token_id(self.account_id)
            with token_lock(self.progress)(token_id or self.account_id):
                # If a new consent has replaced the token while this process waited, the new token's lock is needed.
                if self.registry.tokens.find_token_id(self.account_id) != token_id:
                    continue
                self._locked_token_id = token_id
                try:
                    yield
                finally:
                    self._locked_token_id = None
                return

    def mark_refresh_sent(self) -> bool:
        """Record that the refresh token is about to be sent; return whether an earlier renewal is unfinished."""
        return self._locked_token_id is not None and self.registry.tokens.mark_refresh_started(self._locked_token_id)

    def clear_refresh_sent(self) -> None:
        """Record that the refresh token was not sent after all."""
        if self._locked_token_id is not None:
            self.registry.tokens.clear_refresh_started(self._locked_token_id)


@dataclass(frozen=True)
class ApplicationTokenStore:
    """The application's token, kept in Redis because losing it costs only one call."""

    supplier: str
    sealer: Sealer
    progress: ProgressStore

    def load(self) -> str | None:
        sealed = self.progress.get_secret(f"token:{self.supplier}")
        try:
            return self.sealer.unseal(sealed, self._place) if sealed else None
        except WorkerError:
            # The token's encryption key is gone. The caller requests a new token, which costs only one call.
            return None

    def save(self, token: str, expires_at: int | None) -> None:
        sealed = self.sealer.seal(token, self._place)
        self.progress.put_secret(f"token:{self.supplier}", sealed, _APPLICATION_TOKEN_TTL_S)

    def renewal_lock(self) -> AbstractContextManager[None]:
        name = f"token:{self.supplier}"
        return self.progress.lock(name, _LOCK_TTL_S, wait_s=_LOCK_WAIT_S, most_s=_LOCK_MAX_S)

    @property
    def _place(self) -> str:
        return f"token/{self.supplier}"
