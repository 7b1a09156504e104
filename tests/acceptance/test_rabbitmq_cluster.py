"""RabbitMQ with three nodes: one is killed in the middle of a history, and the history is complete."""

from __future__ import annotations

from collections.abc import Iterator

import amqp
import pytest

from tests.support.rabbitmq import PASSWORD, USER, VHOST, RabbitMQ
from tests.support.system import NO_QUOTA, QUICK_START, System, open_system


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, rabbitmq_nodes: list[RabbitMQ]) -> Iterator[System]:
    """Yield a system without beat, in which only the broker brings back interrupted work."""
    url = ";".join(node.url for node in rabbitmq_nodes)
    settings = {"PRETEND_NOW": "2024-07-25T09:00+02:00", "HISTORY_LOAD_DAYS": "28", "BROKER_URL": url}
    with open_system(tmp_path_factory.mktemp("cluster"), **settings, **NO_QUOTA) as system:
        system.start_simulator()
        yield system
        system.kill("worker")


def has_queue(node: RabbitMQ, name: str) -> bool:
    """Return whether a node knows a queue, which another node of its cluster may have made."""
    with amqp.Connection(f"127.0.0.1:{node.port}", USER, PASSWORD, virtual_host=VHOST) as connection:
        try:
            connection.channel().queue_declare(name, passive=True)
        except amqp.NotFound:
            return False
    return True


def test_a_history_outlives_a_node_of_rabbitmq(system: System, rabbitmq_nodes: list[RabbitMQ]) -> None:
    system.start_worker(*QUICK_START)
    with system.slow_history("44000000000001"):
        assert all(has_queue(node, "backfill") for node in rabbitmq_nodes), "they are no cluster"
        rabbitmq_nodes[0].kill()
