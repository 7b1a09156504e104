"""Error of a broker channel whose connection is lost: the one that Celery expects, so that the worker goes on."""

from __future__ import annotations

from typing import Any

import pytest
from kombu import Connection, Queue
from kombu.transport import redis as kombu_redis
from kombu.transport import resolve_transport
from redis import RedisError

from tests.support.waiting import DEADLINE_S
from worker.ops.broker import RedisTransport, SentinelTransport, register_transports


@pytest.fixture(autouse=True)
def _registered_transports() -> None:
    register_transports()


def test_each_way_to_redis_is_the_mended_one() -> None:
    assert resolve_transport("redis") is resolve_transport("rediss") is RedisTransport
    assert resolve_transport("sentinel") is SentinelTransport


@pytest.mark.parametrize("transport", [kombu_redis.Transport, RedisTransport])
def test_a_channel_closed_after_its_connection_says_that_the_connection_is_lost(
    redis_url: str, transport: type[Any]
) -> None:
    """kombu's own channel raises an AttributeError; when it no longer does, our fix can go."""
    received: list[Any] = []
    with Connection(redis_url, transport=transport) as connection:
        connection.SimpleQueue("lost").put({})
        consumer = connection.Consumer([Queue("lost")], callbacks=[lambda _, message: received.append(message)])
        channel = consumer.channel
        with consumer:
            connection.drain_events(timeout=DEADLINE_S)
        expected = connection.connection_errors
        connection._do_close_transport()  # Celery's clean-up leaves this state where closing fails midway.
        with pytest.raises(AttributeError if transport is kombu_redis.Transport else RedisError) as caught:
            channel.close()
    assert received
    assert isinstance(caught.value, expected) is (transport is RedisTransport)
