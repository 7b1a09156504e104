"""Whose meter a file is of."""

from __future__ import annotations

from datetime import date

import pytest

from tests.support.made_files import METER, days_file
from tests.unit.conftest import Household
from worker.accounts.asserted_accounts import AccountAssertion
from worker.domain.files.cells import FileRefused
from worker.domain.series import daily_of
from worker.sync.file_import import FileAccounts

POWER = days_file({date(2024, 7, 1): 9000})
GAS = days_file({date(2024, 7, 1): 9000}, series=daily_of(supplier="grdf"))


@pytest.fixture
def accounts(household: Household) -> FileAccounts:
    registry = household.registry
    assertion = AccountAssertion(supplier="enedis", registry=registry, now=household.now)
    return FileAccounts(registry=registry, assertion=assertion, suppliers={"enedis": "enedis", "grdf": "grdf"})


def test_a_file_is_of_the_account_of_its_number_and_energy(household: Household, accounts: FileAccounts) -> None:
    assert [accounts.find(file) for file in (POWER, GAS)] == [None, None]
    power = household.registry.accounts.add("enedis", METER, household.at)[0]
    assert accounts.find(GAS) is None
    gas = household.registry.accounts.add("grdf", METER, household.at)[0]
    for file, account in ((POWER, power), (GAS, gas)):
        found = accounts.find(file)
        assert found is not None and found.id == account.id
        assert accounts.find(file, tenant="another") is None


def test_the_account_of_another_energy_or_meter_takes_no_file(household: Household, accounts: FileAccounts) -> None:
    account = household.registry.accounts.add("enedis", METER, household.at)[0]
    accounts.check(POWER, account)
    for file, meter in ((GAS, None), (days_file({}, usage_point="30001640000022"), None), (POWER, "30001640000022")):
        with pytest.raises(FileRefused):
            accounts.check(file, account, meter)
