"""One account on two generations of the supplier's interface: tokens of the holder first, then of the application."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.support.system import NO_QUOTA, QUICK_START, System, open_system

METER = "50000000000001"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Yield a system of generation v4, with the simulator's clock at the pretended time."""
    settings = {"PRESET": "enedis-v4", "PRETEND_NOW": "2024-07-25T09:00+02:00", "ENEDIS_CLIENT_SECRET": "s"}
    with open_system(tmp_path_factory.mktemp("generations"), **settings, **NO_QUOTA) as system:
        system.start_simulator()
        yield system


def test_an_account_moves_from_v4_to_2026_and_nothing_is_doubled(system: System) -> None:
    system.start_worker(*QUICK_START)
    account = system.add_account(METER, "--token-file", str(system.grant_consent(METER)))
    system.wait_loaded(account)
    assert system.content(account) == system.truth(METER).expected_loads()
    before = system.revisions(account)
    assert system.report()["tokens"] == {"authorization_code": 1, "refresh_token": 1}
    system.stop("worker")
    system.settings |= {"PRESET": "enedis-2026", "HISTORY_LOAD_DAYS": "42"}
    del system.parts
    system.start_worker(*QUICK_START)
    system.releve("sync", "--history", account)
    system.wait_loaded(account)
    system.run_night(account)
    assert system.content(account) == system.truth(METER).expected_loads()
    after = system.revisions(account)
    assert {key: after[key] for key in before} == before
    added_days = [key.partition(":")[2][:10] for key in after.keys() - before.keys()]
    oldest = system.parts.sync.history.today() - timedelta(days=28)
    assert len(added_days) == 14 * (48 + 24)
    assert max(added_days) < oldest.isoformat()
    assert set(system.report()["tokens"]) == {"authorization_code", "refresh_token", "client_credentials"}
