"""The supplier answers nobody: it is seen, nobody is penalised, and afterwards everything is fetched by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.system import NO_QUOTA, QUICKLY, House, open_house, until
from worker.domain.fleet.incidents import IncidentKind
from worker.domain.measures.readings import Series

MEASURES = "mesure_synchrone_auto"
METERS = [f"3000000000{number:04}" for number in range(1, 8)]
QUICK = {"INCIDENT_PROBE_S": "1", "RECONCILE_EVERY_S": "1", "HISTORY_LOAD_DAYS": "7"}


@pytest.fixture
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = {"PRETEND_NOW": "2023-10-30T09:00+01:00", "ENEDIS_CLIENT_SECRET": "s", **NO_QUOTA, **QUICK}
    with open_house(tmp_path_factory.mktemp("incidents"), **settings) as house:
        house.start_simulator()
        house.start_worker(*QUICKLY)
        house.start_beat()
        yield house


def test_a_supplier_that_fails_for_all_is_an_incident_and_after_it_nothing_is_missing(house: House) -> None:
    house.simulator("POST", "faults", {"path": MEASURES, "status": 500, "body": "<html>down</html>", "count": None})
    accounts = [house.add(meter) for meter in METERS]
    incidents = house.inside.incidents
    until(incidents.current, "the incident")
    assert {each.kind for each in incidents.current()} == {IncidentKind.OUTAGE}
    until(lambda: any(each.rounds for each in incidents.current()), "the first canary")

    house.simulator("DELETE", "faults")
    for account in accounts:
        house.wait_loaded(account)
    for which in (0, -1):  # the first to fail, and the last, which may never have been asked
        assert house.content(accounts[which]) == house.truth(METERS[which]).content()
    until(lambda: not incidents.current(), "the end of the incident")

    states = house.inside.registry
    assert all(states.get(account).active for account in accounts)
    until(lambda: all(_codes(house, account) == {None} for account in accounts), "a success of each series")
    assert _attempts(house, accounts) == {0}
    over = incidents.past()
    assert {(each.kind, each.how) for each in over} == {(IncidentKind.OUTAGE, "probes")}
    assert max(each.accounts for each in over) >= 5
    assert 5 <= sum(each.failed_calls for each in over) <= house.report()["data_calls"]
    shown = house.ask("incidents")
    assert [(each["kind"], each["open"], each["how"]) for each in shown] == [("outage", False, "probes")] * len(over)
    assert "incident open" in house.logs() and "incident over" in house.logs()


def _codes(house: House, account: str) -> set[str | None]:
    outcomes = house.inside.registry.outcomes(account)
    return {outcomes[series].code if series in outcomes else "none yet" for series in Series}


def _attempts(house: House, accounts: list[str]) -> set[int]:
    keys = [key for account in accounts for key in house.redis.scan_iter(f"releve:attempts:{account}:*")]
    return {int(house.redis.get(key) or 0) for key in keys} | {0}
