"""The audit of a household with panels, registers, maximum powers and a contract."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import update

from tests.support.panel_household import PanelHousehold
from tests.support.whole_homes import index_entry
from tests.unit.conftest import Household
from worker.accounts.prices import set_prices
from worker.domain.consistency import Cause, Law
from worker.domain.messages import WindowJob
from worker.domain.prices.choices import read_hours
from worker.domain.series import Doctype, Series, SeriesSwitch, of_supplier
from worker.domain.tariffs import BreakCause, SequenceBreak
from worker.domain.windows import ONE_DAY
from worker.stores.registry.tables import ACCOUNT_DETAILS, SERIES_OUTCOMES
from worker.sync.verification import AuditResult


class Home(PanelHousehold):
    def __init__(self, household: Household) -> None:
        super().__init__(household, household.add())
        self.asked = list[WindowJob]()
        self.auditor = household.build_auditor(self.asked.append)

    def verify(self) -> AuditResult:
        return self.auditor.verify_account(self.account)

    def laws(self) -> list[tuple[Series, Law, str, Cause]]:
        return [(one.series, one.law, one.key, one.cause) for one in self.verify().findings]

    def repaired(self) -> list[tuple[str, str, str]]:
        self.auditor.repair_account(self.verify())
        return [(job["series"], job["start"], job["end"]) for job in self.asked]


@pytest.fixture
def home(household: Household) -> Home:
    return Home(household)


def test_series_that_agree_have_no_finding_and_all_documents_are_looked_at(home: Home) -> None:
    result = home.verify()
    assert (result.findings, result.breaks) == ([], {})
    assert result.documents == sum(len(store.documents) for store in home.household.measures.values())


def test_production_is_compared_and_repaired_as_consumption_is(home: Home) -> None:
    day = home.days[4]
    month = home.household.measures[Doctype.PRODUCTION_MONTH].documents[f"{home.account}:2024-07"]
    month["load"] = 1.0
    assert home.laws() == [(Series.PRODUCTION_DAILY, Law.MONTH, "2024-07", Cause.STALE_TOTAL)]
    assert home.repaired() == []
    assert home.laws() == []
    home.spoil(Series.PRODUCTION_DAILY, str(day), load=99.0)
    assert (Series.PRODUCTION_LOAD_CURVE, Law.DAY, str(day), Cause.UNKNOWN) in home.laws()
    assert (Series.PRODUCTION_REGISTERS, Law.REGISTERS, str(day), Cause.UNKNOWN) in home.laws()
    window = str(day), str(day + ONE_DAY)
    assert home.repaired() == [
        ("production_daily", *window),
        ("production_load_curve", *window),
        ("production_registers", str(day), str(day + 2 * ONE_DAY)),
    ]


def test_registers_that_do_not_make_the_day_are_found_and_both_midnights_are_asked_for(home: Home) -> None:
    day, amount = home.days[9], home.entries[Series.REGISTERS][-1]
    registers = {**amount.details["registers"], "HC": 1}  # type: ignore[index]
    home.spoil(Series.REGISTERS, str(day), registers={**registers, "HC": amount.details["registers"]["HC"] + 5})  # type: ignore[index]
    before = home.days[8]
    assert home.laws() == [(Series.REGISTERS, Law.REGISTERS, str(before), Cause.UNKNOWN)]
    assert home.repaired() == [
        ("daily", str(before), str(before + ONE_DAY)),
        ("registers", str(before), str(before + 2 * ONE_DAY)),
    ]


def test_a_missing_midnight_is_no_finding_of_the_registers_law(home: Home) -> None:
    day = home.days[3]
    del home.household.measures[Doctype.INDEX].documents[f"{home.account}:{day}"]
    run = f"{day}/{day + ONE_DAY}"
    assert home.laws() == [(Series.REGISTERS, Law.STORED, run, Cause.MISSING_DOCUMENTS)]
    assert home.verify().breaks == {}


def test_a_new_sequence_of_registers_is_a_note_and_no_finding(home: Home) -> None:
    replaced = home.days[5]
    kept = home.entries[Series.REGISTERS]
    counted = {"HC": 0, "HP": 3}
    entries = [entry for entry in kept if entry.key < str(replaced)]
    for number, day in enumerate(home.days[5:]):
        entries.append(index_entry(day, counted))
        energy = home.entries[Series.DAILY][5 + number].amount // 1000
        counted = {"HC": counted["HC"], "HP": counted["HP"] + energy}
    home.sync(Series.REGISTERS, entries)
    result = home.verify()
    assert result.findings == []
    expected = SequenceBreak(home.days[4], replaced, BreakCause.METER_REPLACED)
    assert result.breaks == {Series.REGISTERS: [expected]}


def test_a_highest_power_below_a_step_or_of_another_day_is_found(home: Home) -> None:
    first, second = home.days[2], home.days[6]
    home.spoil(Series.MAX_POWER, str(first), load=0.1)
    home.spoil(Series.MAX_POWER, str(second), at=f"{first}T08:00:00+02:00")
    assert home.laws() == [
        (Series.MAX_POWER, Law.PEAK, str(first), Cause.UNKNOWN),
        (Series.MAX_POWER, Law.PEAK_DAY, str(second), Cause.OTHER_DAY),
    ]
    assert [(series, start) for series, start, _ in home.repaired()] == [
        ("load_curve", str(first)),
        ("max_power", str(first)),
    ]


def test_what_the_registry_calls_stored_and_the_measures_lack_is_named_for_every_series(home: Home) -> None:
    for store in home.household.measures.values():
        store.documents.clear()
    assert {(series, law) for series, law, *_ in home.laws()} == {
        (series, Law.STORED) for series in of_supplier("enedis")
    }
    yesterday = home.days[-1]
    asked = {series: (start, end) for series, start, end in home.repaired()}
    assert asked["contract"] == (str(yesterday), str(yesterday + ONE_DAY))
    assert asked["max_power"] == (str(home.days[0]), str(yesterday + ONE_DAY))


def test_a_contract_that_was_told_once_holds_for_the_days_after(home: Home) -> None:
    documents = home.household.measures[Doctype.CONTRACT].documents
    document = documents.pop(f"{home.account}:{home.days[-1]}")
    documents[f"{home.account}:2024-07-01"] = {**document, "_id": f"{home.account}:2024-07-01"}
    assert home.laws() == []


def test_only_series_that_the_account_has_are_looked_at_and_only_collected_ones_asked_for(home: Home) -> None:
    home.spoil(Series.MAX_POWER, str(home.days[2]), load=0.1)
    set_switch(home, Series.MAX_POWER, SeriesSwitch.ENDED, collected=False)
    assert [law for _, law, *_ in home.laws()] == [Law.PEAK]
    assert [series for series, *_ in home.repaired()] == ["load_curve"]
    set_switch(home, Series.MAX_POWER, SeriesSwitch.OFF, collected=False, ever_stored=False)
    assert home.laws() == []


def set_switch(home: Home, series: Series, switch: SeriesSwitch, **changes: object) -> None:
    columns = SERIES_OUTCOMES.c
    row = SERIES_OUTCOMES.update().where(columns.account_id == home.account, columns.series == series)
    home.household.registry.database.change(row.values(switch=switch, **changes))


def test_days_of_a_clock_change_are_no_difference(household: Household) -> None:
    household.at = household.at.replace(month=10, day=30)
    home = Home(household)
    assert date(2024, 10, 27) in home.days
    assert home.laws() == []


def test_registers_and_curve_are_compared_by_the_hours_of_the_household_and_not_where_these_can_not_be_read(
    home: Home,
) -> None:
    registry = home.household.registry
    set_prices(registry, registry.accounts.get(home.account), hours=read_hours("12:00-13:00"))
    told = home.verify()
    assert told.findings == [] and set(told.differences) == {Series.REGISTERS}
    registry.database.change(update(ACCOUNT_DETAILS).values(sealed="sealed with a key that is lost"))
    result = home.verify()
    assert (result.findings, result.differences, result.documents) == ([], {}, told.documents)
