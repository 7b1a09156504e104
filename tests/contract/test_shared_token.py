"""Tokens that many wait for: whoever is killed while it renews one keeps the others from it for less than they wait."""

from __future__ import annotations

from redis import Redis

from tests.support.registries import METER, NOW
from worker.accounts import token_store
from worker.accounts.token_store import ApplicationTokenStore, UserTokenStore
from worker.clients.tokens import Token
from worker.stores.encryption import Sealer, new_key
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry, NewConsent


def held_ms(vault: UserTokenStore | ApplicationTokenStore, redis: Redis, prefix: str) -> int:
    """For how long the lock of a renewal outlives its holder at most."""
    with vault.renewing():
        (key,) = redis.scan_iter(f"{prefix}lock:token:*")
        return int(redis.pttl(key))


def test_a_killed_renewal_keeps_nobody_waiting_in_vain(registry: AccountRegistry, redis: Redis, prefix: str) -> None:
    state, token = ProgressStore(redis, prefix), Token("a", "r", None)
    ((account, _),) = registry.add_all("enedis", [METER], NOW, NewConsent(token=token.to_text()))
    users, shared = (
        UserTokenStore(account.id, registry, state),
        ApplicationTokenStore("enedis", Sealer([new_key()]), state),
    )
    for vault in (users, shared):
        assert 0 < held_ms(vault, redis, prefix) < token_store._PATIENCE_S * 1000
        with vault.renewing():
            vault.save(token)
        assert vault.load() == token
