"""Messages in a Redis broker, published and taken by kombu itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from kombu import Connection, Exchange, Queue
from kombu.message import Message
from redis import Redis

from config import celery_options
from tests.support.metric_counts import MetricGrowth
from worker.ops.watchdog import Heartbeat, requeue_orphans
from worker.stores.redis import heartbeats
from worker.stores.redis.heartbeats import BrokerMessages, Heartbeats, broker_keys


class Broker:
    """One queue under a prefix of its own; workers take messages from it and never acknowledge them."""

    def __init__(self, url: str, redis: Redis) -> None:
        self.url, self.prefix = url, f"t{uuid4().hex}:"
        self.queue = Queue("nightly", Exchange("releve", type="direct"), routing_key="nightly")
        self.messages = BrokerMessages(redis, self.prefix)
        self.heartbeats = Heartbeats(redis, self.prefix)
        self._open: list[Connection] = []

    def connection(self, worker: str) -> Connection:
        options = {"global_keyprefix": self.prefix, **broker_keys(worker)}
        connection = Connection(self.url, transport_options=options)
        self._open.append(connection)
        return connection

    def publish(self, account: str, claim: str = "nightly/1") -> None:
        headers = {"argsrepr": f"('{account}', 'daily', '2024-07-01')", "kwargsrepr": f"{{'claim': '{claim}'}}"}
        producer = self.connection("publisher").Producer()
        producer.publish(
            {"for": account},
            exchange=self.queue.exchange,
            routing_key="nightly",
            declare=[self.queue],
            headers=headers,
            compression="gzip",
        )

    def take(self, worker: str) -> Message | None:
        message: Message | None = self.queue(self.connection(worker).default_channel).get()
        return message

    def forget(self) -> None:
        """End the connections without putting anything back, as SIGKILL does."""
        for connection in self._open:
            connection.default_channel.qos._delivered.clear()
            connection.default_channel.qos._dirty.clear()
            connection.release()


@pytest.fixture
def broker(redis_url: str, redis: Redis) -> Iterator[Broker]:
    broker = Broker(redis_url, redis)
    yield broker
    broker.forget()


def test_what_a_dead_worker_held_is_taken_by_the_next_and_known_as_redelivered(broker: Broker) -> None:
    for account in ("home1", "home2"):
        broker.publish(account)
    assert [broker.take("w1") is not None for _ in range(2)] == [True, True]
    assert broker.take("w2") is None
    assert broker.messages.workers_with_messages() == {"w1"}
    broker.forget()
    assert broker.messages.requeue("w1") == 2
    messages = [message for _ in range(2) if (message := broker.take("w2"))]
    assert {message.payload["for"] for message in messages} == {"home1", "home2"}
    assert all(message.delivery_info["redelivered"] and message.headers["redelivered"] for message in messages)
    assert broker.messages.requeue("w1") == 0


def test_a_worker_takes_the_steps_of_windows_before_it_begins_another(redis_url: str, broker: Broker) -> None:
    taken: list[str] = []

    def take(_: object, message: Message) -> None:
        taken.append(str(message.delivery_info["routing_key"]))
        message.ack()

    queues = [Queue(queue.name, queue.exchange, routing_key=queue.name) for queue in celery_options.task_queues]
    options = celery_options.broker_transport_options | {"global_keyprefix": broker.prefix, **broker_keys("w1")}
    with Connection(redis_url, transport_options=options) as connection:
        producer = connection.Producer()
        for name in ("nightly", "nightly", "control", "steps", "steps"):
            producer.publish({}, exchange=queues[0].exchange, routing_key=name, declare=queues)
        with connection.Consumer(queues, callbacks=[take]):
            while len(taken) < 5:
                connection.drain_events(timeout=5)
    assert taken == ["steps", "steps", "control", "nightly", "nightly"]


def test_only_of_workers_that_say_nothing_anything_is_taken(broker: Broker) -> None:
    broker.publish("home1")
    assert broker.take("w1")
    living = Heartbeat(broker.heartbeats, "nightly@one", "", "w1")
    living.start()
    assert requeue_orphans(broker.heartbeats, broker.messages) == 0
    living.stop()
    counts = MetricGrowth()
    assert requeue_orphans(broker.heartbeats, broker.messages) == 1
    assert counts.growth("releve_messages_requeued_total") == 1
    assert broker.messages.workers_with_messages() == set()


def test_a_message_is_seen_wherever_it_is(broker: Broker) -> None:
    for account in ("home1", "home2"):
        broker.publish(account)
    assert broker.take("w1")
    words = broker.messages.words_in_messages(["control", "nightly"])
    assert words is not None
    assert {"home1", "home2", "daily"} <= words
    assert "home3" not in words


def test_nobody_looks_into_a_very_long_queue(broker: Broker, redis: Redis) -> None:
    redis.rpush(f"{broker.prefix}nightly", *["{}"] * 20_001)
    assert broker.messages.words_in_messages(["nightly"]) is None


def test_a_lost_message_is_told_by_its_claim_though_other_work_of_the_account_is_under_way(broker: Broker) -> None:
    lost, other = "1721890000123456", "1721890000123457"
    broker.publish("home1", claim=f"nightly/{other}")
    words = broker.messages.words_in_messages(["nightly"])
    assert words is not None
    assert (lost in words, other in words) == (False, True)


def test_no_message_is_missed_while_workers_take_and_publish_others(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = [f"home{number}" for number in range(6)]
    for account in accounts:
        broker.publish(account)
    new = [f"new{number}" for number in range(3)]
    monkeypatch.setattr(heartbeats, "_PAGE", 2)
    redis = broker.messages._redis
    read_page = redis.lrange

    def read_then_take(*args: Any) -> Any:
        page = read_page(*args)
        broker.take("w1")
        if new:
            broker.publish(new.pop())
        return page

    monkeypatch.setattr(redis, "lrange", read_then_take)
    words = broker.messages.words_in_messages(["nightly"])
    assert words is not None and words >= set(accounts)
