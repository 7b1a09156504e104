"""Made-up gas homes: what they burn, when it is told, and what their truth says."""

from __future__ import annotations

from collections import Counter
from datetime import date
from itertools import pairwise
from typing import Any

import pytest

from simulator.gas_homes import PeriodCuts, pretend_gas_home
from tests.support.grdf_caller import PCE, GasCaller

HOMES = [f"{number:014d}" for number in range(40)]
YEARS = ("2021-11-05", "2024-11-05")


@pytest.fixture
def grdf() -> GasCaller:
    caller = GasCaller()
    caller.give_right()
    return caller


def test_a_home_repeats_and_others_differ(grdf: GasCaller) -> None:
    again = GasCaller()
    assert grdf.truth("gas_daily", *YEARS) == again.truth("gas_daily", *YEARS)
    homes = [pretend_gas_home(pce, 1, False) for pce in HOMES]
    assert len({home.annual_reference for home in homes}) > 30
    assert Counter(home.frequency for home in homes).keys() == {"1M", "6M"}
    assert {home.no_daily_code for home in homes} == {"1000010", "1000008"}


def test_a_home_burns_in_winter_little_in_summer_and_nothing_on_holiday(grdf: GasCaller) -> None:
    days = grdf.truth("gas_daily", *YEARS)
    january = sum(value["load"] for day, value in days.items() if day[5:7] == "01")
    july = sum(value["load"] for day, value in days.items() if day[5:7] == "07")
    assert january > 5 * july > 0
    assert sum(value["load"] == 0 for value in days.values()) > 20
    assert all(isinstance(value["volume"], int) and value["load"] >= 0 for value in days.values())


def test_volume_index_and_energy_agree_but_not_exactly(grdf: GasCaller) -> None:
    days = grdf.truth("gas_daily", *YEARS)
    whole = [value for value in days.values() if "index_start" in value]
    off_by_one = [value for value in whole if value["index_end"] - value["index_start"] != value["volume"]]
    assert 0.1 < len(off_by_one) / len(whole) < 0.5
    assert all(abs(value["index_end"] - value["index_start"] - value["volume"]) <= 1 for value in whole)
    assert any(value["load"] != round(value["volume"] * value["coefficient"]) for value in whole)
    assert all(11 < value["coefficient"] < 11.3 for value in whole)


def test_a_rare_day_has_no_data_and_the_next_one_no_first_index(grdf: GasCaller) -> None:
    records = grdf.records("informatives", "2021-11-05")
    gaps = [rank for rank, one in enumerate(records) if one["consommation"]["energie"] is None]
    assert 1 <= len(gaps) <= 10
    gap = records[gaps[0]]["consommation"]
    assert gap["type_qualif_conso"] == "Absence de Données" and gap["volume_brut"] is None
    following = records[gaps[0] + 1]
    assert following["releve_debut"]["index_brut_debut"]["valeur_index"] is None
    assert following["consommation"]["energie"] is not None
    assert gap["journee_gaziere"] not in grdf.truth("gas_daily", *YEARS)


def test_answers_and_truth_are_the_same_days_and_periods(grdf: GasCaller) -> None:
    days = grdf.truth("gas_daily", "2024-01-01", "2024-11-05")
    told = {
        one["consommation"]["journee_gaziere"]: one["consommation"]["energie"]
        for one in grdf.records("informatives", "2024-01-01")
        if one["consommation"]["energie"] is not None
    }
    assert {day: value["load"] for day, value in days.items()} == told
    periods = grdf.truth("gas_published", "2020-01-01", "2024-11-05")
    records = grdf.records("publiees", "2020-01-01")
    bounds = [
        tuple(one["consommation"][f"date_{which}_consommation"][:10] for which in ("debut", "fin")) for one in records
    ]
    assert [(start, value["ends_on"]) for start, value in periods.items()] == bounds
    assert [value["load"] for value in periods.values()] == [one["consommation"]["energie"] for one in records]


def test_periods_are_cut_at_the_first_and_at_the_reading_day_and_join(grdf: GasCaller) -> None:
    reading_day = grdf.meter()["reading_day"]
    periods = grdf.truth("gas_published", "2023-01-01", "2024-11-05")
    assert {start[8:] for start in periods} == {"01", f"{reading_day:02d}"}
    ends = [value["ends_on"] for value in periods.values()]
    assert list(periods)[1:] == ends[:-1]
    assert all(value["volume"] == value["index_end"] - value["index_start"] for value in periods.values())
    assert all(value["load"] == round(value["volume"] * value["coefficient"]) for value in periods.values())


def test_days_of_a_month_are_near_to_what_is_billed(grdf: GasCaller) -> None:
    days, periods = (grdf.truth(series, "2022-01-01", "2024-10-01") for series in ("gas_daily", "gas_published"))
    daily: Counter[str] = Counter()
    billed: Counter[str] = Counter()
    for totals, values in ((daily, days), (billed, periods)):
        for key, value in values.items():
            totals[key[:7]] += value["load"]
    assert max(abs(daily[month] - billed[month]) for month in billed) <= 14
    assert any(daily[month] != billed[month] for month in billed)


def test_a_day_is_told_one_to_three_days_later_and_final_after_the_month_is_published(grdf: GasCaller) -> None:
    seen = {}
    for hour in range(0, 24 * 5, 6):
        now = f"2024-11-{5 + hour // 24:02d}T{hour % 24:02d}:30+01:00"
        grdf.set_clock(now)
        seen[now] = "2024-11-05" in grdf.truth("gas_daily", "2024-11-05", "2024-11-20")
    first = next(now for now, is_there in seen.items() if is_there)
    assert "2024-11-06T08" < first < "2024-11-09"
    final_on = 5 + grdf.meter()["reading_day"]
    statuses = []
    for day in (final_on - 1, final_on):
        grdf.set_clock(f"2024-12-{day:02d}T09:00+01:00")
        statuses.append({value["status"] for value in grdf.truth("gas_daily", "2024-11-01", "2024-12-01").values()})
    assert statuses == [{"provisional"}, {"final"}]


def test_some_days_are_corrected_when_they_become_final(grdf: GasCaller) -> None:
    days = [grdf.truth("gas_daily", "2024-10-01", "2024-11-01")]
    grdf.set_clock("2024-11-20T09:00+01:00")
    days.append(grdf.truth("gas_daily", "2024-10-01", "2024-11-01"))
    changed = [day for day in days[0] if days[0][day]["load"] != days[1][day]["load"]]
    assert 1 <= len(changed) <= 10
    assert {(days[0][day]["quality"], days[1][day]["quality"]) for day in changed} == {("estimated", "corrected")}


def test_a_period_is_published_after_its_reading(grdf: GasCaller) -> None:
    reading_day = grdf.meter()["reading_day"]
    grdf.set_clock(f"2024-11-{reading_day + 2:02d}T07:00+01:00")
    assert max(grdf.truth("gas_published", "2024-09-01", "2024-12-01")) == "2024-10-01"
    grdf.set_clock(f"2024-11-{reading_day + 2:02d}T08:00+01:00")
    assert max(grdf.truth("gas_published", "2024-09-01", "2024-12-01")) == "2024-11-01"


def test_a_meter_that_is_read_twice_a_year_has_half_years(grdf: GasCaller) -> None:
    grdf.switch(frequency="6M")
    periods = grdf.truth("gas_published", "2020-01-01", "2024-11-05")
    assert all(150 < _days(start, value["ends_on"]) < 220 for start, value in periods.items())
    assert grdf.truth("gas_daily", *YEARS) == {}


@pytest.mark.parametrize(("frequency", "longest"), [("MM", 31), ("JJ", 1)])
def test_businesses_are_billed_by_month_or_by_day(grdf: GasCaller, frequency: str, longest: int) -> None:
    grdf.switch(frequency=frequency, communicating_from="2018-01-01")
    periods = grdf.truth("gas_published", "2024-01-01", "2024-11-05")
    assert max(_days(start, value["ends_on"]) for start, value in periods.items()) == longest
    assert periods["2024-03-01"]["status"] == "final"


@pytest.mark.parametrize(
    ("switches", "changed"),
    [
        ({"corrections": [{"day": "2024-10-03", "kwh": 500.5}]}, {"2024-10-03"}),
        ({"absent_days": ["2024-10-03"]}, {"2024-10-03"}),
        ({"missing_days": ["2024-10-03", "2024-10-05"]}, {"2024-10-03", "2024-10-05"}),
    ],
)
def test_switches_change_the_days_that_they_name(grdf: GasCaller, switches: dict[str, Any], changed: set[str]) -> None:
    before = grdf.truth("gas_daily", "2024-10-01", "2024-10-10")
    grdf.switch(**switches)
    after = grdf.truth("gas_daily", "2024-10-01", "2024-10-10")
    assert {day for day in before if before[day] != after.get(day)} == changed
    if "corrections" in switches:
        assert (after["2024-10-03"]["load"], after["2024-10-03"]["quality"]) == (500.5, "corrected")
    grdf.http.delete(f"/__sim__/gas/meters/{PCE}")
    assert grdf.truth("gas_daily", "2024-10-01", "2024-10-10") == before


def test_a_period_can_be_corrected_and_a_meter_be_late(grdf: GasCaller) -> None:
    before = grdf.truth("gas_published", "2024-06-01", "2024-07-01")
    grdf.switch(published_corrections=[{"day": "2024-06-01", "factor": 2.0}], delay_days=4)
    after = grdf.truth("gas_published", "2024-06-01", "2024-07-01")
    assert after["2024-06-01"]["load"] == 2 * before["2024-06-01"]["load"]
    assert max(grdf.truth("gas_daily", *YEARS)) < "2024-11-01"


def test_a_new_meter_counts_from_zero_and_a_newer_one_sends_decimals(grdf: GasCaller) -> None:
    grdf.switch(replaced_on="2024-06-10")
    days = grdf.truth("gas_daily", "2024-06-09", "2024-06-11")
    assert days["2024-06-09"]["index_end"] > 100 and days["2024-06-10"]["index_start"] == 0
    assert "2024-06-10" in grdf.truth("gas_published", "2024-06-01", "2024-07-01")
    grdf.switch(decimals=True)
    volumes = [value["volume"] for value in grdf.truth("gas_daily", "2024-10-01", "2024-10-10").values()]
    assert any(isinstance(volume, float) for volume in volumes)


def test_the_truth_of_the_contract_holds_for_every_day(grdf: GasCaller) -> None:
    meter = grdf.meter()
    truth = grdf.truth("gas_contract", "2024-11-01", "2024-11-03")
    assert (
        truth["2024-11-01"]
        == truth["2024-11-02"]
        == {
            "load": meter["annual_reference"],
            "frequency": "1M",
            "transport_tariff": "T1",
            "activated_on": meter["activated_on"],
        }
    )


def test_cuts_join_where_a_meter_becomes_a_communicating_one() -> None:
    cuts = PeriodCuts("1M", 3, date(2019, 2, 21))
    periods = cuts.between(date(2018, 1, 1), date(2019, 4, 30))
    starts = [str(start) for start, _ in periods]
    assert starts[:6] == ["2018-01-01", "2018-04-08", "2018-10-08", "2019-02-21", "2019-03-01", "2019-03-03"]
    assert all(end == start for (_, end), (start, _) in pairwise(periods))


@pytest.mark.parametrize("pce", ["12", "GI12345", "ABCDEFGHIJKLMN"])
def test_a_pce_that_is_none_is_told(grdf: GasCaller, pce: str) -> None:
    answer = grdf.http.get(f"/__sim__/truth/{pce}?start=2024-10-01&end=2024-10-02&series=gas_daily")
    assert (answer.status_code, "14 digits" in answer.json()["error"]) == (400, True)


def _days(start: str, end: str) -> int:
    return (date.fromisoformat(end) - date.fromisoformat(start)).days
