"""Age of the next message of a queue, in a real broker."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from kombu import Connection, Exchange, Producer, Queue

from config.validation import build_broker_options
from worker.ops.broker import PUBLISHED_AT, oldest_ages, queue_lengths

QUEUES = [Queue(name, Exchange("releve", type="direct"), routing_key=name) for name in ("nightly", "backfill")]


@pytest.fixture
def broker(redis_url: str) -> Iterator[Connection]:
    """Open a connection with the workers' options, in a database that no other test uses."""
    broker = build_broker_options(redis_url.rsplit("/", 1)[0] + "/9", 180)
    with Connection(broker.url, transport_options=broker.transport_options) as connection:
        yield connection
        for queue in QUEUES:
            queue(connection.default_channel).purge()


def publish(broker: Connection, queue: str, age_s: float | None) -> None:
    headers = {} if age_s is None else {PUBLISHED_AT: time.time() - age_s}
    producer = Producer(broker.default_channel, QUEUES[0].exchange)
    producer.publish({"any": "body"}, routing_key=queue, headers=headers, declare=[*QUEUES])


def test_the_age_is_that_of_the_message_which_comes_next(broker: Connection) -> None:
    publish(broker, "nightly", 500)
    publish(broker, "nightly", 20)
    ages = oldest_ages(broker, QUEUES)
    assert 500 <= ages["nightly"] < 560
    assert ages["backfill"] == 0
    QUEUES[0](broker.default_channel).get(no_ack=True)
    assert 20 <= oldest_ages(broker, QUEUES)["nightly"] < 80
    assert queue_lengths(broker, QUEUES) == {"nightly": 1, "backfill": 0}


def test_of_a_message_that_tells_no_time_nothing_is_told(broker: Connection) -> None:
    publish(broker, "nightly", None)
    assert oldest_ages(broker, QUEUES) == {"backfill": 0.0}


def test_a_clock_that_is_ahead_makes_no_age_below_zero(broker: Connection) -> None:
    publish(broker, "nightly", -300)
    assert oldest_ages(broker, QUEUES)["nightly"] == 0
