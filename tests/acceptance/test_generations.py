"""One account, two generations of the supplier: tokens of the holder first, of the application then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.system import METER_NUMBER, NO_QUOTA, QUICKLY, House, open_house, until
from worker.domain.measures.readings import Period

METER = "50000000000001"
SECRET = "canary-of-a-secret"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The simulator's clock is the pretended one; with v4 first."""
    settings = {"PRESET": "enedis-v4", "PRETEND_NOW": "2024-07-25T09:00+02:00", "ENEDIS_CLIENT_SECRET": SECRET}
    with open_house(tmp_path_factory.mktemp("generations"), **settings, **NO_QUOTA) as house:
        house.start_simulator()
        yield house


def test_an_account_moves_from_v4_to_2026_and_nothing_is_doubled(house: House) -> None:
    token_file = house.consent(METER)
    tokens = json.loads(token_file.read_text())
    house.start_worker(*QUICKLY)
    account = house.add(METER, "--token-file", str(token_file))
    house.wait_loaded(account)
    assert house.content(account) == house.truth(METER).content()
    before = house.revisions(account)
    assert house.report()["tokens"] == {"authorization_code": 1, "refresh_token": 1}
    house.stop("worker")
    # what was renewed on the way lives sealed in the registry, and nowhere else
    for secret in (tokens["access_token"], tokens["refresh_token"], SECRET):
        assert secret not in house.logs()
        assert not any(secret in message for message in house.messages())

    house.settings |= {"PRESET": "enedis-2026", "HISTORY_LOAD_DAYS": "42"}
    del house.inside
    house.start_worker(*QUICKLY)
    assert house.add(METER) == account
    house.wait_loaded(account)
    house.night(account)
    assert house.content(account) == house.truth(METER).content()
    after = house.revisions(account)
    assert {key: after[key] for key in before} == before
    added = [key.partition(":")[2][:10] for key in after.keys() - before.keys()]
    oldest = house.inside.dispatcher.today() - timedelta(days=28)
    assert len(added) == 14 * (48 + 24)
    assert max(added) < oldest.isoformat()
    assert set(house.report()["tokens"]) == {"authorization_code", "refresh_token", "client_credentials"}


def test_a_refresh_token_that_was_used_elsewhere_asks_for_the_holder(house: House) -> None:
    """v4's tokens end with the consent; nobody else is touched, and consenting again mends it."""
    meter = "50000000000002"
    house.stop("worker")  # or it would take the new account's history before its tokens are dead
    house.settings["PRESET"] = "enedis-v4"
    account = house.add(meter, "--token-file", str(house.consent(meter)))
    house.simulator("DELETE", "tokens?refresh=1")
    house.start_worker(*QUICKLY)
    until(lambda: not house.inside.registry.get(account).active, "the end of its runs")
    (row,) = [row for row in house.ask("status") if row["account"] == account]
    assert (row["state"], row["reason"]) == ("action_needed", "USER_ACTION_NEEDED.OAUTH_OUTDATED")
    assert house.add(meter, "--token-file", str(house.consent(meter))) == account
    house.wait_loaded(account)
    assert len(house.content(account)[Period.DAY]) == 1095


def test_no_log_holds_a_token_a_secret_or_a_meter_number(house: House) -> None:
    logs = house.logs()
    assert "canary" not in logs
    assert not METER_NUMBER.search(logs)
    for file in sorted(Path(house.folder).glob("token-*.json")):
        for name in ("access_token", "refresh_token"):
            assert json.loads(file.read_text())[name] not in logs
