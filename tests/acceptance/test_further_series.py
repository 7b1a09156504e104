"""Further series of one account, by a real worker: switched on they come, and the account beside it has none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.system import NO_QUOTA, QUICK_HEALING, QUICK_START, System, open_system
from tests.support.waiting import until
from worker.domain.series import USUAL_SERIES, Series

METER, OTHER = "12345678901299", "20123456789012"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with open_system(tmp_path_factory.mktemp("further"), **QUICK_HEALING, **NO_QUOTA) as system:
        system.start_simulator()
        system.start_worker(*QUICK_START)
        system.start_beat()
        yield system


def test_two_series_that_are_switched_on_come_with_their_history(system: System) -> None:
    account, other = system.add_account(METER), system.add_account(OTHER)
    for home in (account, other):
        system.wait_loaded(home)
    chosen = system.query("accounts", "series", account, "--on", "max_power", "--on", "contract")
    assert chosen["series"]["max_power"]["switch"] == "on"
    further = (Series.MAX_POWER, Series.CONTRACT)
    until(lambda: all(system.loaded(account, series) for series in further), "the further series")
    status = system.query("status", account)
    assert {name: row["error"] for name, row in status["series"].items()} == dict.fromkeys(
        [series.value for series in (*USUAL_SERIES, *further)]
    )
    powers = system.documents(account, Series.MAX_POWER.inputs)
    assert len(powers) > 1000 and all(document["at"] for document in powers[-30:])
    [contract] = system.documents(account, Series.CONTRACT.inputs)
    assert contract["load"] > 0 and contract["tariff"]
    assert system.parts.stores.registry.accounts.get(account).activated_on is not None
    assert system.documents(other, Series.MAX_POWER.inputs) == []
    assert system.parts.stores.registry.outcomes.collected(other) == list(USUAL_SERIES)


def test_a_series_that_the_meter_does_not_have_ends_and_the_account_goes_on(system: System) -> None:
    account = system.add_account("30123456789013")
    system.wait_loaded(account)
    assert system.releve("accounts", "series", account, "--on", "production_daily").code == 0
    outcomes = system.parts.stores.registry.outcomes
    until(lambda: Series.PRODUCTION_DAILY not in outcomes.collected(account), "the end of the series")
    row = system.query("status", account)
    assert (row["state"], list(row["series"])) == ("ready", list(USUAL_SERIES))
