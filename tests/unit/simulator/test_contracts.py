"""Contract endpoints of the three generations."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response

from simulator.switches import SimulatorOptions
from tests.support.enedis_caller import CALLBACK, HOME, NOW, SimulatorCaller, error_of

PATHS = {
    "v4": "/v3/customers/usage_points/contracts",
    "v5": "/customers_upc/v5/usage_points/contracts",
}
APIS_2026 = ["situation_contrat_auto", "synth_contrat_auto", "comptage_auto"]
CALLS = [("v4", ""), ("v5", ""), *(("2026", api) for api in APIS_2026)]
PRODUCES = "24880057139941"
START = {"day": "2000-01-01", "subscribed_kva": 9, "tariff": "off_peak", "off_peak_hours": "HC (23h00-7h30)"}


def _ask(supplier: SimulatorCaller, generation: str, api: str = "", usage_point: str = HOME) -> Response:
    token = supplier.bearer(generation, usage_point)
    if generation == "2026":
        return supplier.get(f"/{api}/v1/{usage_point}", {}, token)
    return supplier.get(PATHS[generation], {"usage_point_id": usage_point}, token)


def _older(supplier: SimulatorCaller, generation: str, usage_point: str = HOME) -> Any:
    body = _ask(supplier, generation, usage_point=usage_point).json()
    (customer,) = body if generation == "v4" else [body]
    (entry,) = customer["customer"]["usage_points"]
    assert entry["usage_point"] == {"usage_point_id": usage_point, "usage_point_status": "com", "meter_type": "AMM"}
    return entry["contracts"]


@pytest.mark.parametrize("generation", ["v4", "v5"])
def test_the_older_generations_tell_the_contract_in_one_answer(supplier: SimulatorCaller, generation: str) -> None:
    supplier.switch(contract_changes=[START], activated_on="2013-08-14")
    contract = _older(supplier, generation)
    assert contract == {
        "segment": "C5",
        "subscribed_power": "9 kVA",
        "last_activation_date": "2013-08-14+02:00",
        "distribution_tariff": "BTINFMUDT",
        "offpeak_hours": "HC (23h00-7h30)",
        "contract_type": "Contrat GRD-F",
        "contract_status": "SERVC",
        "last_distribution_tariff_change_date": "2013-08-14+02:00",
    }
    supplier.switch(contract_changes=[START, {"day": "2024-01-09", "tariff": "base"}])
    contract = _older(supplier, generation)
    assert contract["last_distribution_tariff_change_date"] == "2024-01-09+01:00"
    assert "offpeak_hours" not in contract


def test_the_newest_tells_the_contract_in_three(supplier: SimulatorCaller) -> None:
    supplier.switch(contract_changes=[START], activated_on="2018-08-31", panels_wp=3_000)
    drawing, feeding_in = _ask(supplier, "2026", "situation_contrat_auto").json()
    assert drawing["subscribed_power"] == {"unit": "kVA", "value": "9"}
    assert (drawing["segment"], drawing["contract_start"]) == ("C5", "2018-08-31T00:00:00+0200")
    assert (feeding_in["segment"], "subscribed_power" in feeding_in) == ("P4", False)
    synthesis = _ask(supplier, "2026", "synth_contrat_auto").json()
    assert synthesis == {
        "segments": [{"segment": "C5"}, {"segment": "P4"}],
        "consumption_last_activation_date": "2018-08-31T00:00:00+0200",
        "generation_last_activation_date": "2018-08-31T00:00:00+0200",
        "last_subscribed_power_change_date": "2018-08-31T00:00:00+0200",
        "services_level": "Communicant (ouvert aux services)",
    }
    assert _ask(supplier, "2026", "comptage_auto").json()["relais"] == {"plageHeuresCreuses": "HC (23h00-7h30)"}


def test_a_meter_of_production_has_a_contract_of_production_alone(supplier: SimulatorCaller) -> None:
    (entry,) = _ask(supplier, "2026", "situation_contrat_auto", PRODUCES).json()
    assert entry["segment"] == "P4"
    assert _older(supplier, "v5", PRODUCES)["segment"] == "P4"


def test_what_is_told_is_the_truth(supplier: SimulatorCaller) -> None:
    truth = supplier.truth("2024-11-04", "2024-11-05", series="contract")["contract"]["2024-11-04"]
    contract = _older(supplier, "v5")
    assert contract["subscribed_power"] == f"{truth['subscribed_kva']} kVA"
    assert contract.get("offpeak_hours") == truth["off_peak_hours"]
    assert contract["last_activation_date"][:10] == truth["activated_on"]


def test_a_change_holds_from_its_day_on(supplier: SimulatorCaller) -> None:
    supplier.switch(contract_changes=[START, {"day": "2024-11-03", "subscribed_kva": 12}])
    truth = supplier.truth("2024-11-01", "2024-11-05", series="contract")["contract"]
    assert [contract["subscribed_kva"] for contract in truth.values()] == [9, 9, 12, 12]
    assert _older(supplier, "v5")["subscribed_power"] == "12 kVA"


@pytest.mark.parametrize(("generation", "api"), CALLS)
def test_consent_refusals_and_tokens_are_as_for_measures(supplier: SimulatorCaller, generation: str, api: str) -> None:
    assert _ask(supplier, generation, api).status_code == 200
    supplier.switch(consent_revoked=True)
    assert error_of(_ask(supplier, generation, api)) == (403, "ADAM-DC-0008")
    supplier.switch(consent_revoked=False, refusal="ADAM-DC-0500")
    assert error_of(_ask(supplier, generation, api)) == (500, "ADAM-DC-0500")
    path = f"/{api}/v1/{HOME}" if api else PATHS[generation]
    assert supplier.get(path, {}, "no-token").status_code == (403 if generation == "v4" else 401)


def test_a_users_token_opens_its_own_contract_alone(supplier: SimulatorCaller) -> None:
    query = {"usage_point_id": "11111111111111"}
    assert error_of(supplier.get(PATHS["v4"], query, supplier.bearer("v4"))) == (403, "ADAM-DC-0008")


@pytest.mark.parametrize("api", APIS_2026)
def test_each_api_of_the_newest_has_a_quota_and_a_subscription_of_its_own(supplier: SimulatorCaller, api: str) -> None:
    supplier.admin("quota", {"per_hour": 1})
    assert [_ask(supplier, "2026", api).status_code for _ in range(2)] == [200, 429]
    supplier.admin("quota", {"per_hour": None})
    supplier.admin("switches", {"unsubscribed_apis": [api]})
    assert error_of(_ask(supplier, "2026", api)) == (403, "900908")
    for other in APIS_2026:
        assert _ask(supplier, "2026", other).status_code == (403 if other == api else 200)


@pytest.mark.parametrize("api", APIS_2026)
def test_the_newest_takes_the_meter_in_the_path_alone(supplier: SimulatorCaller, api: str) -> None:
    token = supplier.bearer("2026")
    for path in (f"/{api}/v1", f"/{api}/v1/", f"/{api}/v1/{HOME}"):
        assert supplier.get(path, {"usage_point_id": HOME}, token).status_code == 500
    assert supplier.get(f"/{api}/v1/123", {}, token).status_code == 500


def test_a_fault_and_the_report_know_the_meter_of_a_path(supplier: SimulatorCaller) -> None:
    supplier.admin("faults", {"path": "comptage_auto", "usage_point": HOME, "kind": "900908"})
    assert error_of(_ask(supplier, "2026", "comptage_auto")) == (403, "900908")
    assert _ask(supplier, "2026", "comptage_auto").status_code == 200
    assert supplier.report()["by_usage_point"][HOME] == 2


def test_a_call_without_a_meter_is_malformed(supplier: SimulatorCaller) -> None:
    assert error_of(supplier.get(PATHS["v5"], {}, supplier.bearer("v5"))) == (400, "Invalid_request")


def test_a_recorded_meter_has_no_contract_that_is_known(tmp_path: Path) -> None:
    (tmp_path / f"{HOME}.daily.csv").write_text("date,wh\n2024-10-31,7000\n")
    recorded = SimulatorCaller(SimulatorOptions(data_dir=tmp_path, pretend_now=NOW, redirect_uri=CALLBACK))
    assert error_of(_ask(recorded, "v5")) == (404, "no_data_found")
    assert error_of(recorded.request_measures(series="registers", generation="2026")) == (404, "404")
    assert error_of(recorded.request_measures(series="peaks")) == (404, "no_data_found")


def test_what_is_personal_in_the_answer_is_invented(supplier: SimulatorCaller) -> None:
    text = json.dumps(_ask(supplier, "2026", "situation_contrat_auto").json())
    assert all(name in text for name in ("lastname", "adress", "email", "phone"))
    assert re.findall(r"[\w.-]+@[\w.-]+", text) == ["camille.dupont-essai@example.org"]


@pytest.mark.parametrize(
    "change",
    [
        {"day": "2024-01-01", "tariff": "ejp"},
        {"day": "2024-01-01", "subscribed_kva": 40},
        {"day": "2024-01-01", "off_peak_hours": "at night"},
        {"tariff": "base"},
    ],
)
def test_a_change_that_is_none_is_refused(supplier: SimulatorCaller, change: dict[str, Any]) -> None:
    assert supplier.http.post(f"/__sim__/meters/{HOME}", json={"contract_changes": [change]}).status_code == 400
    assert supplier.http.post(f"/__sim__/meters/{HOME}", json={"panels_wp": 50}).status_code == 400
