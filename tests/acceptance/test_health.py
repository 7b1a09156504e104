"""A running house, asked for its health by commands, as an operator and a container platform do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.system import QUICKLY, House, open_house, until
from worker.stores.redis.heartbeats import Heartbeats


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("health"), RECONCILE_EVERY_S="1") as house:
        house.start_simulator()
        yield house


def lines(house: House, code: int) -> dict[str, dict[str, Any]]:
    return {found["check"]: found for found in json.loads(house.releve("doctor", "--json", code=code).stdout)}


def test_before_anything_runs_the_doctor_names_what_is_missing_and_makes_nothing(house: House) -> None:
    found = lines(house, code=1)
    failed = {name for name, line in found.items() if line["level"] == "fail"}
    assert failed == {"workers", "beat"}
    assert found["supplier"]["told"] == "gives the application a token"
    assert found["clock"]["told"] == "agrees with Redis, the supplier"
    assert "no append-only file" in found["redis"]["told"]
    assert not list((house.folder / "data").glob("*.*")), "neither database nor key"
    told = house.releve("health", "live", "--role", "worker", code=1)
    assert "worker: no sign of life for 90 s" in told.stderr
    assert "beat has sent nothing" in house.releve("health", "ready", "--role", "beat", code=1).stderr


def test_a_house_at_work_is_well_and_its_containers_say_nothing(house: House) -> None:
    house.start_worker(*QUICKLY)
    house.start_beat()
    pulse = Heartbeats(house.redis)
    until(pulse.workers, "the worker's sign of life")
    until(lambda: pulse.beat_and_tick()[0], "beat's sign of life")
    house.send("tasks.upkeep.tick")
    until(lambda: pulse.beat_and_tick()[1], "what beat sends to be done")
    found = lines(house, code=0)
    assert not [line for line in found.values() if line["level"] == "fail"]
    assert "of 16 busy" in found["workers"]["told"]
    assert found["beat"]["level"] == "ok"
    for word, role in (("live", "worker"), ("ready", "worker"), ("live", "beat")):
        done = house.releve("health", word, "--role", role)
        assert (done.stdout, done.stderr) == ("", "")


def test_a_goodbye_is_heard(house: House) -> None:
    if not house.runs("worker"):
        house.start_worker(*QUICKLY)
        until(Heartbeats(house.redis).workers, "the worker's sign of life")
    house.stop("worker")
    assert Heartbeats(house.redis).workers() == []
    assert "no worker has been heard of" in lines(house, code=1)["workers"]["told"]


def test_settings_at_fault_are_told_one_by_one(house: House) -> None:
    done = house.releve("doctor", code=1, NIGHTLY_AT="noon", LOG_LEVEL="LOUD")
    assert done.stdout.splitlines()[0].startswith("FAIL settings    RELEVE_NIGHTLY_AT: ")
    assert "RELEVE_LOG_LEVEL" in done.stdout
