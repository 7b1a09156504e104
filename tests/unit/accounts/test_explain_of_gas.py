"""The explanation of a day of gas: its numbers, why it is missing, and its month beside what was published."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from tests.support.gas_household import ABSENT, CONTRACT, DAILY, NEWEST, PUBLISHED, TODAY, GasHousehold
from tests.unit.conftest import Household
from worker.accounts.explanations import Explanation, format_sentences
from worker.accounts.status import coverage_of, explanation_to_json
from worker.cli.explain import _lines, awaited_days
from worker.domain.reasons import Reason
from worker.domain.series import SeriesSwitch
from worker.domain.windows import ONE_DAY, PARIS
from worker.ops.support_bundle import _Anonymizer


def explain(home: GasHousehold, day: date) -> Explanation:
    return home.service.build_explainer().explain(home.service.registry.accounts.get(home.account), day)


@pytest.fixture
def home(household: Household) -> GasHousehold:
    return GasHousehold(household)


def test_a_day_tells_its_numbers_and_the_period_and_contract_that_hold_it(home: GasHousehold) -> None:
    explanation = explain(home, date(2024, 6, 20))
    assert list(explanation.series) == [DAILY, PUBLISHED, CONTRACT]
    assert (explanation.reason, explanation.discrepancies) == (Reason.COMPLETE, [])
    lines = list(_lines(explanation, "en"))
    assert "gas_daily: complete (complete), 33.000 kWh stored" in lines
    assert "  from 2024-06-20, volume 2.9, coefficient 11.16, quality measured, status final" in lines
    assert "gas_published: complete (complete), 921.500 kWh stored" in lines
    assert any(line.startswith("  from 2024-06-03, ends_on 2024-07-01, volume 88") for line in lines)
    assert (
        "published: 2024-06: 990.000 kWh by days, 987.500 kWh published: they agree within 1 m³ (11.160 kWh)" in lines
    )
    told = explanation_to_json(explanation)
    assert told["series"]["gas_daily"]["details"]["coefficient"] == 11.16
    assert told["published_month"] == {
        "month": "2024-06",
        "agrees": True,
        "daily_kwh": 990.0,
        "published_kwh": 987.5,
        "allowed_kwh": 11.16,
    }


@pytest.mark.parametrize(
    "day, daily, published",
    [
        (NEWEST, Reason.COMPLETE, Reason.LATE),
        (NEWEST + ONE_DAY, Reason.LATE, Reason.LATE),
        (TODAY - ONE_DAY, Reason.LATE, Reason.LATE),
        (ABSENT, Reason.GAP, Reason.LATE),
        (TODAY, Reason.NOT_OVER, Reason.NOT_OVER),
        (date(2024, 5, 31), Reason.NOT_ASKED_YET, Reason.NOT_ASKED_YET),
    ],
)
def test_why_a_day_is_missing_is_not_yet_published_or_absent(
    home: GasHousehold, day: date, daily: Reason, published: Reason
) -> None:
    explanation = explain(home, day)
    assert explanation.series[DAILY].reason is explanation.reason is daily
    assert explanation.series[PUBLISHED].reason is published
    texts = [text for one in explanation.series.values() for text in one.sentences.values()]
    assert not [text for text in texts if "Enedis" in text or "courbe" in text]


def test_a_period_is_given_up_later_than_a_day() -> None:
    """Billed periods are asked for during 400 days, daily values for two months."""
    day, now = date(2023, 5, 1), datetime(2024, 7, 25, 9, tzinfo=PARIS)
    of_day, of_period = (format_sentences(Reason.ABSENT, [series], day, now=now)["en"] for series in (DAILY, PUBLISHED))
    assert "after two months" in of_day and "after more than a year" in of_period


def test_a_meter_that_is_read_twice_a_year_says_so(household: Household) -> None:
    home = GasHousehold(household, frequency="6M")
    household.registry.outcomes.switch(home.account, DAILY, SeriesSwitch.FLEET, household.now())
    assert household.registry.outcomes.end(home.account, DAILY, "run", "no daily values", household.now())
    explanation = explain(home, date(2024, 8, 1) - 30 * ONE_DAY)
    assert (explanation.reason, next(iter(explanation.series))) == (Reason.READ_SIX_MONTHLY, DAILY)
    assert "tous les six mois" in explanation.sentences["fr"]


def test_the_days_that_wait_for_the_next_reading_are_one_line(home: GasHousehold) -> None:
    coverage = coverage_of(home.account, home.service.history)
    assert not any(one.missing for one in coverage.values())
    awaited = awaited_days(coverage[PUBLISHED])
    assert (awaited[0], awaited[-1], len(awaited)) == (date(2024, 7, 1), TODAY - ONE_DAY, 24)
    assert awaited_days(coverage[DAILY]) == []
    assert [open_day.day for open_day in coverage[DAILY].open_days] == [ABSENT, date(2024, 7, 23), date(2024, 7, 24)]


def test_a_support_bundle_without_values_has_none_of_gas_either(home: GasHousehold) -> None:
    told = explanation_to_json(explain(home, date(2024, 6, 20)))
    assert "987.5" in str(told) and "2.9" in str(told)
    cleaned = str(_Anonymizer(home.account, with_values=False).clean(told))
    assert not [text for text in ("987.5", "921.5", "2.9", "volume", home.account) if text in cleaned]
    assert "quality" in cleaned and "11.16" in cleaned
    assert _Anonymizer(home.account, with_values=True).clean("PCE GI123456, 01234567890123") == "PCE …, …"
