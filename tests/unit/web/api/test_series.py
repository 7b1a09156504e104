"""GET and PATCH /api/accounts/{id}/series."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from tests.support.api_service import ApiService
from worker.domain.series import USUAL_SERIES, Series, SeriesSwitch, of_supplier
from worker.runtime.consent_parts import build_series_chooser


@pytest.fixture
def client(service: ApiService) -> TestClient:
    return service.client()


def collected(service: ApiService, account_id: str) -> list[Series]:
    return service.parts.stores.registry.outcomes.collected(account_id)


def test_all_series_are_shown_with_their_switches(service: ApiService, client: TestClient) -> None:
    account_id = service.add()
    shown = client.get(f"/api/accounts/{account_id}/series").json()
    assert shown["account"] == account_id
    assert list(shown["series"]) == of_supplier("enedis")
    assert [name for name, state in shown["series"].items() if state["collected"]] == of_supplier(
        "enedis", USUAL_SERIES
    )


def test_a_switch_is_set_and_the_others_stay(service: ApiService, client: TestClient) -> None:
    account_id = service.add()
    answer = client.patch(f"/api/accounts/{account_id}/series", json={"series": {"max_power": "on", "daily": "off"}})
    assert answer.status_code == 200
    states = answer.json()["series"]
    assert (states["max_power"], states["daily"], states["registers"]) == ("on", "off", "fleet")
    assert collected(service, account_id) == [Series.LOAD_CURVE, Series.MAX_POWER]
    client.patch(f"/api/accounts/{account_id}/series", json={"series": {"daily": "fleet"}})
    assert collected(service, account_id) == [*of_supplier("enedis", USUAL_SERIES), Series.MAX_POWER]


@pytest.mark.parametrize(
    "body",
    [{}, {"series": {}}, {"series": {"gas": "on"}}, {"series": {"daily": "ended"}}, {"series": ["daily"]}, {"on": 1}],
)
def test_a_body_that_names_no_switch_is_refused(service: ApiService, client: TestClient, body: object) -> None:
    account_id = service.add()
    answer = client.patch(f"/api/accounts/{account_id}/series", json=body)
    assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")
    assert collected(service, account_id) == of_supplier("enedis", USUAL_SERIES)


def test_a_series_that_the_supplier_does_not_have_is_a_409(
    service: ApiService, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = service.add()
    chooser = build_series_chooser(service.parts.stores)
    without = type(chooser)(outcomes=chooser.outcomes, is_offered=_no, now=chooser.now)
    monkeypatch.setattr("worker.web.dependencies.build_series_chooser", lambda stores: without)
    answer = client.patch(f"/api/accounts/{account_id}/series", json={"series": {"registers": "on"}})
    assert (answer.status_code, answer.json()["error"]) == (409, "not_offered")
    assert collected(service, account_id) == of_supplier("enedis", USUAL_SERIES)


def test_an_ended_series_is_shown_as_such_and_opened_again(service: ApiService, client: TestClient) -> None:
    account_id = service.add()
    outcomes, path = service.parts.stores.registry.outcomes, f"/api/accounts/{account_id}/series"
    client.patch(path, json={"series": {"max_power": "on"}})
    outcomes.end(account_id, Series.MAX_POWER, "run-1", "no such series", service.parts.stores.now())
    state = client.get(path).json()["series"]["max_power"]
    assert (state["switch"], state["collected"], state["error"]) == (SeriesSwitch.ENDED, False, "series_not_offered")
    assert "max_power" not in client.get(f"/api/accounts/{account_id}/status").json()["series"]
    assert client.patch(path, json={"series": {"max_power": "on"}}).json()["series"]["max_power"] == "on"
    state = client.get(path).json()["series"]["max_power"]
    assert (state["switch"], state["collected"], state["error"]) == ("on", True, None)


def _no(series: Series) -> bool:
    return False
