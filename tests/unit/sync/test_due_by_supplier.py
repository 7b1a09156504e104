"""What is due of two suppliers: the room and the gate of one are not the other's."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.support.registries import follow_fleet
from tests.unit.conftest import Household
from worker.domain.messages import WindowJob
from worker.domain.series import USUAL_GAS_SERIES, USUAL_SERIES, Series, of_supplier
from worker.sync.due import DueBySupplier

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


def due_of(household: Household, **of_gas: Any) -> DueBySupplier:
    electricity = household.due_windows(calls_per_hour=SMALL, series=of_supplier("enedis"))
    return DueBySupplier([electricity, household.due_windows(**{"series": of_supplier(GAS), **of_gas})])


def suppliers_of(jobs: list[WindowJob]) -> Counter[str]:
    return Counter(Series(job["series"]).description.supplier for job in jobs)


def test_each_supplier_has_its_own_room(household: Household) -> None:
    due = due_of(household, calls_per_hour=None)
    jobs, more = due.night(household.at)
    of_gas = sum(-(-30 // series.description.cadence_nights) for series in USUAL_GAS_SERIES)
    assert suppliers_of(jobs) == {"enedis": 20, GAS: of_gas}
    assert more
    assert due.night(household.at) == ([], True), "the room of electricity is full, and gas is all in flight"


def test_a_closed_gate_holds_its_own_supplier_alone(household: Household) -> None:
    due = due_of(household, calls_per_hour=SMALL, closed_for_s=lambda: 60.0)
    assert suppliers_of(due.night(household.at).jobs) == {"enedis": 20}
    assert {series.description.supplier for _, series in due.histories()} == {"enedis"}


def test_histories_are_claimed_for_their_supplier(household: Household) -> None:
    due = due_of(household, calls_per_hour=SMALL)
    begun = due.histories()
    assert {series.description.supplier for _, series in begun} == {"enedis", GAS}
    for account, series in begun:
        jobs = due.next_of_history(account, series)
        assert [job["series"] for job in jobs] == [series.value]
    assert not due.has_history_room(Series.GAS_DAILY)


def test_a_supplier_that_is_not_set_up_any_more_is_not_asked(household: Household) -> None:
    alone = DueBySupplier([household.due_windows(calls_per_hour=None, series=of_supplier("enedis"))])
    assert suppliers_of(alone.night(household.at).jobs) == {"enedis": 60}
    assert suppliers_of(alone.repairs()) == {}
