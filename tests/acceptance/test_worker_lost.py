"""A window that ends its workers is given up, with either broker and in a pool of processes; the others go on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.rabbitmq import RabbitMQ
from tests.support.system import BIN, NO_QUOTA, QUICK_START, open_system, until
from worker.domain.series import USUAL_SERIES, Series

APP = "tests.acceptance.killing"


@pytest.fixture(params=["redis", "rabbitmq", "prefork"])
def pool_and_broker(request: pytest.FixtureRequest) -> tuple[dict[str, str], dict[str, str]]:
    """Return the settings of a worker, and of all processes."""
    if request.param == "rabbitmq":
        node: RabbitMQ = request.getfixturevalue("rabbitmq_node")
        return {}, {"BROKER_URL": node.url}
    return {"TEST_PREFORK": "1"} if request.param == "prefork" else {}, {}


def test_a_window_that_ends_its_workers_fails_and_the_others_go_on(
    pool_and_broker: tuple[dict[str, str], dict[str, str]], tmp_path: Path
) -> None:
    pool, broker = pool_and_broker
    settings = {"PRETEND_NOW": "2024-07-25T09:00+02:00", "HISTORY_LOAD_DAYS": "7", **NO_QUOTA, "RECONCILE_EVERY_S": "1"}
    killed = tmp_path / "killed"
    with open_system(tmp_path, **settings, **broker) as system:
        system.serve_simulator()
        killing, other = map(system.add_account_by_process, ("42000000000001", "42000000000002"))
        killed.write_text(killing)

        def start_worker() -> None:
            command = [BIN / "celery", "-A", APP, "worker", "-l", "INFO", *QUICK_START, "--concurrency=2"]
            system.start_process("worker", command, {"TEST_KILLED": str(killed), **pool})

        def is_given_up() -> bool:
            for end in system.exits():
                assert (end.name, end.code) == ("worker", -signal.SIGKILL)
                start_worker()
            outcome = system.runtime.registry.outcomes.load(killing).get(Series.DAILY)
            return outcome is not None and outcome.code == "WORKER_LOST"

        start_worker()
        system.start_beat()
        until(is_given_up, "the window that is given up", 240)
        killed.unlink()
        system.wait_loaded(other)
        assert system.content(other) == system.truth("42000000000002").expected_loads()
        outcomes = system.runtime.registry.outcomes

        def is_loaded() -> bool:
            for series in USUAL_SERIES:  # Its next try comes at once.
                outcomes.set_history_due(killing, series, system.runtime.now())
            return all(system.loaded(killing, series) for series in USUAL_SERIES)

        until(is_loaded, "the history that ends no worker any more", 120)
        assert system.content(killing) == system.truth("42000000000001").expected_loads()
