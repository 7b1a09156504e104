"""A meter that has not one of the series: the supplier says so, and the account stays well."""

from __future__ import annotations

import pytest

from tests.unit.conftest import Household
from worker.domain.account import AccountState
from worker.domain.series import curve_of, daily_of
from worker.errors import SeriesNotOffered

CONSUMED = daily_of()
CURVE = curve_of(CONSUMED)
REFUSED = SeriesNotOffered("Enedis says that this meter does not measure in this direction")


@pytest.mark.parametrize("asserted", [False, True])
def test_no_account_waits_for_its_owner_because_a_series_is_not_offered(household: Household, asserted: bool) -> None:
    account_id = household.add_asserted() if asserted else household.add_another()
    before = household.registry.accounts.get(account_id).state
    household.supplier.daily = REFUSED
    for _ in range(3):
        household.look_back(account_id, CONSUMED)
    account = household.registry.accounts.get(account_id)
    assert account.state in (before, AccountState.READY) and account.active
    assert household.refusals.registry.pending_refusals.list_for_account(account_id) == []
    assert household.incidents.list_open() == [] and household.claim_due_notices() == []


def test_an_asserted_account_is_confirmed_by_the_series_that_its_meter_has(household: Household) -> None:
    account_id = household.add_asserted()
    household.supplier.daily = REFUSED
    household.look_back(account_id, CONSUMED, CURVE)
    assert household.registry.accounts.get(account_id).state is AccountState.READY
    assert [series for series, _ in household.supplier.asked] == [CONSUMED, CURVE]


def test_many_meters_without_a_series_are_no_incident(household: Household) -> None:
    household.supplier.daily = REFUSED
    accounts = [household.add_another() for _ in range(12)]
    for account_id in accounts:
        household.look_back(account_id, CONSUMED)
    assert household.incidents.list_open() == []
    assert {household.registry.accounts.get(account_id).state for account_id in accounts} == {AccountState.READY}
