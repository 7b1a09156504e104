"""Health of a running system, asked by commands as an operator and a container platform do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.system import QUICK_START, System, open_system, until
from worker.stores.redis.heartbeats import Heartbeats


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with open_system(tmp_path_factory.mktemp("health"), RECONCILE_EVERY_S="1") as system:
        system.start_simulator()
        yield system


def check_results(system: System, code: int) -> dict[str, dict[str, Any]]:
    return {line["check"]: line for line in system.releve("doctor", "--json", code=code).rows}


def test_before_anything_runs_the_doctor_names_what_is_missing_and_makes_nothing(system: System) -> None:
    results = check_results(system, code=1)
    failed = {name for name, line in results.items() if line["level"] == "fail"}
    assert failed == {"workers", "beat"}
    assert results["supplier"]["told"] == "gives the application a token"
    assert results["clock"]["told"] == "agrees with Redis, the supplier"
    assert "no append-only file" in results["redis"]["told"]
    assert not list((system.folder / "data").glob("*.*")), "neither database nor key"
    health = system.releve("health", "live", "--role", "worker", code=1)
    assert "worker: no heartbeat for 90 s" in health.err
    assert "beat has never sent a message" in system.releve("health", "ready", "--role", "beat", code=1).err


def test_a_house_at_work_is_well_and_its_containers_say_nothing(system: System) -> None:
    system.start_worker(*QUICK_START)
    system.start_beat()
    heartbeats = Heartbeats(system.redis)
    until(heartbeats.workers, "the worker's sign of life")
    until(lambda: heartbeats.beat_and_tick()[0], "beat's sign of life")
    system.send_task("tasks.upkeep.tick")
    until(lambda: heartbeats.beat_and_tick()[1], "what beat sends to be done")
    results = check_results(system, code=0)
    assert not [line for line in results.values() if line["level"] == "fail"]
    assert "of 16 busy" in results["workers"]["told"]
    assert results["beat"]["level"] == "ok"
    for kind, role in (("live", "worker"), ("ready", "worker"), ("live", "beat")):
        result = system.releve("health", kind, "--role", role)
        assert (result.out, result.err) == ("", "")


def test_settings_at_fault_are_told_one_by_one(system: System) -> None:
    result = system.releve("doctor", code=1, NIGHTLY_AT="noon", LOG_LEVEL="LOUD")
    assert result.out.splitlines()[0].startswith("FAIL settings    RELEVE_NIGHTLY_AT: ")
    assert "RELEVE_LOG_LEVEL" in result.out
