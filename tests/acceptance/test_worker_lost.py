"""A window that ends its workers is given up, with either broker and in a pool of processes; the others go on."""

from __future__ import annotations

import signal
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.rabbitmq import RabbitMQ
from tests.support.registries import set_history_due
from tests.support.system import BIN, NO_QUOTA, QUICK_START, open_system, until
from worker.domain.series import USUAL_SERIES, Series

METER, OTHER = "42000000000001", "42000000000002"
APP = "tests.acceptance.killing"


@pytest.fixture(params=["redis", "rabbitmq", "prefork"])
def pool_and_broker(request: pytest.FixtureRequest) -> tuple[dict[str, str], dict[str, str]]:
    """Return the settings of a worker, and of all processes."""
    if request.param == "rabbitmq":
        node: RabbitMQ = request.getfixturevalue("rabbitmq_node")
        # A worker may end between a claim and its message, which Relève can't look for in RabbitMQ.
        return {}, {"BROKER_URL": node.url, "INFLIGHT_EXPIRY_S": "90"}
    return {"TEST_PREFORK": "1"} if request.param == "prefork" else {}, {}


def test_a_window_that_ends_its_workers_fails_and_the_others_go_on(
    pool_and_broker: tuple[dict[str, str], dict[str, str]], tmp_path: Path
) -> None:
    pool, broker = pool_and_broker
    settings = {"PRETEND_NOW": "2024-07-25T09:00+02:00", "HISTORY_LOAD_DAYS": "7", **NO_QUOTA, "RECONCILE_EVERY_S": "1"}
    killed = tmp_path / "killed"
    with open_system(tmp_path, **settings, **broker) as system:
        system.serve_simulator()
        killing, other = map(system.add_account_by_process, (METER, OTHER))
        registry = system.parts.stores.registry
        killed.write_text(killing)

        def start_worker() -> None:
            command = [BIN / "celery", "-A", APP, "worker", "-l", "INFO", *QUICK_START, "--concurrency=2"]
            system.start_process("worker", command, {"TEST_KILLED": str(killed), **pool})

        def keep_running() -> None:
            for end in system.exits():
                assert (end.name, end.code) == ("worker", -signal.SIGKILL)
                start_worker()

        def is_given_up() -> bool:
            keep_running()
            outcome = registry.outcomes.load(killing).get(Series.DAILY)
            return outcome is not None and outcome.code == "WORKER_LOST"

        def is_loaded() -> bool:
            keep_running()  # The last end may have come a moment before.
            for series in USUAL_SERIES:  # Their next try comes at once, also by a worker's clock, which is behind.
                set_history_due(registry, killing, series, system.parts.stores.now() - timedelta(minutes=1))
            return all(system.loaded(account, series) for account in (killing, other) for series in USUAL_SERIES)

        start_worker()
        system.start_beat()
        until(is_given_up, "the window that is given up", 240)
        killed.unlink()
        until(is_loaded, "the history that ends no worker any more, and the other one", 180)
        for account, meter in ((killing, METER), (other, OTHER)):
            assert system.content(account) == system.truth(meter).expected_loads()
