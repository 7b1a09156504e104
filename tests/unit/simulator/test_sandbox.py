"""The last digit of the state picks one of the nine customers of the sandbox."""

from __future__ import annotations

import pytest

from simulator.electricity_recordings import CUSTOMERS
from simulator.switches import SimulatorOptions
from tests.support.enedis_caller import CALLBACK, NOW, SimulatorCaller, error_of, points


@pytest.fixture
def sandbox() -> SimulatorCaller:
    return SimulatorCaller(SimulatorOptions(pretend_now=NOW, redirect_uri=CALLBACK, sandbox=True))


@pytest.mark.parametrize("digit", CUSTOMERS)
def test_the_last_digit_of_the_state_picks_the_customer(sandbox: SimulatorCaller, digit: int) -> None:
    expected = ";".join(meter.usage_point for meter in CUSTOMERS[digit])
    assert sandbox.callback(state=f"abc{digit}")["usage_point_id"] == expected


def test_outside_the_sandbox_a_digit_means_nothing(supplier: SimulatorCaller) -> None:
    assert supplier.callback(state="abc0")["usage_point_id"] != "22516914714270"


def _ask(sandbox: SimulatorCaller, digit: int, series: str = "daily", which: int = 0) -> object:
    answer = sandbox.request_measures(
        "2024-10-28", "2024-11-04", series, usage_point=CUSTOMERS[digit][which].usage_point
    )
    return len(points(answer)) if answer.status_code == 200 else error_of(answer)


@pytest.mark.parametrize(
    ("digit", "daily", "curve"),
    [
        (0, 7, 336),
        (1, 7, 336),
        (2, 7, (404, "no_data_found")),
        (3, 7, 336),
        (4, 5, 240),
        (5, (400, "ADAM-ERR0069"), (400, "ADAM-ERR0069")),
        (6, 7, 336),
        (7, 7, 336),
        (8, (403, "ADAM-DC-0008"), (403, "ADAM-DC-0008")),
    ],
)
def test_each_customer_behaves_as_the_sandbox_page_says(
    sandbox: SimulatorCaller, digit: int, daily: object, curve: object
) -> None:
    assert _ask(sandbox, digit) == daily
    assert _ask(sandbox, digit, "curve") == curve


def test_the_customers_that_produce_are_those_of_the_sandbox_page(sandbox: SimulatorCaller) -> None:
    """One customer has a point of each direction, one only feeds in, one does both on one point."""
    producing = {(3, 1), (5, 0), (6, 0)}
    for digit, meters in CUSTOMERS.items():
        for which, _ in enumerate(meters):
            expected = 7 if (digit, which) in producing else (400, "ADAM-ERR0069")
            if digit != 8:  # That consent was revoked.
                assert _ask(sandbox, digit, "production", which) == expected
    assert _ask(sandbox, 3, "daily", 1) == (400, "ADAM-ERR0069")


def test_the_second_customer_was_activated_in_2019() -> None:
    sandbox = SimulatorCaller(SimulatorOptions(pretend_now=NOW.replace(year=2021), redirect_uri=CALLBACK))
    assert error_of(sandbox.request_measures("2019-08-26", "2019-09-01", usage_point="11453290002823")) == (
        400,
        "ADAM-ERR0123",
    )
    assert len(points(sandbox.request_measures("2019-08-27", "2019-09-01", usage_point="11453290002823"))) == 5
