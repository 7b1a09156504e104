"""Our Redis transport: fewer commands than kombu's, and the same content of Redis."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from kombu import Connection, Exchange, Queue
from kombu.message import Message
from redis import Redis

from worker.ops.kombu_redis import RedisTransport
from worker.stores.redis.broker import BrokerMessages, broker_keys
from worker.stores.redis.connection import connect

QUEUE = Queue("nightly", Exchange("releve", type="direct"), routing_key="nightly")


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def prefix() -> str:
    return f"t{uuid4().hex}:"


@pytest.fixture
def broker(redis_url: str, prefix: str) -> Iterator[Connection]:
    options = {"global_keyprefix": prefix, "priority_steps": [0], **broker_keys("w1")}
    with Connection(redis_url, transport=RedisTransport, transport_options=options) as connection:
        yield connection


def take(broker: Connection, act: Callable[[Message], None] = lambda message: None) -> list[Any]:
    bodies: list[Any] = []

    def receive(body: Any, message: Message) -> None:
        bodies.append(body)
        act(message)

    with broker.Consumer([QUEUE], callbacks=[receive]):
        broker.drain_events(timeout=5)
    return bodies


def publish(broker: Connection, body: Any) -> None:
    broker.Producer().publish(body, exchange=QUEUE.exchange, routing_key="nightly", declare=[QUEUE])


def test_what_is_taken_stands_in_the_workers_own_hash_until_it_is_acknowledged(
    broker: Connection, redis: Redis, prefix: str
) -> None:
    publish(broker, {"n": 1})
    snapshots: list[Any] = []

    def inspect(message: Message) -> None:
        snapshots.append((redis.hgetall(f"{prefix}unacked:w1"), redis.zrange(f"{prefix}unacked_index:w1", 0, -1)))
        message.ack()

    assert take(broker, inspect) == [{"n": 1}]
    [(messages, ages)] = snapshots
    [(tag, raw)] = messages.items()
    assert ages == [tag]
    assert json.loads(raw)[1:] == ["releve", "nightly"]
    assert redis.keys(f"{prefix}unacked*") == []


def test_what_a_dead_worker_held_is_given_back_whole(broker: Connection, redis: Redis, prefix: str) -> None:
    publish(broker, {"n": 2})
    take(broker)
    redis.delete(f"{prefix}unacked_index:w1")  # The worker died between the two commands.
    assert BrokerMessages(redis, prefix).requeue("w1") == 1
    assert take(broker, lambda message: message.ack()) == [{"n": 2}]


def test_what_is_refused_goes_back_into_the_queue(broker: Connection, redis: Redis, prefix: str) -> None:
    publish(broker, {"n": 3})
    take(broker, lambda message: message.requeue())
    assert redis.keys(f"{prefix}unacked*") == []
    assert take(broker, lambda message: message.ack()) == [{"n": 3}]


def test_a_channel_has_one_client_while_its_connections_last(broker: Connection) -> None:
    channel: Any = broker.default_channel
    clients = []

    def ask() -> None:
        with channel.conn_or_acquire() as client:
            client.ping()
            clients.append(client)

    ask()  # Two first calls at once may each make a client, and the later one is kept.
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(clients) == 5
    assert len({id(client) for client in clients}) == 1
    channel._disconnect_pools()
    ask()
    assert clients[-1] is not clients[0]


def test_who_waits_for_messages_has_a_client_of_its_own(broker: Connection) -> None:
    channel: Any = broker.default_channel
    with channel.conn_or_acquire() as client:
        assert channel._create_client(asynchronous=True) is not client
