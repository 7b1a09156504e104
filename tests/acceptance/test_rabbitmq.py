"""RabbitMQ as the broker, on a real node: quorum queues, delays kept by the broker, kills on either side."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import amqp
import pytest

from tests.support.rabbitmq import PASSWORD, USER, VHOST, RabbitMQ
from tests.support.system import NO_QUOTA, QUICK_START, System, open_system, until
from worker.cli.status import asked_at

QUEUES = ("steps", "control", "first_screen", "nightly", "repair", "backfill", "strangers")
MEASURES = "mesure_synchrone_auto"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, rabbitmq_node: RabbitMQ) -> Iterator[System]:
    """Yield a system without beat, in which only the broker brings back interrupted work."""
    settings = {"PRETEND_NOW": "2024-07-25T09:00+02:00", "HISTORY_LOAD_DAYS": "7", "BROKER_URL": rabbitmq_node.url}
    with open_system(tmp_path_factory.mktemp("rabbitmq"), **settings, **NO_QUOTA) as system:
        system.start_simulator()
        yield system
        system.kill("worker")


def count_ready(node: RabbitMQ) -> int:
    """Return the number of messages that no worker holds, without declaring a queue."""
    with amqp.Connection(f"127.0.0.1:{node.port}", USER, PASSWORD, virtual_host=VHOST) as connection:
        channel = connection.channel()
        return sum(channel.queue_declare(name, passive=True).message_count for name in QUEUES)


def count_hits(system: System) -> int:
    return sum(fault["hits"] for fault in system.simulator("GET", "faults"))


def test_what_a_killed_worker_had_in_hand_comes_back_at_once(system: System, rabbitmq_node: RabbitMQ) -> None:
    meter = "41000000000001"
    system.simulator("POST", "faults", {"path": MEASURES, "kind": "timeout", "count": None})
    system.start_worker(*QUICK_START)
    account = system.add_account_by_process(meter)
    until(lambda: count_hits(system), "the call that gets no answer")
    system.kill("worker")
    until(lambda: count_ready(rabbitmq_node), "the message's return to its queue")
    system.simulator("DELETE", "faults")
    system.start_worker(*QUICK_START)
    system.wait_loaded(account)
    assert system.content(account) == system.truth(meter).expected_loads()
    until(lambda: not count_ready(rabbitmq_node), "the queues' emptiness")


def test_a_killed_broker_keeps_what_waits_for_another_try(system: System, rabbitmq_node: RabbitMQ) -> None:
    meter = "41000000000002"
    system.simulator("POST", "faults", {"path": MEASURES, "status": 503, "count": 2, "headers": {"Retry-After": "1"}})
    account = system.add_account_by_process(meter)
    until(lambda: count_hits(system), "the refused call")
    rabbitmq_node.kill()
    rabbitmq_node.start()
    system.wait_loaded(account)
    assert count_hits(system) == 2  # Each retry found its queue.
    assert system.content(account) == system.truth(meter).expected_loads()


def test_a_night_counts_what_waits_and_runs(system: System) -> None:
    account = system.parts.stores.registry.accounts.list_accounts()[0]
    before = asked_at(system.parts.stores.registry, account)
    send = "from worker.app import app; app.send_task('tasks.nightly.nightly_sync', args=('2100-01-01',))"
    subprocess.run([sys.executable, "-c", send], env={**os.environ, **system.environment()}, check=True)
    until(
        lambda: all(at != before[series] for series, at in asked_at(system.parts.stores.registry, account).items()),
        "the night",
    )


def test_waits_are_the_broker_s_work_and_no_worker_s(system: System) -> None:
    assert "Global QoS is disabled" in system.logs()
    assert "direct exchange" not in system.logs()
    assert PASSWORD not in system.logs()
