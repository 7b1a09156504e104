"""Further series of an account at work: their turns, the contract's rows, its activation, and a series that ends."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest

from tests.support.factories import v5_answer
from tests.unit.conftest import Household
from worker.domain.account import AccountState
from worker.domain.documents import ALL_KEYS, key_of
from worker.domain.schedule import night_start
from worker.domain.series import USUAL_SERIES, Series, SeriesSwitch
from worker.domain.windows import ONE_DAY, PARIS, DateWindow
from worker.errors import SeriesNotOffered, WorkerError
from worker.sync.history import rebuild_days

VA = {"unit": "VA", "measurement_kind": "power", "aggregate": "maximum", "measuring_period": "P1D"}

ASKED_FOR = (*USUAL_SERIES, Series.MAX_POWER, Series.CONTRACT)
FURTHER = (Series.MAX_POWER, Series.CONTRACT)


def highest_powers(window: DateWindow) -> Any:
    rows = [(f"{day} 19:06:20", 4000 + day.day) for day in window.dates()]
    return v5_answer(rows, reading_type=VA)


def contract(power: int = 9, activated: str = "2013-08-14+02:00") -> Any:
    terms = {
        "segment": "C5",
        "subscribed_power": f"{power} kVA",
        "last_activation_date": activated,
        "distribution_tariff": "BTINFCUST",
        "offpeak_hours": "HC (1H30-8H00;12H30-14H00)",
    }
    point = {"usage_point_id": "30001640000011", "usage_point_status": "com"}
    return {"contracts": {"customer": {"usage_points": [{"usage_point": point, "contracts": terms}]}}}


class Years:
    """An installation that lives night after night; the supplier's answers may change meanwhile."""

    def __init__(self, household: Household, *series: Series) -> None:
        self.household, self.asked = household, Counter[str]()
        self.home = household.add()
        for usual in household.registry.outcomes.collected(self.home):
            household.registry.outcomes.switch(self.home, usual, SeriesSwitch.OFF, household.at)
        for further in series:
            household.registry.outcomes.switch(self.home, further, SeriesSwitch.ON, household.at)
        household.supplier.others = {Series.MAX_POWER: highest_powers, Series.CONTRACT: contract()}

    def live(self, days: int) -> None:
        """Do what beat starts in a day: the night, histories, the afternoon, the repair."""
        for _ in range(days):
            due = self.household.due_windows(series=FURTHER)
            night = night_start(self.household.at, time(8))
            self.do(due.claim_night(night).jobs)
            while jobs := [job for pair in due.list_histories() for job in due.claim_next_of_history(*pair)]:
                self.do(jobs)
            self.do(due.claim_catch_up(night, self.household.at).jobs + due.claim_repairs())
            self.household.at += ONE_DAY

    def do(self, jobs: list[Any]) -> None:
        self.asked.update(job["claim"].partition("/")[0] + " " + job["series"] for job in jobs)
        for job in jobs:
            self.household.run(job)

    def rows(self, series: Series) -> dict[str, float]:
        documents = self.household.measures.read(self.home, {series.inputs: ALL_KEYS})[series.inputs]
        return {key_of(document): document["load"] for document in documents}


def test_a_weekly_series_is_asked_once_a_week_and_its_history_is_its_first_turn(household: Household) -> None:
    years = Years(household, Series.MAX_POWER)
    years.live(1)
    assert years.asked == {"again max_power": 1, "backfill max_power": 3}
    years.asked.clear()
    years.live(28)
    assert years.asked == {"nightly max_power": 4}
    assert len(years.rows(Series.MAX_POWER)) >= 3 * 365
    rows = household.measures.read(years.home, {Series.MAX_POWER.inputs: ALL_KEYS})[Series.MAX_POWER.inputs]
    assert rows[-1]["at"].endswith("T19:06:20+02:00") and rows[-1]["load"] > 4


def test_open_days_of_a_weekly_series_are_repaired_when_its_look_back_has_left_them(household: Household) -> None:
    years = Years(household, Series.MAX_POWER)
    gap = household.history.today() - 3 * ONE_DAY

    def without_gap(window: DateWindow) -> Any:
        return v5_answer([(f"{day} 12:00:00", 4000) for day in window.dates() if day != gap], reading_type=VA)

    household.supplier.others[Series.MAX_POWER] = without_gap
    years.live(1)
    years.asked.clear()
    years.live(25)
    assert years.asked["repair max_power"] == 0
    years.live(45)
    assert 4 <= years.asked["repair max_power"] <= 6
    assert (
        household.registry.completeness.load_ledger(years.home, Series.MAX_POWER).due_days(
            household.history.today(), Series.MAX_POWER
        )
        == []
    )


def test_a_contract_is_asked_at_connection_and_once_a_month_and_never_for_open_days(household: Household) -> None:
    years = Years(household, Series.CONTRACT)
    years.live(2)
    assert years.asked == {"again contract": 1}, "its answer is its history, too"
    years.asked.clear()
    years.live(28)
    assert years.asked == {}
    years.live(62)
    assert years.asked == {"nightly contract": 3} or years.asked == {"nightly contract": 2}


def test_accounts_that_follow_the_fleet_are_asked_for_its_new_series_once(household: Household) -> None:
    years = Years(household)
    household.registry.outcomes.follow_fleet([Series.MAX_POWER, Series.CONTRACT], household.at)
    years.live(2)
    assert years.asked == {"nightly contract": 1, "nightly max_power": 1, "backfill max_power": 3}


def test_a_contract_has_a_row_for_each_change(household: Household) -> None:
    years = Years(household, Series.CONTRACT)
    years.live(1)
    first = household.history.today() - 2 * ONE_DAY
    years.live(65)
    assert years.rows(Series.CONTRACT) == {str(first): 9.0}
    household.supplier.others[Series.CONTRACT] = contract(12)
    years.live(40)
    rows = years.rows(Series.CONTRACT)
    assert list(rows.values()) == [9.0, 12.0]
    outcome = household.registry.outcomes.load(years.home)[Series.CONTRACT]
    assert outcome.last_day is not None and str(outcome.last_day) >= max(rows)
    assert household.registry.completeness.load_ledger(years.home, Series.CONTRACT).next_ask(Series.CONTRACT) is None


def test_a_loss_of_redis_asks_no_contract_again(household: Household) -> None:
    years = Years(household, Series.CONTRACT)
    years.live(3)
    years.asked.clear()
    household.lose_redis()
    years.live(5)
    assert years.asked == {}
    assert household.history.count_days(years.home, Series.CONTRACT) == (1, 1)
    assert household.history.missing_windows(years.home, Series.CONTRACT) == []


def test_the_days_of_a_contract_are_not_made_anew_from_its_rows(household: Household) -> None:
    years = Years(household, Series.CONTRACT)
    years.live(70)
    ledgers = household.registry.completeness
    before = str(ledgers.load_ledger(years.home, Series.CONTRACT))
    assert not rebuild_days(household.measures, ledgers, years.home, Series.CONTRACT, household.history.today())
    assert str(ledgers.load_ledger(years.home, Series.CONTRACT)) == before


def test_no_call_is_spent_below_the_activation_that_a_contract_tells(household: Household) -> None:
    years = Years(household, Series.CONTRACT)
    activated = household.history.today() - 100 * ONE_DAY
    household.supplier.others[Series.CONTRACT] = contract(9, f"{activated}+02:00")
    years.live(1)
    assert household.registry.accounts.get(years.home).first_day == activated
    household.registry.outcomes.switch(years.home, Series.MAX_POWER, SeriesSwitch.ON, household.at)
    household.supplier.asked.clear()
    years.live(2)
    asked = [window for series, window in household.supplier.asked if series is Series.MAX_POWER]
    assert asked and min(window.start for window in asked) == activated
    assert household.is_loaded(years.home, Series.MAX_POWER)
    household.supplier.asked.clear()
    household.lose_redis()
    years.live(2)
    assert all(window.start >= activated for _, window in household.supplier.asked)


def test_a_state_of_an_answer_that_comes_late_is_compared_with_the_row_before_it(household: Household) -> None:
    years, today = Years(household, Series.CONTRACT), household.history.today()

    def tell(day: date, power: int, asked_at: datetime) -> None:
        household.supplier.others[Series.CONTRACT] = contract(power)
        before, household.at = household.at, asked_at
        job = household.claims.to_job(years.home, Series.CONTRACT, DateWindow(day, day + ONE_DAY))
        assert household.run(job) is not None
        household.at = before

    days = [today - number * ONE_DAY for number in (9, 5, 1)]
    moments = [datetime.combine(day + ONE_DAY, time(9), PARIS) for day in days]
    tell(days[0], 6, moments[0])
    tell(days[2], 9, moments[2])
    tell(days[1], 9, moments[1])
    assert years.rows(Series.CONTRACT) == {str(days[0]): 6.0, str(days[1]): 9.0}
    corrections = household.registry.corrections
    assert corrections.count_since(household.at - timedelta(days=1)) == {}, "a row that moved is no correction"


@pytest.mark.parametrize("kind", ["nightly", "backfill"])
def test_a_series_that_is_not_offered_ends_and_the_account_goes_on(household: Household, kind: str) -> None:
    home = household.add()
    household.registry.outcomes.switch(home, Series.REGISTERS, SeriesSwitch.ON, household.at)
    household.supplier.others = {Series.REGISTERS: SeriesNotOffered("ADAM-ERR0069: no such series")}
    job = (
        household.claim_look_back(home, Series.REGISTERS)
        if kind == "nightly"
        else household.claim_history(home, Series.REGISTERS)
    )
    assert household.run(job) is None
    account = household.registry.accounts.get(home)
    assert (account.state, account.reason) == (AccountState.READY, "")
    assert Series.REGISTERS not in household.registry.outcomes.collected(home)
    assert household.registry.outcomes.load(home)[Series.REGISTERS].code == SeriesNotOffered.code
    assert not any(household.claims.in_flight(lane) for lane in ("nightly", "backfill"))
    assert household.incidents.list_open() == []
    assert household.claim_due_notices() == []
    assert all(row.series is not Series.REGISTERS for row in household.registry.due.list_again(household.at, 100))


def test_a_mistaken_refusal_of_many_meters_ends_no_series_that_was_served(household: Household) -> None:
    years = Years(household, Series.MAX_POWER)
    years.live(3)
    refusal: WorkerError = SeriesNotOffered("ADAM-ERR0069")
    household.supplier.others[Series.MAX_POWER] = refusal
    years.live(10)
    assert household.registry.outcomes.collected(years.home) == [Series.MAX_POWER]
    household.supplier.others[Series.MAX_POWER] = highest_powers
    years.live(8)
    assert household.registry.outcomes.load(years.home)[Series.MAX_POWER].code is None
