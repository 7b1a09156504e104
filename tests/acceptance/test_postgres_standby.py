"""PostgreSQL with a standby: the primary is killed in the middle of a history, and the history is complete."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres_pair import PostgresPair
from tests.support.system import NO_QUOTA, QUICK_HEALING, QUICK_START, System, open_system


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, postgres_pair: PostgresPair) -> Iterator[System]:
    settings = {"PRETEND_NOW": "2024-07-25T09:00+02:00", "HISTORY_LOAD_DAYS": "28"}
    urls = {"REGISTRY_URL": postgres_pair.url, "MEASURES_URL": postgres_pair.url}
    with open_system(tmp_path_factory.mktemp("standby"), **settings, **urls, **NO_QUOTA, **QUICK_HEALING) as system:
        system.releve("migrate")
        system.start_simulator()
        yield system
        system.kill("worker")


def test_a_history_outlives_the_primary_of_postgresql(system: System, postgres_pair: PostgresPair) -> None:
    system.start_beat()
    system.start_worker(*QUICK_START)
    with system.slow_history("43000000000001"):
        postgres_pair.kill_primary()
        postgres_pair.promote_standby()
