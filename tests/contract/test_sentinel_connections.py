"""Connections to Sentinels, of which a plain server plays one: it takes the connection, and knows no master."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from redis import Redis, RedisError

from tests.support.waiting import until
from worker.stores.redis.connection import connect


def test_a_client_that_is_closed_leaves_no_connection_to_a_sentinel(redis_url: str) -> None:
    server = urlsplit(redis_url)
    address = f"{server.hostname}:{server.port}/0?master=homes&sentinel_password={server.password}"
    with Redis.from_url(redis_url) as redis:
        before = len(redis.client_list())
        with connect(f"sentinel://:{server.password}@{address}") as client:
            with pytest.raises(RedisError):
                client.ping()
            assert len(redis.client_list()) == before + 1
        until(lambda: len(redis.client_list()) == before, "the end of its connection to the Sentinel")
