"""A contract that says which series its meter doesn't have: those end, and the others go on."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from tests.support.factories import (
    NOW,
    PretendSupplier,
    content,
    make_window_sync,
    memory_measures,
    window_job,
)
from tests.support.gas_answers import METER, day, period
from tests.support.registries import follow_fleet
from tests.unit.conftest import Household
from worker.domain.account import AccountState
from worker.domain.answers import Answer, AnswerKind
from worker.domain.series import USUAL_GAS_SERIES, SeriesSwitch, contract_series, daily_of, intervals_of, of_supplier
from worker.domain.windows import ONE_DAY, DateWindow
from worker.errors import SeriesNotOffered

DAILY, PUBLISHED, CONTRACT = daily_of(supplier="grdf"), intervals_of("grdf"), contract_series("grdf")
YESTERDAY = NOW.date() - ONE_DAY


def contract(frequency: str | None) -> Any:
    return {
        "donnees_techniques": {"caracteristiques_compteur": {"frequence": frequency}},
        "donnees_contractuelles": {"car": 9426},
    }


def add_gas(household: Household) -> str:
    follow_fleet(household.registry, USUAL_GAS_SERIES)
    account_id = household.registry.accounts.add("grdf", METER, household.at, token_needed=False)[0].id
    assert household.registry.outcomes.collected(account_id) == of_supplier("grdf")
    return account_id


@pytest.mark.parametrize("frequency, lacks", [("6M", True), ("JJ", True), ("1M", False), ("MM", False), (None, False)])
def test_a_meter_that_is_read_twice_a_year_is_asked_for_no_days(
    household: Household, frequency: str | None, lacks: bool
) -> None:
    account_id = add_gas(household)
    household.supplier.others = {CONTRACT: contract(frequency)}
    household.look_back(account_id, CONTRACT)
    assert (DAILY not in household.registry.outcomes.collected(account_id)) is lacks
    chosen = {row.series: row for row in household.registry.outcomes.list_chosen(account_id)}
    assert chosen[DAILY].switch is (SeriesSwitch.ENDED if lacks else SeriesSwitch.FLEET)
    assert chosen[DAILY].code == (SeriesNotOffered.code if lacks else None)
    assert {chosen[PUBLISHED].switch, chosen[CONTRACT].switch} == {SeriesSwitch.FLEET}
    assert household.progress.task_state(account_id, DAILY).get("state") == ("ended" if lacks else None)
    assert household.registry.accounts.get(account_id).state is AccountState.READY
    household.look_back(account_id, CONTRACT)  # May be repeated.
    assert (DAILY not in household.registry.outcomes.collected(account_id)) is lacks


def test_a_contract_ends_a_series_that_was_asked_for_after_it(household: Household) -> None:
    account_id = add_gas(household)
    household.supplier.others = {CONTRACT: contract("6M")}
    job = household.claims.manual_look_back(account_id, CONTRACT)
    household.at += timedelta(seconds=5)
    household.look_back(account_id, DAILY)  # No data, by a newer run.
    household.run(job)
    assert DAILY not in household.registry.outcomes.collected(account_id)


def test_a_series_with_readings_or_switched_on_by_somebody_goes_on(household: Household) -> None:
    account_id = add_gas(household)
    household.supplier.others = {CONTRACT: contract("6M"), DAILY: {"records": [day(YESTERDAY, 33)]}}
    household.look_back(account_id, DAILY, CONTRACT)
    assert DAILY in household.registry.outcomes.collected(account_id)

    other = household.registry.accounts.add("grdf", "GI123456", household.at, token_needed=False)[0].id
    household.registry.outcomes.switch(other, DAILY, SeriesSwitch.ON, household.at)
    household.look_back(other, CONTRACT)
    assert DAILY in household.registry.outcomes.collected(other)


def test_a_message_of_the_version_before_lacks_nothing(household: Household) -> None:
    account_id = add_gas(household)
    household.supplier.others = {CONTRACT: contract("1M")}
    job = household.claims.manual_look_back(account_id, CONTRACT)
    fetched = household.window_sync.fetch(job)
    del fetched["facts"]["lacks"]  # type: ignore[misc]
    sync = household.window_sync
    sync.store(sync.aggregate(sync.filter_known(fetched)))
    assert DAILY in household.registry.outcomes.collected(account_id)


# -- Periods and windows


def test_a_stored_period_covers_the_days_of_a_window_that_begins_in_it() -> None:
    measures, window = memory_measures(), DateWindow(date(2024, 4, 1), date(2024, 5, 1))
    half_year = {"records": [period("2023-12-01", "2024-05-01", 5000)]}
    sync = make_window_sync(PretendSupplier(others={PUBLISHED: half_year}), measures)
    whole = sync.sync_window(window_job(DateWindow(date(2023, 12, 1), date(2024, 6, 1)), PUBLISHED))
    assert sorted(whole["facts"]["open"])[0] == "2024-05-01"
    inside = sync.sync_window(window_job(window, PUBLISHED))
    assert (inside["unchanged"], inside["facts"]["dropped"], inside["facts"]["open"]) == (1, 0, {})
    sync = make_window_sync(PretendSupplier(others={PUBLISHED: {"records": []}}), measures)
    assert sync.sync_window(window_job(window, PUBLISHED))["facts"]["open"] == {}
    assert content(measures)[PUBLISHED.inputs] == {"2023-12-01": 5000.0}


def test_a_period_that_two_pieces_of_an_answer_have_is_stored_once() -> None:
    record = period("2024-01-03", "2024-03-01", 500)

    def answer(window: DateWindow) -> Any:
        if window.days > 60:
            return Answer(AnswerKind.TOO_LONG)
        return {"records": [record]}

    measures = memory_measures()
    sync = make_window_sync(PretendSupplier(others={PUBLISHED: answer}), measures)
    result = sync.sync_window(window_job(DateWindow(date(2024, 1, 3), date(2024, 4, 1)), PUBLISHED))
    assert (result["created"], result["facts"]["fetched"], result["facts"]["left_out"]) == (1, 1, 1)
    assert content(measures)[PUBLISHED.inputs] == {"2024-01-03": 500.0}


def test_a_shorter_period_is_replaced_by_the_one_that_covers_it_and_not_the_other_way_round() -> None:
    measures, window = memory_measures(), DateWindow(date(2024, 1, 1), date(2024, 4, 1))
    cut = [period("2024-01-01", "2024-01-03", 10), period("2024-01-03", "2024-02-01", 300)]
    for minute, records, expected in (
        (0, cut, {"2024-01-01": 10, "2024-01-03": 300}),
        (1, [period("2024-01-01", "2024-02-01", 311)], {"2024-01-01": 311}),
        (2, cut[1:], {"2024-01-01": 311}),
    ):
        supplier = PretendSupplier(others={PUBLISHED: {"records": records}})
        at = NOW + timedelta(minutes=minute - 10)
        make_window_sync(supplier, measures, now=lambda at=at: at).sync_window(window_job(window, PUBLISHED))
        assert content(measures)[PUBLISHED.inputs] == expected
