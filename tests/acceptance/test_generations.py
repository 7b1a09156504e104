"""One account on two generations of the supplier's interface: tokens of the holder first, then of the application."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.system import METER_NUMBER, NO_QUOTA, QUICK_START, System, open_system, until
from worker.domain.measures.readings import Period

METER = "50000000000001"
SECRET = "canary-of-a-secret"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Yield a system of generation v4, with the simulator's clock at the pretended time."""
    settings = {"PRESET": "enedis-v4", "PRETEND_NOW": "2024-07-25T09:00+02:00", "ENEDIS_CLIENT_SECRET": SECRET}
    with open_system(tmp_path_factory.mktemp("generations"), **settings, **NO_QUOTA) as system:
        system.start_simulator()
        yield system


def test_an_account_moves_from_v4_to_2026_and_nothing_is_doubled(system: System) -> None:
    token_file = system.grant_consent(METER)
    tokens = json.loads(token_file.read_text())
    system.start_worker(*QUICK_START)
    account = system.add_account(METER, "--token-file", str(token_file))
    system.wait_loaded(account)
    assert system.content(account) == system.truth(METER).expected_loads()
    before = system.revisions(account)
    assert system.report()["tokens"] == {"authorization_code": 1, "refresh_token": 1}
    system.stop("worker")
    # Tokens that were renewed on the way are sealed in the registry, and nowhere else.
    for secret in (tokens["access_token"], tokens["refresh_token"], SECRET):
        assert secret not in system.logs()
        assert not any(secret in message for message in system.messages())

    system.settings |= {"PRESET": "enedis-2026", "HISTORY_LOAD_DAYS": "42"}
    del system.runtime
    system.start_worker(*QUICK_START)
    assert system.add_account(METER) == account
    system.wait_loaded(account)
    system.run_night(account)
    assert system.content(account) == system.truth(METER).expected_loads()
    after = system.revisions(account)
    assert {key: after[key] for key in before} == before
    added_days = [key.partition(":")[2][:10] for key in after.keys() - before.keys()]
    oldest = system.runtime.claims.today() - timedelta(days=28)
    assert len(added_days) == 14 * (48 + 24)
    assert max(added_days) < oldest.isoformat()
    assert set(system.report()["tokens"]) == {"authorization_code", "refresh_token", "client_credentials"}


def test_a_refresh_token_that_was_used_elsewhere_asks_for_the_holder(system: System) -> None:
    """Tokens of v4 end with the consent; no other account is touched, and a new consent repairs it."""
    meter = "50000000000002"
    system.stop("worker")  # It would load the new account's history before its tokens are revoked.
    system.settings["PRESET"] = "enedis-v4"
    account = system.add_account(meter, "--token-file", str(system.grant_consent(meter)))
    system.simulator("DELETE", "tokens?refresh=1")
    system.start_worker(*QUICK_START)
    until(lambda: not system.runtime.registry.get(account).active, "the end of its runs")
    (row,) = [row for row in system.query("status") if row["account"] == account]
    assert (row["state"], row["reason"]) == ("action_needed", "USER_ACTION_NEEDED.OAUTH_OUTDATED")
    assert system.add_account(meter, "--token-file", str(system.grant_consent(meter))) == account
    system.wait_loaded(account)
    assert len(system.content(account)[Period.DAY]) == 1095


def test_no_log_holds_a_token_a_secret_or_a_meter_number(system: System) -> None:
    logs = system.logs()
    assert "canary" not in logs
    assert not METER_NUMBER.search(logs)
    for file in sorted(Path(system.folder).glob("token-*.json")):
        for name in ("access_token", "refresh_token"):
            assert json.loads(file.read_text())[name] not in logs
