"""Daily values and billed periods: records, rules on requests, refusals, quirks, faults and limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulator.gas_recordings import SANDBOX_METERS
from simulator.switches import SimulatorOptions
from tests.support.grdf_caller import NOW, PCE, GasCaller
from tests.support.pages import ROOT

RECORDED = ROOT.parent / "shared" / "data" / "gas"


@pytest.fixture
def grdf() -> GasCaller:
    caller = GasCaller()
    caller.give_right()
    return caller


def keys_of(value: Any) -> Any:
    """Return the keys of a record and of all that it holds."""
    return {key: keys_of(inner) for key, inner in value.items()} if isinstance(value, dict) else None


@pytest.mark.parametrize("name", ["informatives", "publiees"])
def test_a_record_has_the_keys_of_a_recorded_one(grdf: GasCaller, name: str) -> None:
    path: Path = RECORDED / f"adict_donnees_consos_{name}.ndjson"
    if not path.is_file():
        pytest.skip("no recorded answers here")
    recorded = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert keys_of(grdf.records(name)[0]) == keys_of(recorded)


def test_days_are_one_line_each_of_the_days_asked_for(grdf: GasCaller) -> None:
    answer = grdf.ask("informatives", "2024-10-25", "2024-10-29")
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    records = [json.loads(line) for line in answer.text.splitlines()]
    assert [one["consommation"]["journee_gaziere"] for one in records] == [f"2024-10-{day}" for day in (25, 26, 27, 28)]
    assert records[0]["periode"] == {"valeur": None, "date_debut": "2024-10-25", "date_fin": "2024-10-29"}
    # The clock changes on the 27th at three: the gas day of the 26th has 25 hours.
    assert records[1]["consommation"]["date_debut_consommation"] == "2024-10-26T06:00:00+02:00"
    assert records[1]["consommation"]["date_fin_consommation"] == "2024-10-27T06:00:00+01:00"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "1000026"),
        ({"date_debut": "2024-10-01"}, "1000022"),
        ({"date_fin": "2024-10-01"}, "1000023"),
        ({"date_debut": "01/10/2024", "date_fin": "2024-10-02"}, "1000020"),
        ({"date_debut": "2024-10-02", "date_fin": "2024-10-02"}, "1000027"),
        ({"date_debut": "2024-10-02", "date_fin": "2024-11-06"}, "1000028"),
        ({"date_debut": "2021-11-04", "date_fin": "2024-11-05"}, "1000024"),
        ({"periode": "2024-10", "date_debut": "2024-10-02", "date_fin": "2024-11-06"}, "1000025"),
        ({"periode": "2024-W1"}, "1000021"),
    ],
)
def test_a_malformed_query_is_refused_with_400(grdf: GasCaller, query: dict[str, str], code: str) -> None:
    answer = grdf.call("GET", f"/pce/{PCE}/donnees_consos_informatives", params=query)
    assert (answer.status_code, answer.json()["statut_restitution"]["code"]) == (400, code)


def test_history_reaches_back_three_years_for_days_and_five_for_periods(grdf: GasCaller) -> None:
    assert grdf.ask("informatives", "2021-11-05").status_code == 200
    assert grdf.ask("publiees", "2019-11-05").status_code == 200
    assert "5 ans" in grdf.ask("publiees", "2019-11-04").text


def test_a_period_of_the_query_is_a_year_or_a_month(grdf: GasCaller) -> None:
    answer = grdf.call("GET", f"/pce/{PCE}/donnees_consos_informatives", params={"periode": "2024-09"})
    records = [json.loads(line) for line in answer.text.splitlines()]
    assert len(records) == 30 and records[0]["periode"]["valeur"] == "2024-09"


@pytest.mark.parametrize(
    ("header", "status"), [({}, 401), ({"Authorization": "Bearer wrong"}, 401), ({"Authorization": "Bearerx"}, 400)]
)
def test_a_call_without_a_valid_token_is_refused(grdf: GasCaller, header: dict[str, str], status: int) -> None:
    path = f"/adict/v2/pce/{PCE}/donnees_techniques"
    assert grdf.http.get(path, headers=header).status_code == status


def test_a_token_of_enedis_reads_no_gas(grdf: GasCaller) -> None:
    form = {"client_id": "releve-simulator", "client_secret": "releve-simulator-secret"}
    answer = grdf.http.post("/oauth2/v3/token", data=form | {"grant_type": "client_credentials"})
    grdf.token = answer.json()["access_token"]
    assert grdf.ask("informatives").status_code == 401


def test_a_malformed_pce_is_400_and_none_is_403(grdf: GasCaller) -> None:
    assert grdf.ask("informatives", pce="GI12345").json()["statut_restitution"]["code"] == "1000005"
    assert grdf.call("GET", "/pce//donnees_techniques").status_code == 403


def test_without_a_right_data_is_refused_inside_of_200_or_with_403(grdf: GasCaller) -> None:
    other = "GI123456"
    assert grdf.refusal("informatives", pce=other) == "1000002"
    grdf.admin("switches", {"no_right_status": 403})
    assert grdf.ask("informatives", pce=other).status_code == 403


def test_a_right_covers_what_it_says_and_the_days_that_it_says(grdf: GasCaller) -> None:
    grdf.http.delete("/__sim__/gas/rights")
    grdf.give_right(covers=["publiees"], data_from="2024-09-01")
    assert grdf.refusal("informatives") == "1000010"
    starts = [one["consommation"]["date_debut_consommation"][:10] for one in grdf.records("publiees", "2024-07-01")]
    assert starts and min(starts) == "2024-09-01"
    answer = grdf.call("GET", f"/pce/{PCE}/donnees_techniques").json()
    assert (answer["donnees_techniques"], answer["statut_restitution"]["code"]) == (None, "1000019")


@pytest.mark.parametrize("frequency", ["6M", "JJ"])
@pytest.mark.parametrize("code", ["1000010", "1000008"])
def test_a_meter_without_daily_values_says_so(grdf: GasCaller, frequency: str, code: str) -> None:
    grdf.switch(frequency=frequency, no_daily_code=code)
    assert grdf.refusal("informatives") == code
    assert grdf.records("publiees", "2020-01-01")[0]["consommation"]["type_conso"] == "Publiée"


def test_which_periods_an_answer_holds_is_a_switch(grdf: GasCaller) -> None:
    def starts() -> list[str]:
        records = grdf.records("publiees", "2024-08-20", "2024-09-20")
        return [one["consommation"]["date_debut_consommation"][:10] for one in records if one["consommation"]]

    day = f"2024-09-0{grdf.meter()['reading_day']}"
    assert starts() == ["2024-09-01", day]
    grdf.admin("switches", {"periods": "overlap"})
    assert starts() == [f"2024-08-0{grdf.meter()['reading_day']}", "2024-09-01", day]
    grdf.admin("switches", {"periods": "within"})
    assert starts() == ["2024-09-01"]


def test_a_day_that_the_server_cannot_read_is_told_at_its_place(grdf: GasCaller) -> None:
    grdf.switch(failing_days=["2024-10-03"])
    third = grdf.records("informatives", "2024-10-01", "2024-10-05")[2]
    assert (third["consommation"], third["statut_restitution"]["code"]) == (None, "2000100")
    assert third["periode"] == {"valeur": None, "date_debut": "2024-10-03", "date_fin": "2024-10-04"}


def test_every_refusal_can_be_switched_on(grdf: GasCaller) -> None:
    grdf.switch(refusal="1000015")
    assert grdf.refusal("informatives") == grdf.refusal("publiees") == "1000015"
    assert grdf.http.post(f"/__sim__/gas/meters/{PCE}", json={"refusal": "no"}).status_code == 400


@pytest.mark.parametrize("stream", ["glued", "array", "folded"])
def test_a_stream_has_its_other_shapes_by_a_switch(grdf: GasCaller, stream: str) -> None:
    usual = grdf.records("informatives")
    grdf.admin("switches", {"stream": stream})
    text, values, decoder = grdf.ask("informatives").text.strip(), [], json.JSONDecoder()
    assert len(text.splitlines()) == 1 if stream != "folded" else len(text.splitlines()) > 10 * len(usual)
    while text:
        value, end = decoder.raw_decode(text)
        values, text = [*values, *(value if isinstance(value, list) else [value])], text[end:].strip()
    assert values == usual


def test_quirks_change_nothing_but_what_they_say(grdf: GasCaller) -> None:
    usual = grdf.records("informatives")
    grdf.admin("switches", {"duplicate_day": True, "right_in_stream": True, "energy_as_text": True})
    first, second, *rest, right = grdf.records("informatives")
    assert first["consommation"]["energie"] == str(usual[0]["consommation"]["energie"])
    assert second["consommation"]["journee_gaziere"] == first["consommation"]["journee_gaziere"]
    assert second["consommation"]["type_qualif_conso"] == "Absence de Données"
    assert right["code_statut_traitement"] == "0000000000" and right["id_pce"] == PCE
    assert len(rest) == len(usual) - 1


def test_calls_above_the_limits_are_refused_where_they_are_switched_on(grdf: GasCaller) -> None:
    assert [grdf.ask("informatives").status_code for _ in range(3)] == [200, 200, 200]
    grdf.admin("quota", {"per_second": 1})
    assert [grdf.ask("informatives").status_code for _ in range(2)] == [200, 429]
    grdf.admin("quota", {"per_day": 2})
    assert [grdf.ask("informatives").status_code for _ in range(3)] == [200, 200, 429]
    report = grdf.http.get("/__sim__/gas/report").json()
    assert (report["refusals"], report["by_usage_point"][PCE]) == (2, 8)
    assert grdf.http.get("/__sim__/report").json()["calls"] == 0


@pytest.mark.parametrize("kind", ["truncated", "html", "throttled", "empty", "bad_token"])
def test_faults_spoil_gas_too(grdf: GasCaller, kind: str) -> None:
    good = grdf.ask("informatives")
    fault = {"path": "donnees_consos_informatives", "usage_point": PCE, "kind": kind}
    assert grdf.http.post("/__sim__/faults", json=fault).status_code == 200
    spoilt = grdf.ask("informatives")
    assert spoilt.content != good.content
    assert "Enedis" not in spoilt.text and grdf.ask("informatives").content == good.content


def test_a_slow_answer_comes_whole_in_pieces(grdf: GasCaller) -> None:
    good = grdf.ask("informatives")
    fault = {"path": "donnees_consos_informatives", "kind": "slow", "delay_s": 0.02}
    assert grdf.http.post("/__sim__/faults", json=fault).status_code == 200
    assert grdf.ask("informatives").content == good.content


def test_contract_and_technical_data_are_one_object_each(grdf: GasCaller) -> None:
    contract = grdf.call("GET", f"/pce/{PCE}/donnees_contractuelles").json()["donnees_contractuelles"]
    meter = grdf.meter()
    assert contract["car"] == meter["annual_reference"] and contract["date_mes"] == meter["activated_on"]
    grdf.admin("switches", {"car": "object"})
    objects = grdf.call("GET", f"/pce/{PCE}/donnees_contractuelles").json()["donnees_contractuelles"]
    assert objects["car"]["car_actuelle"] == contract["car"] and "cja_journaliere" in objects["cja"]
    chosen = grdf.call("GET", f"/pce/{PCE}/donnees_contractuelles", params={"filtre": "date_mes"}).json()
    assert chosen["donnees_contractuelles"].keys() == {"date_mes"}
    technical = grdf.call("GET", f"/pce/{PCE}/donnees_techniques").json()["donnees_techniques"]
    assert technical["caracteristiques_compteur"]["frequence"] == "1M"
    assert technical["situation_compteur"]["code_postal"] == meter["postcode"]


@pytest.mark.parametrize(
    ("pce", "name", "code"),
    [
        ("09999999900112", "publiees", "1000002"),
        ("09999999930215", "publiees", "1000001"),
        ("09999999932770", "informatives", "1000014"),
        ("09999999970626", "publiees", "1000017"),
        ("09999999975102", "informatives", "1000010"),
        ("GI999092", "publiees", "1000000"),
        ("GI999602", "publiees", "1000002"),
        ("GI151947", "informatives", None),
        ("GI999055", "publiees", None),
        ("GI999159", "publiees", None),
        ("09999999900617", "publiees", None),
    ],
)
def test_the_meters_of_the_sandbox_answer_as_its_table_says(pce: str, name: str, code: str | None) -> None:
    sandbox = GasCaller(SimulatorOptions(pretend_now=NOW.replace(year=2023, month=10)), "/adict/bas/v6")
    assert sandbox.refusal(name, "2023-01-11", "2023-10-01", pce=pce) == code
    production = GasCaller()
    assert production.rights() == []
    assert production.refusal(name, pce=pce) == "1000002"


def test_the_sandboxes_meter_of_2023_was_replaced_and_became_communicating() -> None:
    sandbox = GasCaller(SimulatorOptions(pretend_now=NOW.replace(year=2023, month=10)), "/adict/bas/v6")
    records = sandbox.records("publiees", "2022-11-01", "2023-10-01", pce="09999999928289")
    starts = [record["consommation"]["date_debut_consommation"][:10] for record in records]
    assert {"2023-03-29", "2023-08-14"} <= set(starts)
    replaced = records[starts.index("2023-03-29")]
    assert replaced["releve_debut"]["index_brut_debut"]["valeur_index"] == 0
    assert len(SANDBOX_METERS) == len(sandbox.rights()) + 1  # One has no right.
