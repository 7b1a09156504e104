"""The lock of a token renewal: after a killed renewal it expires before the waiting processes give up."""

from __future__ import annotations

import logging

import pytest
from redis import Redis

from tests.support.registries import METER, NOW, registry_sealer
from worker.stores import token_store
from worker.stores.encryption import generate_key
from worker.stores.redis.claims import ProgressStore
from worker.stores.registry import Registry
from worker.stores.registry.accounts import NewConsent
from worker.stores.token_store import ApplicationTokenStore, UserTokenStore


def lock_expiry_ms(tokens: UserTokenStore | ApplicationTokenStore, redis: Redis, prefix: str) -> int:
    """Return for how long the lock of a renewal outlives a killed process at most, in milliseconds."""
    with tokens.renewal_lock():
        (key,) = redis.scan_iter(f"{prefix}lock:token:*")
        return int(redis.pttl(key))


def test_a_killed_renewal_keeps_nobody_waiting_in_vain(registry: Registry, redis: Redis, prefix: str) -> None:
    state = ProgressStore(redis, prefix)
    ((account, _),) = registry.accounts.add_all("enedis", [METER], NOW, NewConsent(token="old"))
    users, shared = (
        UserTokenStore(account.id, registry, state),
        ApplicationTokenStore("enedis", registry_sealer(generate_key()), state),
    )
    for tokens in (users, shared):
        assert 0 < lock_expiry_ms(tokens, redis, prefix) < token_store._LOCK_WAIT_S * 1000
        with tokens.renewal_lock():
            tokens.save("new", None)
        assert tokens.load() == "new"


def test_a_renewal_says_that_a_new_consent_came_meanwhile_and_only_then(
    registry: Registry, redis: Redis, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    ((account, _),) = registry.accounts.add_all("enedis", [METER], NOW, NewConsent(token="old"))
    tokens = UserTokenStore(account.id, registry, ProgressStore(redis, prefix))
    with caplog.at_level(logging.INFO, "releve"), tokens.renewal_lock():
        tokens.save("renewed", None)
        assert (tokens.load(), caplog.messages) == ("renewed", [])
        registry.accounts.add_all("enedis", [METER], NOW, NewConsent(token="of a new consent"))
        tokens.save("renewed again", None)
    assert tokens.load() == "of a new consent"
    assert [message.partition(":")[0] for message in caplog.messages] == ["token renewed and discarded"]
