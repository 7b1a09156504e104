"""What a Redis broker holds, put there and taken by kombu itself."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from kombu import Connection, Exchange, Queue
from kombu.message import Message
from redis import Redis

from tests.support.metric_counts import Counts
from worker.ops.heartbeat import Heartbeat, give_back_orphans
from worker.stores.redis.broker import BrokerMessages, broker_keys
from worker.stores.redis.connection import connect
from worker.stores.redis.progress import ProgressStore


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as client:
        yield client


class Broker:
    """One queue of a prefix of its own; workers take from it and never say that they are done."""

    def __init__(self, url: str, redis: Redis) -> None:
        self.url, self.prefix = url, f"t{uuid4().hex}:"
        self.queue = Queue("nightly", Exchange("releve", type="direct"), routing_key="nightly")
        self.state, self.deliveries = ProgressStore(redis, self.prefix), BrokerMessages(redis, self.prefix)
        self._open: list[Connection] = []

    def connection(self, worker: str) -> Connection:
        options = {"global_keyprefix": self.prefix, **broker_keys(worker)}
        connection = Connection(self.url, transport_options=options)
        self._open.append(connection)
        return connection

    def publish(self, account: str, run_id: str = "r0") -> None:
        described = {"argsrepr": f"('{account}', 'daily', '2024-07-01')", "kwargsrepr": f"{{'run_id': '{run_id}'}}"}
        producer = self.connection("publisher").Producer()
        producer.publish(
            {"for": account},
            exchange=self.queue.exchange,
            routing_key="nightly",
            declare=[self.queue],
            headers=described,
            compression="gzip",
        )

    def take(self, worker: str) -> Message | None:
        message: Message | None = self.queue(self.connection(worker).default_channel).get()
        return message

    def forget(self) -> None:
        """As a SIGKILL does it: the connections end, and nothing is put back."""
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
    assert broker.deliveries.holders() == {"w1"}
    broker.forget()
    assert broker.deliveries.give_back("w1") == 2
    taken = [message for _ in range(2) if (message := broker.take("w2"))]
    assert {message.payload["for"] for message in taken} == {"home1", "home2"}
    assert all(message.delivery_info["redelivered"] and message.headers["redelivered"] for message in taken)
    assert broker.deliveries.give_back("w1") == 0


def test_only_of_workers_that_say_nothing_anything_is_taken(broker: Broker) -> None:
    broker.publish("home1")
    assert broker.take("w1")
    living = Heartbeat(broker.state, "w1")
    living.start()
    assert give_back_orphans(broker.state, broker.deliveries) == 0
    living.stop()
    counts = Counts()
    assert give_back_orphans(broker.state, broker.deliveries) == 1
    assert counts.grown("releve_messages_given_back_total") == 1
    assert broker.deliveries.holders() == set()


def test_a_message_is_seen_wherever_it_is(broker: Broker) -> None:
    for account in ("home1", "home2"):
        broker.publish(account)
    assert broker.take("w1")
    words = broker.deliveries.words_in_flight(["control", "nightly"])
    assert words is not None
    assert {"home1", "home2", "daily"} <= words
    assert "home3" not in words


def test_nobody_looks_into_a_very_long_queue(broker: Broker, redis: Redis) -> None:
    redis.rpush(f"{broker.prefix}nightly", *["{}"] * 20_001)
    assert broker.deliveries.words_in_flight(["nightly"]) is None


def test_the_claim_of_a_lost_message_is_let_go_of_and_others_are_not(broker: Broker) -> None:
    lost, waiting, done = (("home1", "daily", what) for what in ("lost", "waiting", "done"))
    for claim in (lost, waiting):
        assert broker.state.claim(*claim, 600, holder="r1")
    broker.state.keep(*waiting, holder="r1")
    assert broker.state.drop_lost([lost, waiting, done], 20, set()) == 0, "all too young"
    assert broker.state.drop_lost([lost, waiting, done], 0, set()) == 1
    assert broker.state.is_claimed(*waiting)
    assert broker.state.extend(*waiting, 600, holder="r1")
    assert broker.state.drop_claims_older_than(0) == 1


def test_a_lost_message_is_told_by_its_run_though_other_work_of_the_account_is_under_way(broker: Broker) -> None:
    lost, other = ("home1", "account", "backfill"), ("home1", "daily", "nightly:2024-07-25")
    assert broker.state.claim(*lost, 600, holder="20240725T070000.000001")
    assert broker.state.claim(*other, 600, holder="20240725T070000.000002")
    broker.publish("home1", run_id="20240725T070000.000002")
    in_flight = broker.deliveries.words_in_flight(["nightly"])
    assert in_flight is not None
    assert broker.state.drop_lost([lost, other], 0, in_flight) == 1
    assert not broker.state.is_claimed(*lost)
    assert broker.state.is_claimed(*other)
