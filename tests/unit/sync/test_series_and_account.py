"""What a further series may do to its account: a refusal, a contract's activation, a history before any night."""

from __future__ import annotations

from datetime import date, time, timedelta
from typing import Any

import pytest

from tests.support.factories import v5_answer
from tests.unit.conftest import Household
from tests.unit.sync.test_further_series import ASKED_FOR, contract
from worker.domain.account import AccountState
from worker.domain.schedule import night_start
from worker.domain.series import Series, SeriesSwitch
from worker.domain.windows import ONE_DAY, DateWindow, civil_date
from worker.errors import AccountError, ConsentRevoked, HolderChanged, UnknownUsagePoint
from worker.stores.registry.tables import ACCOUNTS


def days_of(window: DateWindow) -> Any:
    return v5_answer([(str(day), 7000) for day in window.dates()])


def connected(household: Household, *further: Series) -> str:
    """Return an account whose daily series has answered, with these series besides."""
    account = household.add()
    household.registry.outcomes.switch(account, Series.LOAD_CURVE, SeriesSwitch.OFF, household.at)
    for series in further:
        household.registry.outcomes.switch(account, series, SeriesSwitch.ON, household.at)
    household.supplier.daily = days_of
    household.look_back(account, Series.DAILY)
    return account


def live(household: Household, hours: int) -> None:
    """Do what is due of nights and repairs, hour by hour."""
    for _ in range(hours):
        due, night = household.due_windows(series=ASKED_FOR), night_start(household.at, time(8))
        for job in [*due.claim_night(night).jobs, *due.claim_catch_up(night, household.at).jobs, *due.claim_repairs()]:
            household.run(job)
        household.at += timedelta(hours=1)


@pytest.mark.parametrize("error", [UnknownUsagePoint("x"), ConsentRevoked("x"), HolderChanged("x")])
def test_a_refusal_of_a_further_series_alone_sets_no_account_aside(household: Household, error: AccountError) -> None:
    account = connected(household, Series.MAX_POWER, Series.CONTRACT)
    household.supplier.others = {Series.MAX_POWER: error, Series.CONTRACT: error}
    live(household, 72)
    assert household.registry.accounts.get(account).state is AccountState.READY
    outcomes = household.registry.outcomes.load(account)
    assert (outcomes[Series.DAILY].code, outcomes[Series.MAX_POWER].code) == (None, error.code)


def test_where_nothing_else_is_asked_for_the_refusal_of_a_further_series_counts(household: Household) -> None:
    account = connected(household, Series.MAX_POWER)
    household.registry.outcomes.switch(account, Series.DAILY, SeriesSwitch.OFF, household.at)
    household.supplier.others = {Series.MAX_POWER: UnknownUsagePoint("x")}
    live(household, 1)
    assert household.registry.accounts.get(account).state is AccountState.ACTION_NEEDED


def test_an_activation_that_is_still_to_come_bounds_nothing(household: Household) -> None:
    account = connected(household, Series.CONTRACT)
    for activated in ("2999-01-01+01:00", str(civil_date(household.at) + ONE_DAY) + "+02:00"):
        household.supplier.others = {Series.CONTRACT: contract(activated=activated)}
        household.look_back(account, Series.CONTRACT)
        assert household.registry.accounts.get(account).activated_on is None


def test_an_older_answer_moves_no_activation(household: Household) -> None:
    account = connected(household, Series.CONTRACT)
    household.supplier.others = {Series.CONTRACT: contract(activated="2013-08-14+02:00")}
    sync = household.window_sync
    old = sync.fetch(household.claims.manual_look_back(account, Series.CONTRACT))
    household.at += ONE_DAY
    household.supplier.others = {Series.CONTRACT: contract(activated="2024-07-20+02:00")}
    household.look_back(account, Series.CONTRACT)
    sync.store(sync.aggregate(sync.filter_known(old)))
    assert household.registry.accounts.get(account).activated_on == date(2024, 7, 20)


def test_a_new_holders_contract_is_asked_for_at_once(household: Household) -> None:
    account = connected(household, Series.CONTRACT)
    household.supplier.others = {Series.CONTRACT: contract()}
    begins_today = ACCOUNTS.update().where(ACCOUNTS.c.id == account).values(data_from=civil_date(household.at))
    household.registry.database.change(begins_today)
    household.supplier.asked.clear()
    live(household, 1)
    assert [series for series, _ in household.supplier.asked if series is Series.CONTRACT] == [Series.CONTRACT]


def test_histories_begin_before_any_night(household: Household) -> None:
    account = household.add()
    for series in (Series.CONTRACT, Series.MAX_POWER):
        household.registry.outcomes.switch(account, series, SeriesSwitch.ON, household.at)
    due = household.due_windows()
    begun = {job["series"] for pair in due.list_histories() for job in due.claim_next_of_history(*pair)}
    assert begun == {"daily", "load_curve", "max_power", "contract"}
