"""Production, maximum power and registers: paths, bodies and refusals of each generation."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.support.enedis_caller import HOME, PATHS, PEAK_PARAMETERS, SimulatorCaller, error_of, points
from worker.domain.windows import ONE_DAY

GENERATIONS = ["v4", "v5", "2026"]
PRODUCES = "24880057139941"  # A customer of the sandbox, who only feeds in.
DAYS = ["2024-11-01", "2024-11-02", "2024-11-03", "2024-11-04"]
WRONG_DIRECTION = (400, "ADAM-ERR0069")


@pytest.mark.parametrize("generation", GENERATIONS)
def test_production_is_answered_as_consumption_is(supplier: SimulatorCaller, generation: str) -> None:
    supplier.switch(panels_wp=4_500)
    truth = supplier.truth("2024-10-26", "2024-10-29", series="production_daily,production_load_curve")
    daily = points(supplier.request_measures("2024-10-26", "2024-10-29", "production", generation))
    assert {day: int(wh) for day, wh in daily} == truth["production_daily"]
    curve = points(supplier.request_measures("2024-10-26", "2024-10-29", "production_curve", generation))
    assert [float(watts) for _, watts in curve] == [watts for _, _, watts in truth["production_load_curve"]]
    assert len(curve) == 48 + 50 + 48  # The 27th has the hour that comes twice.
    assert sum(int(watts) for _, watts in curve) == 2 * sum(truth["production_daily"].values())


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("series", ["production", "production_curve", "production_registers"])
def test_a_home_without_panels_has_another_direction(supplier: SimulatorCaller, generation: str, series: str) -> None:
    if (generation, series) in PATHS:
        assert error_of(supplier.request_measures(series=series, generation=generation)) == WRONG_DIRECTION


@pytest.mark.parametrize("generation", GENERATIONS)
@pytest.mark.parametrize("series", ["daily", "curve", "peaks", "registers"])
def test_a_meter_of_production_has_no_consumption(supplier: SimulatorCaller, generation: str, series: str) -> None:
    if (generation, series) in PATHS:
        answer = supplier.request_measures(series=series, generation=generation, usage_point=PRODUCES)
        assert error_of(answer) == WRONG_DIRECTION


def test_the_newest_says_production_in_its_body(supplier: SimulatorCaller) -> None:
    supplier.switch(panels_wp=4_500)
    body = supplier.request_measures(series="production_curve", generation="2026").json()
    (quantity,) = body["grandeur"]
    assert (quantity["grandeurMetier"], quantity["grandeurPhysique"], quantity["unite"]) == ("PROD", "PA", "W")


def test_a_curve_of_production_has_the_limits_of_a_curve(supplier: SimulatorCaller) -> None:
    supplier.switch(panels_wp=4_500)
    assert error_of(supplier.request_measures("2024-10-01", "2024-10-09", "production_curve"))[1] == "ADAM-ERR0126"
    assert error_of(supplier.request_measures("2022-10-20", "2022-10-21", "production_curve"))[1] == "ADAM-ERR0125"
    supplier.switch(curve_enabled=False)
    assert error_of(supplier.request_measures(series="production_curve")) == (404, "no_data_found")
    assert supplier.request_measures(series="production").status_code == 200


@pytest.mark.parametrize("generation", GENERATIONS)
def test_highest_powers_are_the_truth(supplier: SimulatorCaller, generation: str) -> None:
    answer = supplier.request_measures(DAYS[0], "2024-11-05", "peaks", generation)
    truth = supplier.truth(DAYS[0], "2024-11-05", series="max_power")["max_power"]
    expected = [(f"{datetime.fromisoformat(peak['at']):%Y-%m-%d %H:%M:%S}", str(peak["va"])) for peak in truth.values()]
    assert points(answer) == expected
    assert [label[:10] for label, _ in expected] == list(truth) == DAYS
    body = answer.json()
    if generation == "2026":
        assert (body["modeCalcul"], body["pas"]) == ("MESURE", "P1D")
        (quantity,) = body["grandeur"]
        assert (quantity["grandeurMetier"], quantity["grandeurPhysique"], quantity["unite"]) == ("CONS", "PMA", "VA")
    else:
        assert body["meter_reading"]["reading_type"] == {
            "unit": "VA",
            "measurement_kind": "power",
            "aggregate": "maximum",
            "measuring_period": "P1D",
        }


def test_the_highest_power_of_a_month_is_that_of_its_days(supplier: SimulatorCaller) -> None:
    query = {"pointId": HOME, "dateDebut": "2024-10-20", "dateFin": "2024-11-05"} | PEAK_PARAMETERS
    path, token = PATHS["2026", "peaks"], supplier.bearer("2026")
    days = points(supplier.get(path, query, token))
    months = points(supplier.get(path, query | {"mesuresPas": "P1M", "grandeurPhysique": "TOUT"}, token))
    for month, (label, value) in zip(("2024-10", "2024-11"), months, strict=True):
        assert label.startswith(month)
        assert int(value) == max(int(va) for day, va in days if day.startswith(month))


@pytest.mark.parametrize(
    "change", [{"mesuresPas": None}, {"grandeurPhysique": None}, {"mesuresPas": "PT30M"}, {"grandeurPhysique": "PA"}]
)
def test_the_newest_refuses_highest_powers_without_its_two_parameters(
    supplier: SimulatorCaller, change: dict[str, str | None]
) -> None:
    query = {"pointId": HOME, "dateDebut": DAYS[0], "dateFin": DAYS[1]} | PEAK_PARAMETERS | change
    parameters = {name: value for name, value in query.items() if value is not None}
    assert supplier.get(PATHS["2026", "peaks"], parameters, supplier.bearer("2026")).status_code == 500


def test_the_other_series_refuse_those_parameters(supplier: SimulatorCaller) -> None:
    query = {"pointId": HOME, "dateDebut": DAYS[0], "dateFin": DAYS[1]} | PEAK_PARAMETERS
    assert supplier.get(PATHS["2026", "daily"], query, supplier.bearer("2026")).status_code == 500


def test_registers_are_stamped_with_the_midnight_that_begins_the_day(supplier: SimulatorCaller) -> None:
    supplier.switch(contract_changes=[{"day": "2000-01-01", "tariff": "tempo"}])
    body = supplier.request_measures(DAYS[0], "2024-11-05", "registers", "2026").json()
    truth = supplier.truth(DAYS[0], "2024-11-05", series="registers")["registers"]
    assert (body["idPrm"], body["grandeur"]) == (HOME, [])
    (context,) = body["contexte"]
    assert (context["etapeMetier"], context["contexteReleve"], context["typeReleve"]) == ("BRUT", "COL", "AQ")
    (quantity,) = context["grandeur"]
    assert (quantity["grandeurMetier"], quantity["unite"], quantity["points"]) == ("CONS", "Wh", [])
    supplier_calendar, distributor_calendar = quantity["calendrier"]
    assert supplier_calendar["libelleCalendrier"] == "6 cadrans"
    assert _by_day(supplier_calendar) == {f"{day} 00:00:00": truth[day]["registers"] for day in DAYS}
    totals = {f"{day} 00:00:00": truth[day]["total"] for day in DAYS}
    assert {value["d"]: value["v"] for value in quantity["cadranTotalisateur"]["valeur"]} == totals
    assert {label: values["BASE"] for label, values in _by_day(distributor_calendar).items()} == totals


def _by_day(of_calendar: dict[str, Any]) -> dict[str, dict[str, int]]:
    days: dict[str, dict[str, int]] = {}
    for register in of_calendar["classeTemporelle"]:
        for value in register["valeur"]:
            assert isinstance(value["v"], int)
            days.setdefault(value["d"], {})[register["idClasseTemporelle"]] = value["v"]
    return days


def test_a_calendar_that_changes_inside_of_a_window_is_answered_beside_the_new_one(supplier: SimulatorCaller) -> None:
    changes = [{"day": "2000-01-01", "tariff": "base"}, {"day": DAYS[2], "tariff": "off_peak"}]
    supplier.switch(contract_changes=changes)
    body = supplier.request_measures(DAYS[0], "2024-11-05", "registers", "2026").json()
    old, new, _ = body["contexte"][0]["grandeur"][0]["calendrier"]
    assert [label[:10] for label in _by_day(old)] == DAYS[:2]
    assert [label[:10] for label in _by_day(new)] == DAYS[2:]


def test_production_registers_have_a_total_alone(supplier: SimulatorCaller) -> None:
    supplier.switch(panels_wp=4_500)
    body = supplier.request_measures(DAYS[0], "2024-11-05", "production_registers", "2026").json()
    (quantity,) = body["contexte"][0]["grandeur"]
    assert (quantity["grandeurMetier"], quantity["calendrier"]) == ("PROD", [])
    values = [value["v"] for value in quantity["cadranTotalisateur"]["valeur"]]
    truth = supplier.truth(DAYS[0], "2024-11-04", series="production_daily")["production_daily"]
    assert [after - before for before, after in pairwise(values)] == list(truth.values())


def test_the_last_index_is_of_the_midnight_before_the_last_day(supplier: SimulatorCaller) -> None:
    answer = supplier.request_measures("2024-11-03", "2024-11-06", "registers", "2026")
    assert error_of(answer) == (400, "Invalid_request")
    supplier.switch(delay_days=1)
    body = supplier.request_measures("2024-11-01", "2024-11-05", "registers", "2026").json()
    values = body["contexte"][0]["grandeur"][0]["cadranTotalisateur"]["valeur"]
    assert [value["d"][:10] for value in values] == DAYS[:3]


@pytest.mark.parametrize("generation", ["v4", "v5"])
def test_the_older_generations_have_no_registers(supplier: SimulatorCaller, generation: str) -> None:
    path = "/v4/metering_data/index_consommation" if generation == "v4" else "/metering_data_ic/v5/index_consommation"
    assert supplier.get(path, {"usage_point_id": HOME}, supplier.bearer(generation)).status_code == 404


@pytest.mark.parametrize(("series", "kind"), [("peaks", "daily"), ("registers", "daily"), ("production", "daily")])
def test_the_rules_of_daily_values_hold(supplier: SimulatorCaller, series: str, kind: str) -> None:
    supplier.switch(panels_wp=4_500)
    for changes in ({"refusal": "ADAM-DC-0007"}, {"consent_revoked": True}, {"activated_on": "2024-11-03"}):
        supplier.switch(**changes)
        refusals = [error_of(supplier.request_measures(series=name, generation="2026")) for name in (series, kind)]
        assert refusals[0] == refusals[1]
        supplier.http.delete(f"/__sim__/meters/{HOME}")
        supplier.switch(panels_wp=4_500)
    early = supplier.request_measures("2021-10-01", "2021-10-05", series, "2026")
    assert error_of(early) == (400, "ADAM-ERR0125")


def test_services_tell_what_a_meter_measures(supplier: SimulatorCaller) -> None:
    assert _kinds(supplier, soutirage=True) == {"CDC", "IDX", "PMAX", "ENERGIE", "ITC"}
    assert _kinds(supplier, injection=True) == set()
    supplier.switch(panels_wp=3_000, curve_enabled=False)
    assert _kinds(supplier, soutirage=True) == {"IDX", "PMAX", "ENERGIE", "ITC"}
    assert _kinds(supplier, injection=True) == {"IDX", "ENERGIE", "ITC"}
    assert _kinds(supplier, PRODUCES, soutirage=True) == set()


def _kinds(supplier: SimulatorCaller, usage_point: str = HOME, **direction: bool) -> set[str]:
    (name,) = direction
    services = supplier.subscribed_services(usage_point)
    assert all(service["soutirage"] is not service["injection"] for service in services)
    return {service["mesuresTypeCode"] for service in services if service[name]}


def test_an_api_that_is_not_subscribed_is_refused_alone(supplier: SimulatorCaller) -> None:
    supplier.admin("switches", {"unsubscribed_apis": ["mesure_synchrone_auto"]})
    refused = supplier.request_measures(series="registers", generation="2026")
    assert error_of(refused) == (403, "900908")
    assert supplier.request_measures(generation="v5").status_code == 200
    assert supplier.http.post("/__sim__/switches", json={"unsubscribed_apis": ["all"]}).status_code == 400


def test_the_truth_names_the_series_that_were_asked_for(supplier: SimulatorCaller) -> None:
    assert set(supplier.truth(DAYS[0], DAYS[1])) == {"daily", "load_curve"}
    assert set(supplier.truth(DAYS[0], DAYS[1], series="max_power,contract")) == {"max_power", "contract"}
    assert supplier.truth(DAYS[0], DAYS[1], series="production_daily") == {"production_daily": {}}
    assert list(supplier.truth(DAYS[0], DAYS[1], series="no_such")) == ["error"]


def test_a_production_that_is_corrected_still_adds_up(supplier: SimulatorCaller) -> None:
    supplier.switch(panels_wp=4_500, corrections=[{"day": DAYS[1], "direction": "production", "wh": 9_001}])
    daily = dict(points(supplier.request_measures(DAYS[0], DAYS[3], "production")))
    assert daily[DAYS[1]] == "9001"
    curve = points(supplier.request_measures(DAYS[1], DAYS[2], "production_curve"))
    assert sum(int(watts) for _, watts in curve) == 2 * 9_001
    assert {watts for label, watts in curve if label[11:] < "06:00:00"} == {"0"}
    whole = date.fromisoformat(DAYS[1]) + ONE_DAY - timedelta(days=1)
    assert supplier.truth(str(whole), DAYS[2])["daily"][DAYS[1]] != 9_001  # The other direction is as it was.
