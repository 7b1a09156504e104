"""Errors of a broker that is lost or refuses writes: the ones that Celery expects, so that the worker goes on."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Queue
from kombu.transport import redis as kombu_redis
from kombu.transport import resolve_transport
from redis import Redis, RedisError, ResponseError

from drill.embedded_redis import EmbeddedRedis
from tests.support.waiting import DEADLINE_S, until
from worker.ops.broker import RedisTransport, SentinelTransport, register_transports
from worker.stores.redis.connection import connect


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


def _fill_disk(redis: Redis, folder: Path) -> None:
    """Let the server fail to write its data, after which it refuses writes like one whose disk is full (MISCONF)."""
    (folder / "dump.rdb").mkdir()
    redis.config_set("save", "3600 1")
    redis.bgsave()
    until(lambda: redis.info("persistence")["rdb_last_bgsave_status"] == "err")


def _push_watching(client: Any, queue: str, message: str) -> None:
    """Push in a transaction, as kombu gives back what a worker had taken."""
    client.transaction(lambda pipe: (pipe.multi(), pipe.lpush(queue, message), pipe.lpush(queue, message)), queue)


@pytest.mark.usefixtures("redis_url")
@pytest.mark.parametrize(
    "refuse",
    [
        pytest.param(_fill_disk, id="MISCONF", marks=pytest.mark.rest),
        pytest.param(lambda redis, _: redis.config_set("maxmemory", 1), id="OOM"),
        pytest.param(lambda redis, _: redis.replicaof("127.0.0.1", 9), id="READONLY"),
    ],
)
def test_a_redis_that_refuses_writes_is_lost_until_it_takes_them(tmp_path: Path, refuse: Any) -> None:
    """With kombu's own transport it is an error that ends a worker."""
    with ExitStack() as opened:
        server = opened.enter_context(EmbeddedRedis(tmp_path))
        redis = opened.enter_context(connect(server.url))
        transports = (kombu_redis.Transport, RedisTransport)
        kombu_s, ours = (opened.enter_context(Connection(server.url, transport=kind)) for kind in transports)
        clients = [connection.default_channel.client for connection in (kombu_s, ours)]
        refuse(redis, tmp_path / "redis")
        with pytest.raises(ResponseError) as refused:
            clients[0].lpush("queue", "message")
        assert not isinstance(refused.value, kombu_s.connection_errors)
        for push in (clients[1].lpush, partial(_push_watching, clients[1])):
            with pytest.raises(ConnectionError, match="Redis refuses writes") as lost:
                push("queue", "message")
            assert isinstance(lost.value, ours.connection_errors)
        assert not clients[1].llen("queue"), "the answers still fit the questions"
