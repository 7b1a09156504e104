"""The application's token: whoever is killed while it renews it keeps the others from it for no longer than a call."""

from __future__ import annotations

import redis

from worker.clients.tokens import Token
from worker.stores.sealing import Sealer, new_key
from worker.stores.state import SyncState
from worker.vaults import SharedVault


def test_a_killed_renewal_keeps_nobody_waiting_for_longer_than_a_call(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        prefix = "test-shared-token:"
        vault = SharedVault("enedis", Sealer([new_key()]), SyncState(client, prefix))
        held = vault.renewing()
        held.__enter__()  # and never lets go, as kill -9 leaves it
        try:
            assert 0 < client.pttl(f"{prefix}lock:token:enedis") <= 30_000
        finally:
            held.__exit__(None, None, None)
        with vault.renewing():
            vault.save(Token(access="a", refresh=None, expires_at=None))
        client.delete(*client.keys(f"{prefix}*"))
