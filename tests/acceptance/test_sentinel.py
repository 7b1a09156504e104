"""Redis behind Sentinels, on real ones: its leader dies in the middle of a history, and the history is whole."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.redis_servers import PASSWORD, Watched
from tests.support.system import NO_QUOTA, QUICK_HEALING, QUICKLY, House, open_house, until
from worker.domain.measures.readings import Series


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, watched_redis: Watched) -> Iterator[House]:
    settings = {"PRETEND_NOW": "2024-07-25T09:00+02:00", "HISTORY_LOAD_DAYS": "28", "REDIS_URL": watched_redis.url}
    with open_house(tmp_path_factory.mktemp("sentinel"), **settings, **NO_QUOTA, **QUICK_HEALING) as house:
        house.start_simulator()
        yield house
        house.kill("worker")


def test_a_history_outlives_the_leader_of_redis(house: House, watched_redis: Watched) -> None:
    meter = "42000000000001"
    house.simulator("POST", "faults", {"path": "mesure_synchrone_auto", "delay_s": 0.4, "count": None})
    house.start_beat()
    house.start_worker(*QUICKLY)
    until(lambda: "Sending due task" in house.logs(), "beat's first message")
    added = house.releve("accounts", "add", "--usage-point", meter, "--json")  # a process of its own knows this broker
    account = json.loads(added.stdout)["account"]
    until(lambda: house.inside.history.days(account, Series.DAILY)[0] >= 365, "the first window")
    assert not house.loaded(account, Series.LOAD_CURVE)
    watched_redis.kill_leader()
    until(lambda: watched_redis.promoted, "the promotion of the replica")
    house.simulator("DELETE", "faults")
    house.wait_loaded(account)
    assert house.content(account) == house.truth(meter).content()
    assert PASSWORD not in house.logs()
