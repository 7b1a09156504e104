"""The explanation of one day: its reason, stored values, calls, corrections and totals."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from tests.support.factories import curve_of, serving_curves, serving_days
from tests.unit.conftest import Household
from worker.accounts.explanations import Explanation
from worker.accounts.status import explanation_to_json
from worker.domain.account import AccountState
from worker.domain.answers import DeviationKind
from worker.domain.calls import AnswerClass
from worker.domain.completeness import DayState
from worker.domain.consistency import Cause, Law
from worker.domain.reasons import Reason
from worker.domain.series import USUAL_SERIES, Doctype, Series
from worker.domain.windows import ONE_DAY, PARIS
from worker.errors import (
    RateLimited,
    RefreshTokenDead,
    SupplierFault,
    SupplierLimited,
    SupplierTooSlow,
    UnexpectedError,
    WrongUnit,
)

METER = "30001640000011"


class Home:
    """A month of both series that agree, but three days ago the curve is partial and five days ago it is missing."""

    def __init__(self, household: Household) -> None:
        self.household, self.account = household, household.add()
        self.today = household.history.today()
        days = [self.day(age) for age in range(1, 31)]
        self.rows = {day: curve_of(day, 100) for day in days if day != self.day(5)}
        self.values = dict.fromkeys(days, round(sum(int(row[1]) for row in self.rows[days[0]]) / 2))
        self.rows[self.day(3)] = self.rows[self.day(3)][2:]
        self.serve()
        household.backfill(self.account)
        self.look_back()
        self.explainer = household.build_explainer()
        self.corrections = household.registry.corrections

    def day(self, age: int) -> date:
        return self.today - age * ONE_DAY

    def serve(self) -> None:
        self.household.supplier.daily, self.household.supplier.curve = (
            serving_days(self.values),
            serving_curves(self.rows),
        )

    def look_back(self, *series: Series) -> None:
        self.household.look_back(self.account, *series)

    def night(self) -> None:
        for series in USUAL_SERIES:
            self.household.run(self.household.claim_look_back(self.account, series))

    def explain(self, age: int) -> Explanation:
        return self.explainer.explain(self.household.registry.accounts.get(self.account), self.day(age))


@pytest.fixture
def home(household: Household) -> Home:
    return Home(household)


def test_a_whole_day_is_told_in_full(home: Home) -> None:
    explanation = home.explain(2)
    assert explanation.reason is Reason.COMPLETE
    assert explanation.sentences["fr"] == "Nous avons reçu les données du 23 juillet 2024 en entier."
    assert explanation.discrepancies == []
    curve = explanation.series[Series.LOAD_CURVE]
    assert (curve.stored.half_hours, curve.stored.gaps) == (48, [])
    assert curve.stored.amount == explanation.series[Series.DAILY].stored.amount
    assert [(call.answer, call.run) for call in curve.calls] == [(AnswerClass.DATA, "hand")]


def test_a_torn_day_names_what_is_missing_and_when_it_is_asked_for(home: Home) -> None:
    home.night()
    explanation = home.explain(3)
    assert explanation.reason is Reason.PARTIAL
    assert explanation.sentences["en"] == (
        "Enedis has sent only 46 of the 48 half-hours of the curve for 22 July 2024; we will request it again on "
        "26 July 2024 at 00:45."
    )
    ((first, after),) = explanation.series[Series.LOAD_CURVE].stored.gaps
    assert (first.isoformat(), after.isoformat()) == ("2024-07-22T00:00:00+02:00", "2024-07-22T01:00:00+02:00")
    assert first.tzinfo is PARIS
    assert explanation.series[Series.DAILY].reason is Reason.COMPLETE


def test_a_lost_day_between_others_is_a_gap_of_the_transmission(home: Home) -> None:
    explanation = home.explain(5)
    assert (explanation.reason, explanation.series[Series.DAILY].reason) == (Reason.CURVE_GAP, Reason.COMPLETE)
    assert explanation.series[Series.LOAD_CURVE].mark.state is DayState.LATE
    assert explanation.series[Series.LOAD_CURVE].stored.amount is None
    assert explanation.discrepancies == []


def test_a_curve_that_nobody_switched_on_is_said_to_be_so(household: Household) -> None:
    home = Home(household)
    other = household.add(22)
    home.rows.clear()
    home.serve()
    household.backfill(other)
    explanation = home.explainer.explain(household.registry.accounts.get(other), home.day(4))
    assert explanation.reason is Reason.NOT_ACTIVATED
    assert "espace client Enedis" in explanation.sentences["fr"]


@pytest.mark.parametrize(
    "error, reason, cause",
    [
        (SupplierTooSlow("20 s"), Reason.OUTAGE, "Enedis did not answer in time."),
        (SupplierFault("503"), Reason.OUTAGE, "Enedis reported an error of its own server."),
        (RateLimited("wait", 3600), Reason.QUOTA, "Enedis limits the number of calls, so we space them out."),
        (SupplierLimited("429", 3600), Reason.QUOTA, "Enedis asks us to wait"),
        (WrongUnit("kW"), Reason.MALFORMED, "uses another unit than the one requested"),
        (KeyError("unforeseen"), Reason.BUG, "Our software has failed because of a bug."),
    ],
)
def test_what_the_last_try_met_is_told_until_an_answer_comes(
    home: Home, error: Exception, reason: Reason, cause: str
) -> None:
    home.household.at += timedelta(days=1)
    home.today = home.household.history.today()
    assert home.explain(1).reason is Reason.NOT_ASKED_YET
    home.household.supplier.daily = home.household.supplier.curve = error
    for series in USUAL_SERIES:
        job = home.household.claims.manual_look_back(home.account, series)
        try:
            home.household.run(job)
        except KeyError:  # tasks.base records an unforeseen error in the same way.
            home.household.results.record_failure(job, UnexpectedError("unexpected KeyError"))
    explanation = home.explain(1)
    assert explanation.reason is reason
    assert cause in explanation_to_json(explanation)["series"]["daily"]["last_run"]["cause"]["en"]
    assert home.explain(2).reason is Reason.COMPLETE, "what is stored stays stored"
    home.household.at += timedelta(hours=6)
    home.serve()
    home.look_back()
    assert home.explain(1).reason is Reason.LATE


def test_a_consent_that_ended_is_why_nothing_new_comes(home: Home) -> None:
    home.household.at += timedelta(days=1)
    home.today = home.household.history.today()
    home.household.supplier.daily = RefreshTokenDead("refused")
    home.look_back(Series.DAILY)
    explanation = home.explain(1)
    assert explanation.account.state is AccountState.ACTION_NEEDED
    assert explanation.reason is Reason.CONSENT_REFUSED
    assert home.explain(0).reason is Reason.NOT_OVER
    assert home.explain(-1).reason is Reason.FUTURE


def test_corrections_of_the_day_are_listed_and_totals_that_disagree_are_named(home: Home) -> None:
    day = home.day(2)
    was = home.values[day]
    home.values[day] += 700
    home.serve()
    home.look_back(Series.DAILY)
    home.household.measures[Doctype.MONTH].documents[f"{home.account}:2024-07"]["load"] = 1.0
    explanation = home.explain(2)
    (correction,) = explanation.corrections
    assert (correction.was_amount, correction.became_amount) == (was * 1000, (was + 700) * 1000)
    assert [(discrepancy.law, discrepancy.cause) for discrepancy in explanation.discrepancies or ()] == [
        (Law.DAY, Cause.REPROCESSED),
        (Law.MONTH, Cause.STALE_TOTAL),
    ]
    assert home.explain(4).corrections == []


def test_a_value_that_no_meter_can_reach_is_set_aside_told_and_asked_for_again(home: Home) -> None:
    day = home.day(2)
    right, home.values[day] = home.values[day], 99_985_000
    del home.household.measures[Doctype.DAY].documents[f"{home.account}:{day}"]
    home.serve()
    home.look_back(Series.DAILY)
    explanation = home.explain(2)
    assert explanation.reason is Reason.SET_ASIDE
    assert "it is impossible for a meter" in explanation.sentences["en"]
    assert f"{home.account}:{day}" not in home.household.measures[Doctype.DAY].documents
    assert {deviation.kind for deviation in home.household.reported} == {DeviationKind.VALUE}
    ledger = home.household.registry.completeness.load_ledger(home.account, Series.DAILY)
    assert day in ledger.due_days(home.today + 2 * ONE_DAY, Series.DAILY)
    home.values[day] = right
    home.serve()
    home.look_back(Series.DAILY)
    assert home.explain(2).series[Series.DAILY].reason is Reason.COMPLETE


def test_a_loss_of_redis_costs_the_calls_and_nothing_else(home: Home) -> None:
    before = home.explain(3)
    home.household.lose_redis()
    after = home.explain(3)
    assert (after.reason, after.sentences, after.discrepancies) == (
        before.reason,
        before.sentences,
        before.discrepancies,
    )
    assert not any(series.calls for series in after.series.values())


def test_an_explanation_names_no_meter(home: Home) -> None:
    explanation = explanation_to_json(home.explain(3))
    assert METER not in str(explanation)
    assert explanation["series"]["load_curve"]["missing"] == [
        ["2024-07-22T00:00:00+02:00", "2024-07-22T01:00:00+02:00"]
    ]
    assert (explanation["series"]["load_curve"]["half_hours"], explanation["series"]["load_curve"]["of"]) == (46, 48)
    assert explanation["totals"] == {"agree": True, "findings": []}


def test_a_day_that_nobody_knows_is_explained_too(household: Household) -> None:
    home = Home(household)
    explanation = home.explainer.explain(household.registry.accounts.get(household.add(22)), home.day(2000))
    assert (explanation.reason, explanation.discrepancies) == (Reason.BEYOND_HISTORY, None)


@pytest.mark.parametrize(
    "asked, now, again",
    [
        ("02:29", "02:29", "we will request it again today at 08:30."),
        ("08:40", "09:00", "we will request it again today at 14:30."),
        ("14:31", "14:45", "we will request it again today at 15:30."),
        ("15:31", "16:00", "we will request it again on 27 July 2024 at 00:45."),
    ],
)
def test_the_sentence_of_a_late_day_tells_the_true_time_of_the_next_call(
    household: Household, asked: str, now: str, again: str
) -> None:
    home = Home(household)
    household.at = datetime.fromisoformat(f"2024-07-26T{asked}").replace(tzinfo=PARIS)
    home.night()
    household.at = datetime.fromisoformat(f"2024-07-26T{now}").replace(tzinfo=PARIS)
    explanation = home.explainer.explain(household.registry.accounts.get(home.account), date(2024, 7, 25))
    daily = explanation.series[Series.DAILY]
    assert daily.reason is Reason.LATE
    assert daily.sentences["en"] == f"Enedis has not yet published the total for 25 July 2024; {again}"


def test_a_paused_account_is_asked_at_no_time(home: Home) -> None:
    assert home.explain(3).series[Series.LOAD_CURVE].asked_next is not None
    home.household.registry.accounts.set_state(home.account, AccountState.PAUSED, now=home.household.at)
    assert home.explain(3).series[Series.LOAD_CURVE].asked_next is None
