"""Rule K7: what no meter can deliver is no reading, of a curve as of daily values, by an answer as by a file."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from tests.support.factories import NOW, content, curve_of, memory_measures, serving_curves, serving_days, window_job
from tests.support.made_files import curve_file, days_file, importer_in_memory
from tests.support.whole_homes import sync_entries
from tests.support.window_runs import sync_curve, sync_days
from tests.unit.conftest import Household
from worker.cli.import_files import _describe, _row_of
from worker.domain.answers import DeviationKind
from worker.domain.completeness import DayMark, DayState, civil_day
from worker.domain.consistency import Cause, Law
from worker.domain.documents import DAILY_LIMIT_KWH, Entry, to_document
from worker.domain.messages import WindowJob
from worker.domain.series import Doctype, Series, SeriesSwitch
from worker.domain.windows import ONE_DAY, DateWindow
from worker.stores.measures.measure_store import MeasureStore
from worker.sync.history import rebuild_days
from worker.web.pages.files import _to_found
from worker.web.texts import Words

DAY = date(2024, 7, 10)
SEVEN = f"{DAY}T05:00Z"  # 07:00 in summer.
KVA = 1_000_000
A_KILOWATT = 1000


def spiked(day: date, watts: int, minutes: int = 30, at: int = 14) -> list[Any]:
    """Return a curve of 300 W and more with a power in one step, of half-hours the one at 07:00."""
    rows = [list(row) for row in curve_of(day, 300, minutes)]
    rows[at][1] = str(watts)
    return rows


def subscribe(measures: Any, power: int, since: date = DAY, account: str = "home1") -> None:
    row = Entry(str(since), power * KVA, details={"tariff": "BTINFCUST"})
    measures.write({Doctype.CONTRACT: [to_document(account, Doctype.CONTRACT, row, NOW)]})


class Home:
    """An account whose values of July are stored; ``serve`` changes what the supplier answers."""

    def __init__(self, household: Household) -> None:
        self.household, self.account, self.asked = household, household.add(), list[WindowJob]()
        days = [household.history.today() - age * ONE_DAY for age in range(1, 7)]
        self.day = days[2]
        self.key = f"{self.day}T05:00Z"
        self.rows: dict[date, Any] = {day: curve_of(day, 300) for day in days}
        self.values = {day: round(sum(int(row[1]) for row in rows) / 2) for day, rows in self.rows.items()}
        self.look_back()
        self.auditor = household.build_auditor(self.asked.append)

    def look_back(self, **changed: Any) -> None:
        """Ask for the last days, some of them with other values for this once."""
        self.household.supplier.daily = serving_days({**self.values, **changed.get("values", {})})
        self.household.supplier.curve = serving_curves({**self.rows, **changed.get("rows", {})})
        self.household.look_back(self.account)

    def spike(self, watts: int = 1_000_000) -> None:
        self.look_back(rows={self.day: spiked(self.day, watts)})

    def lose(self, key: str) -> None:
        del self.household.measures[Doctype.MINUTE].documents[f"{self.account}:{key}"]

    def mark(self, series: Series = Series.LOAD_CURVE) -> DayMark:
        return self.household.registry.completeness.load_ledger(self.account, series).mark_of(self.day)

    def found(self) -> list[tuple[Law, str, Cause]]:
        findings = self.auditor.verify_account(self.account).findings
        return [(finding.law, finding.key, finding.cause) for finding in findings]


@pytest.fixture
def home(household: Household) -> Home:
    return Home(household)


def steps_of(measures: MeasureStore, account: str = "home1") -> dict[str, float]:
    return content(measures, account)[Doctype.MINUTE]


# -- What is set aside


@pytest.mark.parametrize("minutes, at", [(60, 7), (30, 14), (10, 42)])
def test_a_step_above_the_limit_of_a_day_in_half_a_day_is_set_aside_without_a_contract(minutes: int, at: int) -> None:
    """N5: a curve of 1 MW was stored and shown."""
    measures, most = memory_measures(), round(DAILY_LIMIT_KWH / 12 * A_KILOWATT)
    result = sync_curve(measures, {DAY: spiked(DAY, most + 1, minutes, at)})
    steps = 24 * 60 // minutes
    assert (result["facts"]["fetched"], list(result["facts"]["set_aside"])) == (steps - 1, [str(DAY)])
    assert SEVEN not in steps_of(measures) and len(steps_of(measures)) == steps - 1
    assert sum(content(measures)[Doctype.HOUR].values()) == pytest.approx(sum(steps_of(measures).values()), abs=0.002)
    assert result["facts"]["open"] == {str(DAY): 24 * 60 - minutes}
    result = sync_curve(measures, {DAY: spiked(DAY, most, minutes, at)})
    assert (result["facts"]["set_aside"], len(steps_of(measures))) == ({}, steps)


@pytest.mark.parametrize("minutes, at", [(60, 7), (30, 14), (10, 42)])
def test_a_step_above_twice_the_subscribed_power_is_set_aside(minutes: int, at: int) -> None:
    measures = memory_measures()
    subscribe(measures, 6)
    sync_curve(measures, {DAY: spiked(DAY, 12_001, minutes, at)})
    assert SEVEN not in steps_of(measures)
    sync_curve(measures, {DAY: spiked(DAY, 12_000, minutes, at)})
    assert steps_of(measures)[SEVEN] == 12 * minutes / 60


@pytest.mark.parametrize("day, hours", [(DAY, 24), (date(2024, 3, 31), 23), (date(2023, 10, 29), 25)])
def test_a_day_above_twice_the_subscribed_power_in_all_its_hours_is_set_aside(day: date, hours: int) -> None:
    """N5: of a contract of 6 kVA, a day of 800 kWh was stored."""
    measures = memory_measures()
    subscribe(measures, 6, day)
    assert sync_days(measures, {day: 12_000 * hours + 1})["facts"]["set_aside"] == {str(day): 12_000_000 * hours + 1000}
    assert content(measures)[Doctype.DAY] == content(measures)[Doctype.MONTH] == {}
    sync_days(measures, {day: 12_000 * hours})
    assert content(measures)[Doctype.DAY] == {str(day): 12.0 * hours}


def test_what_a_large_contract_delivers_is_stored_and_stays_where_an_answer_lacks_it() -> None:
    measures, day = memory_measures(), {DAY: 1_500_000}
    subscribe(measures, 120)
    result = sync_days(measures, day)
    assert (result["facts"]["set_aside"], result["facts"]["fetched"], result["facts"]["last_day"]) == ({}, 1, str(DAY))
    sync_days(measures, {DAY + ONE_DAY: 9000}, window=DateWindow(DAY, DAY + 2 * ONE_DAY))
    assert content(measures)[Doctype.DAY] == {str(DAY): 1500.0, str(DAY + ONE_DAY): 9.0}
    sync_curve(measures, {DAY: spiked(DAY, 200_000)})
    assert steps_of(measures)[SEVEN] == 100.0


def test_the_contract_of_the_day_counts() -> None:
    measures, next_day = memory_measures(), DAY + ONE_DAY
    subscribe(measures, 12, DAY - 30 * ONE_DAY)
    subscribe(measures, 6, next_day)
    sync_curve(measures, {DAY: spiked(DAY, 20_000), next_day: spiked(next_day, 20_000)})
    assert steps_of(measures)[SEVEN] == 10.0
    assert f"{next_day}T05:00Z" not in steps_of(measures)


def test_before_the_first_contract_that_was_told_another_one_may_have_held() -> None:
    measures = memory_measures()
    subscribe(measures, 6, DAY + ONE_DAY)
    sync_curve(measures, {DAY: spiked(DAY, 20_000)})
    assert steps_of(measures)[SEVEN] == 10.0


@pytest.mark.parametrize("power, stored", [(0, 70), (6, 70)])
def test_a_contract_that_tells_no_power_and_one_of_consumption_bound_nothing_else(power: int, stored: int) -> None:
    series = Series.PRODUCTION_LOAD_CURVE if power else Series.LOAD_CURVE
    measures, window = memory_measures(), DateWindow(DAY, DAY + ONE_DAY)
    subscribe(measures, power)
    rows = [Entry(SEVEN, 70 * 500_000), Entry(f"{DAY}T05:30Z", 76 * 500_000)]
    sync_entries(measures, series, rows, window)
    assert content(measures)[series.inputs] == {SEVEN: stored / 2}


# -- What comes of the day


def test_a_day_with_a_step_set_aside_keeps_its_others_is_told_once_and_heals(home: Home) -> None:
    household, series = home.household, Series.LOAD_CURVE
    home.lose(home.key)
    home.spike()
    ledger = household.registry.completeness.load_ledger(home.account, series)
    assert (home.mark(), str(home.mark())) == (DayMark(DayState.SET_ASIDE, 47, 3), "s47@3")
    assert home.day in ledger.due_days(home.day + 4 * ONE_DAY, series), "asked again on the usual days"
    (deviation,) = household.reported
    assert (deviation.kind, deviation.place) == (DeviationKind.VALUE, series.value)
    explanation = household.build_explainer().explain(household.registry.accounts.get(home.account), home.day)
    assert "it is impossible for a meter" in explanation.series[series].sentences["en"]
    assert explanation.series[series].stored.half_hours == 47
    assert home.found() == [(Law.LIMIT, str(home.day), Cause.SET_ASIDE)]
    home.spike()
    assert len({deviation.fingerprint for deviation in household.reported}) == 1, "so there is one notice"
    home.look_back()
    assert (home.mark().complete, home.found()) == (True, [])


def test_a_day_of_impossible_steps_alone_is_no_missing_curve(home: Home) -> None:
    for key in [key for key in steps_of(home.household.measures, home.account) if home.day == civil_day(key)]:
        home.lose(key)
    home.look_back(rows={home.day: curve_of(home.day, 1_000_000)})
    assert home.mark() == DayMark(DayState.SET_ASIDE, 0, 3)


def test_a_stored_step_stays_where_an_impossible_one_comes_and_the_day_is_open(home: Home) -> None:
    home.spike()
    stored = home.household.measures[Doctype.MINUTE].documents[f"{home.account}:{home.key}"]
    assert stored["load"] == (300 + 14) / 2000
    assert (home.mark(), home.mark().open) == (DayMark(DayState.SET_ASIDE, 48, 3), True)


def test_an_older_impossible_answer_that_arrives_after_the_right_one_is_late_and_not_set_aside(home: Home) -> None:
    household, window = home.household, DateWindow(home.day, home.day + ONE_DAY)
    household.supplier.curve = serving_curves({home.day: spiked(home.day, 1_000_000)})
    older = household.window_sync.fetch(household.claims.to_job(home.account, Series.LOAD_CURVE, window))
    household.at += timedelta(minutes=1)
    home.look_back(rows={home.day: spiked(home.day, 5_000)})
    changes = household.window_sync.filter_known(older)
    assert (changes["facts"]["set_aside"], changes["late_days"]) == ({}, [str(home.day)])


def test_the_steps_of_a_day_with_one_set_aside_are_looked_for(home: Home) -> None:
    home.spike()
    home.lose(f"{home.day}T08:00Z")
    window = DateWindow(home.day, home.day + ONE_DAY)
    assert (Law.STORED, str(window), Cause.MISSING_DOCUMENTS) in home.found()
    ledgers, today = home.household.registry.completeness, home.household.history.today()
    rebuild_days(home.household.measures, ledgers, home.account, Series.LOAD_CURVE, today)
    assert home.mark() == DayMark(DayState.SET_ASIDE, 47, 3), "states that are computed again tell what is stored"


def test_what_a_version_before_stored_stays_is_named_and_asked_for_again(home: Home) -> None:
    household = home.household
    household.measures[Doctype.MINUTE].documents[f"{home.account}:{home.key}"]["load"] = 500.0
    household.measures[Doctype.DAY].documents[f"{home.account}:{home.day}"]["load"] = 800.0
    household.registry.outcomes.switch(home.account, Series.CONTRACT, SeriesSwitch.ON, household.at)
    subscribe(household.measures, 6, home.day - 30 * ONE_DAY, home.account)
    home.look_back(rows={home.day: spiked(home.day, 1_000_000)}, values={home.day: 800_000})
    assert steps_of(household.measures, home.account)[home.key] == 500.0
    assert content(household.measures, home.account)[Doctype.DAY][str(home.day)] == 800.0
    result = home.auditor.verify_account(home.account)
    limits = [finding for finding in result.findings if finding.law is Law.LIMIT]
    assert [(finding.key, finding.expected, finding.stored, finding.cause) for finding in limits] == [
        (str(home.day), 288 * 10**6, 800 * 10**6, Cause.BEYOND_LIMIT),
        (home.key, 6 * 10**6, 500 * 10**6, Cause.BEYOND_LIMIT),
    ]
    home.auditor.repair_account(replace(result, findings=limits))
    assert [(job["series"], job["start"]) for job in home.asked] == [
        ("daily", str(home.day)),
        ("load_curve", str(home.day)),
    ]


def test_a_day_that_a_worker_of_the_version_before_set_aside_stays_so(home: Home) -> None:
    """Its ``fetch`` knows the limit of daily values alone."""
    sync = home.household.window_sync
    home.household.supplier.curve = serving_curves({home.day: spiked(home.day, 1_000_000)})
    home.household.supplier.daily = serving_days({home.day: 1_000_000})
    window = DateWindow(home.day, home.day + ONE_DAY)
    home.household.measures[Doctype.DAY].documents.clear()
    fetched = sync.fetch(window_job(window, Series.DAILY, home.account))
    assert fetched["facts"]["set_aside"] == {str(home.day): 1_000_000_000}, "its next steps store what they get"
    result = sync.store(sync.aggregate(sync.filter_known(fetched)))
    assert (result["facts"]["set_aside"], result["created"]) == ({str(home.day): 1_000_000_000}, 0)


# -- Requests


def test_no_contract_is_read_for_plausible_values_nor_for_high_ones_that_are_stored(home: Home) -> None:
    household, subscribed = home.household, 12
    contracts = household.measures[Doctype.CONTRACT]
    assert contracts.requests == 0, "a first sync"
    subscribe(household.measures, subscribed, home.day, home.account)
    home.rows[home.day], home.values[home.day] = spiked(home.day, 20_000), 250_000
    before = contracts.requests
    home.look_back()
    assert contracts.requests == before + 2
    home.look_back()
    assert contracts.requests == before + 2, "an unchanged sync"
    assert steps_of(household.measures, home.account)[home.key] == 10.0


# -- Files


def test_a_row_of_a_file_that_no_meter_can_deliver_is_unusable_and_the_others_are_stored() -> None:
    """HH4: a row of 99 999 999 W was stored, and would have ruined the scale of the energy dashboard."""
    importer = importer_in_memory(memory_measures())
    files: Any = importer.outcomes
    file = curve_file({DAY: spiked(DAY, 99_999_999)})
    found = importer.compare(file, "home1")
    assert (found.left_out, found.days_new) == (1, 1)
    assert found.amount is not None and found.amount < 20 * 10**6
    assert _describe(found, None, None).endswith(", 1 value unusable")
    assert ("import.left_out", "1") in _to_found(found, Words("en")).facts
    assert _row_of(found, None, None)["unusable"] == 1
    importer.store(file, "home1")
    assert SEVEN not in steps_of(importer.window_sync.measures)
    assert len(steps_of(importer.window_sync.measures)) == 47
    mark = files.ledger.mark_of(DAY)
    assert (mark.state, mark.half_hours, mark.open, mark.asked) == (DayState.PARTIAL, 47, True, False)


def test_a_file_is_bound_by_the_contract() -> None:
    importer = importer_in_memory(memory_measures())
    subscribe(importer.window_sync.measures, 6)
    for file in (curve_file({DAY: spiked(DAY, 12_001)}), days_file({DAY: 300_000, DAY + ONE_DAY: 9000})):
        assert importer.compare(file, "home1").left_out == 1
        assert importer.compare(file, None).left_out == 0, "of a new account no contract is known"
        importer.store(file, "home1")
    assert SEVEN not in steps_of(importer.window_sync.measures)
    assert list(content(importer.window_sync.measures)[Doctype.DAY]) == [str(DAY + ONE_DAY)]


def test_a_day_of_a_file_with_impossible_steps_alone_is_still_to_be_asked_for() -> None:
    importer = importer_in_memory(memory_measures())
    files: Any = importer.outcomes
    importer.store(curve_file({DAY: curve_of(DAY, 1_000_000), DAY + ONE_DAY: curve_of(DAY + ONE_DAY, 300)}), "home1")
    assert files.ledger.mark_of(DAY).state is DayState.UNKNOWN
    assert files.ledger.mark_of(DAY + ONE_DAY).state is DayState.FILE
