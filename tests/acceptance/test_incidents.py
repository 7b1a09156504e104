"""An outage of the supplier is an incident: no account is penalised, and everything is fetched after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.system import NO_QUOTA, QUICK_START, System, open_system, until
from worker.domain.incident import IncidentKind
from worker.domain.series import USUAL_SERIES

MEASURES = "mesure_synchrone_auto"
METERS = [f"3000000000{number:04}" for number in range(1, 8)]
QUICK = {"INCIDENT_PROBE_S": "1", "RECONCILE_EVERY_S": "1", "HISTORY_LOAD_DAYS": "7"}


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    settings = {"PRETEND_NOW": "2023-10-30T09:00+01:00", "ENEDIS_CLIENT_SECRET": "s", **NO_QUOTA, **QUICK}
    with open_system(tmp_path_factory.mktemp("incidents"), **settings) as system:
        system.start_simulator()
        system.start_worker(*QUICK_START)
        system.start_beat()
        yield system


def test_a_supplier_that_fails_for_all_is_an_incident_and_after_it_nothing_is_missing(system: System) -> None:
    system.simulator("POST", "faults", {"path": MEASURES, "status": 500, "body": "<html>down</html>", "count": None})
    accounts = [system.add_account(meter) for meter in METERS]
    incidents = system.parts.sync.incidents
    until(incidents.list_open, "the incident")
    assert {incident.kind for incident in incidents.list_open()} == {IncidentKind.OUTAGE}
    until(lambda: any(incident.rounds for incident in incidents.list_open()), "the first canary")

    system.simulator("DELETE", "faults")
    for account in accounts:
        system.wait_loaded(account)
    for index in (0, -1):  # The first to fail, and the last, which may never have been asked.
        assert system.content(accounts[index]) == system.truth(METERS[index]).expected_loads()
    until(lambda: not incidents.list_open(), "the end of the incident")

    registry = system.parts.stores.registry
    assert all(registry.accounts.get(account).active for account in accounts)
    until(lambda: all(error_codes(system, account) == {None} for account in accounts), "a success of each series")
    past = incidents.store.closed_incidents()
    assert {(incident.kind, incident.how) for incident in past} == {(IncidentKind.OUTAGE, "probes")}
    assert max(incident.accounts for incident in past) >= 5
    assert 5 <= sum(incident.failed_calls for incident in past) <= system.report()["data_calls"]
    rows = system.query_rows("incidents")
    assert [(incident["kind"], incident["open"], incident["how"]) for incident in rows] == [
        ("outage", False, "probes")
    ] * len(past)
    assert "incident open" in system.logs() and "incident over" in system.logs()


def error_codes(system: System, account: str) -> set[str | None]:
    outcomes = system.parts.stores.registry.outcomes.load(account)
    return {outcomes[series].code if series in outcomes else "none yet" for series in USUAL_SERIES}
