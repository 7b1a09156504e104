"""What is due of two suppliers: the room and the gate of one are not the other's."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.support.registries import follow_fleet
from tests.unit.conftest import Household
from worker.domain.messages import WindowJob
from worker.domain.series import USUAL_GAS_SERIES, USUAL_SERIES, Series, of_supplier
from worker.sync.due import DueWindows

SMALL = 60  # Calls an hour, so that 20 windows may be in flight.
GAS = "grdf"


@pytest.fixture(autouse=True)
def homes(household: Household) -> list[str]:
    """Thirty meters of electricity and thirty of gas."""
    registry = household.registry
    follow_fleet(registry, (*USUAL_SERIES, *USUAL_GAS_SERIES))
    return [
        registry.accounts.add(supplier, f"{10**13 + number}", household.at, token_needed=False)[0].id
        for supplier in ("enedis", GAS)
        for number in range(30)
    ]


def due_of(household: Household, **of_gas: Any) -> list[DueWindows]:
    electricity = household.due_windows(calls_per_hour=SMALL, series=of_supplier("enedis"))
    return [electricity, household.due_windows(**{"series": of_supplier(GAS), **of_gas})]


def suppliers_of(jobs: list[WindowJob]) -> Counter[str]:
    return Counter(Series(job["series"]).description.supplier for job in jobs)


def test_each_supplier_has_its_own_room(household: Household) -> None:
    electricity, gas = due_of(household, calls_per_hour=None)
    of_gas = sum(-(-30 // series.description.cadence_nights) for series in USUAL_GAS_SERIES)
    jobs, more = electricity.claim_night(household.at)
    assert (suppliers_of(jobs), more) == ({"enedis": 20}, True)
    assert suppliers_of(gas.claim_night(household.at).jobs) == {GAS: of_gas}
    assert electricity.claim_night(household.at) == ([], True), "its room is full"
    assert gas.claim_night(household.at).jobs == [], "all is in flight"


def test_a_closed_gate_holds_its_own_supplier_alone(household: Household) -> None:
    electricity, gas = due_of(household, calls_per_hour=SMALL, closed_for_s=lambda: 60.0)
    assert suppliers_of(electricity.claim_night(household.at).jobs) == {"enedis": 20}
    assert (gas.claim_night(household.at).jobs, gas.list_histories()) == ([], [])
    assert {series.description.supplier for _, series in electricity.list_histories()} == {"enedis"}


def test_histories_are_claimed_for_their_supplier(household: Household) -> None:
    for due, supplier in zip(due_of(household, calls_per_hour=SMALL), ("enedis", GAS), strict=True):
        begun = due.list_histories()
        assert {series.description.supplier for _, series in begun} == {supplier}
        for account, series in begun:
            assert [job["series"] for job in due.claim_next_of_history(account, series)] == [series.value]
    assert not due.has_history_room(Series.GAS_DAILY)


def test_a_supplier_that_is_not_set_up_any_more_is_not_asked(household: Household) -> None:
    alone = household.due_windows(calls_per_hour=None, series=of_supplier("enedis"))
    assert suppliers_of(alone.claim_night(household.at).jobs) == {"enedis": 60}
    assert suppliers_of(alone.claim_repairs()) == {}
