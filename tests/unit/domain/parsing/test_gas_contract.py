"""The contract of gas: how often the meter is read, the tariff, and both shapes of the reference consumption."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from worker.domain.parsing.contracts import parse_gas_contract
from worker.domain.windows import DateWindow
from worker.errors import MalformedAnswer

WINDOW = DateWindow(date(2024, 7, 24), date(2024, 7, 25))


def contract(frequency: Any = "1M", **contractual: Any) -> Any:
    return {
        "donnees_techniques": {"caracteristiques_compteur": {"frequence": frequency}},
        "donnees_contractuelles": contractual,
    }


@pytest.mark.parametrize(
    "consumption, millionths",
    [
        (9426, 9_426_000_000),
        ("9426.5", 9_426_500_000),
        ({"car_actuelle": 9426}, 9_426_000_000),
        ({"car_actuelle": None}, 0),
        ({"car_future": 3}, 0),
        (None, 0),
        ("x", 0),
    ],
)
def test_both_shapes_of_the_reference_consumption_are_read(consumption: Any, millionths: int) -> None:
    told = contract(car=consumption, tarif_acheminement="T2", date_mes="2020-12-07")
    (reading,) = parse_gas_contract(told, WINDOW).readings
    assert (reading.start.date(), reading.amount) == (date(2024, 7, 24), millionths)
    assert reading.details == {"frequency": "1M", "transport_tariff": "T2", "activated_on": "2020-12-07"}


def test_the_technical_part_alone_is_a_contract() -> None:
    (reading,) = parse_gas_contract({"donnees_techniques": contract("6m")["donnees_techniques"]}, WINDOW).readings
    assert (reading.amount, reading.details) == (0, {"frequency": "6M"})


@pytest.mark.parametrize("told", [{"donnees_techniques": None}, contract(None), contract(frequency=["6M"])])
def test_a_contract_that_tells_nothing_is_no_reading(told: Any) -> None:
    assert parse_gas_contract(told, WINDOW).readings == ()


@pytest.mark.parametrize("payload", [None, [], {}, {"records": []}, "x"])
def test_what_is_no_contract_is_refused(payload: Any) -> None:
    with pytest.raises(MalformedAnswer):
        parse_gas_contract(payload, WINDOW)
