"""A contract: power, tariff, off-peak hours, activation, state; one reading on the last day of the window."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import json_values, many
from worker.domain.parsing.contracts import parse_contract
from worker.domain.windows import DateWindow
from worker.errors import MalformedAnswer

WINDOW = DateWindow(date(2024, 7, 24), date(2024, 7, 25))
HOURS = "HC (1H30-8H00;12H30-14H00)"


def v5(**fields: Any) -> Any:
    contract = {
        "segment": "C5",
        "subscribed_power": "9 kVA",
        "last_activation_date": "2013-08-14+01:00",
        "distribution_tariff": "BTINFCUST",
        "offpeak_hours": HOURS,
    }
    point = {"usage_point_id": "98765432109876", "usage_point_status": "com"}
    return {"contracts": {"customer": {"usage_points": [{"usage_point": point, "contracts": {**contract, **fields}}]}}}


def answer_2026(**bodies: Any) -> Any:
    situation = {
        "segment": "C5",
        "subscribed_power": {"unit": "kVA", "value": "9"},
        "distribution_tariff": "BTINFCUST",
    }
    return {
        "situation_contrat": [situation],
        "synth_contrat": {"consumption_last_activation_date": "2013-08-14T00:00:00+0200", "services_level": "com"},
        "comptage": {"relais": {"plageHeuresCreuses": HOURS}},
        **bodies,
    }


DETAILS = {
    "tariff": "BTINFCUST",
    "off_peak_hours": HOURS,
    "activated_on": "2013-08-14",
    "meter_status": "com",
    "segment": "C5",
}


def contract_of(payload: Any) -> Any:
    """Return the power in VA and the details, or None where there is no reading."""
    readings = parse_contract(payload, WINDOW).readings
    assert [str(reading.start.date()) for reading in readings] in ([], ["2024-07-24"])
    return (readings[0].amount // 1000, readings[0].details) if readings else None


@pytest.mark.parametrize("payload", [v5(), answer_2026(), {"contracts": [v5()["contracts"]]}])
def test_each_generation_tells_the_same_contract(payload: Any) -> None:
    assert contract_of(payload) == (9000, DETAILS)


@pytest.mark.parametrize(
    "sent, volt_amperes",
    [("9 kVA", 9000), ("9kVA", 9000), ("7,5 kVA", 7500), ("4.5 KVA", 4500), ("6000 VA", 6000)],
)
def test_a_power_is_read_in_its_unit(sent: str, volt_amperes: int) -> None:
    assert contract_of(v5(subscribed_power=sent))[0] == volt_amperes
    value, _, unit = sent.replace("kVA", " kVA").replace("  ", " ").partition(" ")
    situation = {"segment": "C5", "subscribed_power": {"unit": unit, "value": value}}
    assert contract_of(answer_2026(situation_contrat=[situation]))[0] == volt_amperes


@pytest.mark.parametrize(
    "sent", ["9", "9 kW", "nine kVA", {"value": 9}, {"unit": "kW", "value": 9}, 9, "-9 kVA", "1.2.3 kVA"]
)
def test_a_power_in_no_unit_that_we_know_is_no_reading_and_is_counted(sent: Any) -> None:
    parsed = parse_contract(v5(subscribed_power=sent), WINDOW)
    assert (list(parsed.readings), parsed.dropped) == ([], 1)


def test_the_contract_of_production_has_no_power_and_is_not_the_one_that_is_read() -> None:
    consumer = answer_2026()["situation_contrat"][0]
    producer = {"segment": "P4", "distribution_tariff": "Injection"}
    with_power = {**producer, "subscribed_power": {"unit": "kVA", "value": "3"}}
    for contracts in (
        [producer, consumer],
        [consumer, producer],
        [with_power, consumer],
    ):
        assert contract_of(answer_2026(situation_contrat=contracts)) == (9000, DETAILS)
    parsed = parse_contract(answer_2026(situation_contrat=[producer]), WINDOW)
    assert (list(parsed.readings), parsed.dropped) == ([], 0)


def test_history_begins_with_the_first_of_both_directions() -> None:
    summary = {
        "consumption_last_activation_date": "2018-08-31T00:00:00+0200",
        "generation_last_activation_date": "2015-03-02T00:00:00+0100",
    }
    assert contract_of(answer_2026(synth_contrat=summary))[1]["activated_on"] == "2015-03-02"


@pytest.mark.parametrize(
    "sent, day",
    [
        ("2006-05-24+02:00", "2006-05-24"),
        ("2006-05-24", "2006-05-24"),
        ("2018-08-31T00:00:00+0200", "2018-08-31"),
        ("2018-08-30T22:00:00Z", "2018-08-31"),
        ("2018-08-31 00:00:00", "2018-08-31"),
        ("1998-01-02+01:00", "1998-01-02"),
        ("2018-02-30+01:00", None),
        ("yesterday", None),
        (20180831, None),
        (None, None),
    ],
)
def test_a_day_of_activation_is_read_in_each_form(sent: Any, day: str | None) -> None:
    assert contract_of(v5(last_activation_date=sent))[1].get("activated_on") == day


def test_what_is_not_told_is_absent() -> None:
    bare = {"situation_contrat": [{"subscribed_power": {"unit": "kVA", "value": "6"}}]}
    assert contract_of(bare) == (6000, None)
    without_hours = {key: text for key, text in DETAILS.items() if key != "off_peak_hours"}
    assert contract_of(answer_2026(comptage=None))[1] == without_hours
    assert "off_peak_hours" not in contract_of(v5(offpeak_hours="Sans objet"))[1]


@pytest.mark.parametrize("payload", [None, [], {}, {"customer": {}}, {"contracts": {}}, {"situation_contrat": "x"}])
def test_what_is_no_answer_of_contracts_is_refused(payload: Any) -> None:
    with pytest.raises(MalformedAnswer):
        parse_contract(payload, WINDOW)


@many
@given(st.dictionaries(st.sampled_from(["contracts", "situation_contrat", "synth_contrat", "comptage"]), json_values))
def test_any_answer_is_read_or_refused(payload: Any) -> None:
    try:
        parsed = parse_contract(payload, WINDOW)
    except MalformedAnswer:
        return
    assert len(parsed.readings) <= 1 and parsed.dropped >= 0
