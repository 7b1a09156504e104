"""Everything is lost but a backup: it comes back on other servers, and nothing is downloaded a second time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.system import NO_QUOTA, QUICKLY, House, open_house
from worker.domain.consent.accounts import AccountState
from worker.stores.encryption import new_key

FIRST, PAUSED = "12345678901299", "20123456789012"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """It speaks v4, where each account has a token of its own that a loss would take away."""
    settings = {"PRESET": "enedis-v4", "PRETEND_NOW": "2024-07-25T09:00+02:00", "TOKEN_KEYS": new_key(), **NO_QUOTA}
    with open_house(tmp_path_factory.mktemp("loss"), **settings, ENEDIS_CLIENT_SECRET="of-this-test") as house:
        house.start_simulator()
        yield house


def test_a_restored_house_goes_on_without_asking_for_its_history_again(
    house: House, couchdb_url: str, tmp_path: Path
) -> None:
    house.start_worker(*QUICKLY)
    accounts = [house.add(meter, "--token-file", str(house.consent(meter))) for meter in (FIRST, PAUSED)]
    for account in accounts:
        house.wait_loaded(account)
    house.releve("accounts", "pause", accounts[1])
    content = {account: house.content(account) for account in accounts}
    file = tmp_path / "backup.zip"
    saved = house.ask("backup", str(file))
    house.stop("worker")

    house.redis.flushall()
    house.move(MEASURES_URL=couchdb_url)  # and a registry of its own: the data folder is another
    assert house.ask("accounts", "list") == []
    brought_back = house.ask("restore", str(file))
    assert (brought_back["documents"], brought_back["kept"]) == (saved["documents"], 0)
    assert {account: house.content(account) for account in accounts} == content

    asked = house.report()["by_usage_point"]
    house.start_worker(*QUICKLY)
    house.send("tasks.schedule.resume_backfills")
    house.wait_loaded(accounts[0])
    assert house.report()["by_usage_point"] == asked
    before = house.revisions(accounts[0])
    house.night(accounts[0])
    assert house.revisions(accounts[0]) == before
    look_backs = 2
    assert house.report()["by_usage_point"] == {**asked, FIRST: asked[FIRST] + look_backs}
    assert house.inside.registry.get(accounts[1]).state is AccountState.PAUSED
