"""Everything is lost but a backup and its keys: it comes back elsewhere, and nothing is downloaded a second time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.system import NO_QUOTA, QUICK_START, System, open_system
from worker.domain.account import AccountState
from worker.stores.encryption import generate_key

FIRST, PAUSED = "12345678901299", "20123456789012"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Yield a system of generation v4, where each account has a token of its own that a loss would take away."""
    settings = {
        "PRESET": "enedis-v4",
        "PRETEND_NOW": "2024-07-25T09:00+02:00",
        "TOKEN_KEYS": generate_key(),
        "BACKUP_KEYS": generate_key(),
        **NO_QUOTA,
    }
    with open_system(tmp_path_factory.mktemp("loss"), **settings, ENEDIS_CLIENT_SECRET="of-this-test") as system:
        system.start_simulator()
        yield system


def test_a_restored_house_goes_on_without_asking_for_its_history_again(
    system: System, couchdb_url: str, tmp_path: Path
) -> None:
    system.start_worker(*QUICK_START)
    accounts = [
        system.add_account(meter, "--token-file", str(system.grant_consent(meter))) for meter in (FIRST, PAUSED)
    ]
    for account in accounts:
        system.wait_loaded(account)
    system.releve("accounts", "pause", accounts[1])
    content = {account: system.content(account) for account in accounts}
    file = tmp_path / "backup.zip"
    backup = system.query("backup", str(file))
    system.stop("worker")

    system.redis.flushall()
    system.change_settings(MEASURES_URL=couchdb_url)  # The registry is new too: it lies in the data folder.
    assert system.query_rows("accounts", "list") == []
    refusal = system.releve("restore", str(file), code=1).error_line  # The ledger of erasures is lost as well.
    assert "there is no ledger" in refusal and "--without-ledger" in refusal
    restored = system.query("restore", str(file), "--without-ledger")
    assert (restored["documents"], restored["kept"]) == (backup["documents"], 0)
    assert {account: system.content(account) for account in accounts} == content

    calls = system.report()["by_usage_point"]
    system.start_worker(*QUICK_START)
    system.send_task("tasks.nightly.resume_backfills")
    system.wait_loaded(accounts[0])
    assert system.report()["by_usage_point"] == calls
    before = system.revisions(accounts[0])
    system.run_night(accounts[0])
    assert system.revisions(accounts[0]) == before
    look_backs = 2
    assert system.report()["by_usage_point"] == {**calls, FIRST: calls[FIRST] + look_backs}
    assert system.parts.stores.registry.accounts.get(accounts[1]).state is AccountState.PAUSED
