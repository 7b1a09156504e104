"""What a worker's broker channel says once its connection is gone: what Celery expects, not what ends the worker."""

from __future__ import annotations

from typing import Any

import pytest
from kombu import Connection, Queue
from kombu.transport import redis as kombu_redis
from kombu.transport import resolve_transport
from redis import RedisError

from worker.ops.kombu_redis import RedisTransport, SentinelTransport, use_mended


@pytest.fixture(autouse=True)
def _mended() -> None:
    use_mended()


def test_each_way_to_redis_is_the_mended_one() -> None:
    assert resolve_transport("redis") is resolve_transport("rediss") is RedisTransport
    assert resolve_transport("sentinel") is SentinelTransport


@pytest.mark.parametrize("transport", [kombu_redis.Transport, RedisTransport])
def test_a_channel_closed_after_its_connection_says_that_the_connection_is_lost(
    redis_url: str, transport: type[Any]
) -> None:
    """kombu's own says it in a way that nobody expects: without it there would be nothing to mend."""
    received: list[Any] = []
    with Connection(redis_url, transport=transport) as connection:
        connection.SimpleQueue("lost").put({})
        consumer = connection.Consumer([Queue("lost")], callbacks=[lambda _, message: received.append(message)])
        channel = consumer.channel
        with consumer:
            connection.drain_events(timeout=5)
        expected = connection.connection_errors
        connection._do_close_transport()  # what Celery's clean-up leaves where closing the channel failed midway
        with pytest.raises(AttributeError if transport is kombu_redis.Transport else RedisError) as caught:
            channel.close()
    assert received
    assert isinstance(caught.value, expected) is (transport is RedisTransport)
