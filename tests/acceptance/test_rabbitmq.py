"""RabbitMQ as the broker, on a real node: quorum queues, delays kept by the broker, kills on either side."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import amqp
import pytest

from tests.support.rabbitmq import PASSWORD, USER, VHOST, RabbitMQ
from tests.support.system import NO_QUOTA, QUICKLY, House, open_house, until

QUEUES = ("control", "first_screen", "nightly", "repair", "backfill")
MEASURES = "mesure_synchrone_auto"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, rabbitmq_node: RabbitMQ) -> Iterator[House]:
    """Without beat: nothing but the broker brings back what was in work."""
    settings = {"PRETEND_NOW": "2024-07-25T09:00+02:00", "HISTORY_LOAD_DAYS": "7", "BROKER_URL": rabbitmq_node.url}
    with open_house(tmp_path_factory.mktemp("rabbitmq"), **settings, **NO_QUOTA) as house:
        house.start_simulator()
        yield house
        house.kill("worker")


def ready(node: RabbitMQ) -> int:
    """Messages that no worker holds, asked without declaring anything."""
    with amqp.Connection(f"127.0.0.1:{node.port}", USER, PASSWORD, virtual_host=VHOST) as connection:
        channel = connection.channel()
        return sum(channel.queue_declare(name, passive=True).message_count for name in QUEUES)


def add_account(house: House, meter: str) -> str:
    """By a process of its own: the one of the tests may have spoken to a Redis, and keeps to its options."""
    account: str = json.loads(house.releve("accounts", "add", "--usage-point", meter, "--json").stdout)["account"]
    return account


def hits(house: House) -> int:
    return sum(fault["hits"] for fault in house.simulator("GET", "faults"))


def test_what_a_killed_worker_had_in_hand_comes_back_at_once(house: House, rabbitmq_node: RabbitMQ) -> None:
    meter = "41000000000001"
    house.simulator("POST", "faults", {"path": MEASURES, "kind": "timeout", "count": None})
    house.start_worker(*QUICKLY)
    account = add_account(house, meter)
    until(lambda: hits(house), "the call that gets no answer")
    house.kill("worker")
    until(lambda: ready(rabbitmq_node), "the message's return to its queue")
    house.simulator("DELETE", "faults")
    house.start_worker(*QUICKLY)
    house.wait_loaded(account)
    assert house.content(account) == house.truth(meter).content()
    until(lambda: not ready(rabbitmq_node), "the queues' emptiness")


def test_a_killed_broker_keeps_what_waits_for_another_try(house: House, rabbitmq_node: RabbitMQ) -> None:
    meter = "41000000000002"
    house.simulator("POST", "faults", {"path": MEASURES, "status": 503, "count": 2, "headers": {"Retry-After": "1"}})
    account = add_account(house, meter)
    until(lambda: hits(house), "the refused call")
    rabbitmq_node.kill()
    rabbitmq_node.start()
    house.wait_loaded(account)
    assert hits(house) == 2  # tried again, and again: each time the message found its queue
    assert house.content(account) == house.truth(meter).content()


def test_a_night_counts_what_waits_and_runs(house: House) -> None:
    account = add_account(house, "41000000000003")
    send = "from worker.app import app; app.send_task('tasks.schedule.nightly_sync', args=('2030-01-01',))"
    subprocess.run([sys.executable, "-c", send], env={**os.environ, **house.env()}, check=True)
    until(lambda: house.has_run(account, "nightly:2030-01-01"), "the night")


def test_waits_are_the_broker_s_work_and_no_worker_s(house: House) -> None:
    assert "Global QoS is disabled" in house.logs()
    assert "direct exchange" not in house.logs()
    assert PASSWORD not in house.logs()
