"""Where no daily value can come, a day whose curve is whole is the sum of its steps, until the supplier tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from tests.support.factories import NOW, Row, curve_of, serving_curves, serving_days
from tests.support.made_files import curve_file, days_file
from tests.unit.conftest import Household
from worker.domain.completeness import DayState
from worker.domain.consistency import Cause, Law
from worker.domain.documents import ALL_KEYS, REMOVED
from worker.domain.messages import WindowJob
from worker.domain.series import Doctype, Series, SeriesSwitch
from worker.domain.windows import ONE_DAY, DateWindow
from worker.errors import FilesOnly, UnknownAccount
from worker.stores.registry.supplier_answers import CorrectionTable
from worker.sync.file_import import FileImporter
from worker.sync.history import rebuild_days

OLD = date(2024, 3, 30)  # Two days before and after the clocks go forward: 24, 23 and 24 hours.
OLD_DAYS = [OLD + number * ONE_DAY for number in range(3)]
ROWS = {day: curve_of(day, 100 + day.day) for day in OLD_DAYS}


def energy_of(rows: list[Row]) -> float:
    return sum(int(row[1]) for row in rows) / 2 / 1000


@pytest.fixture
def home(household: Household) -> Household:
    """A household whose supplier has a curve of old days, and daily values of the last month alone."""
    service = household.with_settings(curve_days=200)
    last_month = {service.history.today() - age * ONE_DAY: 7000 for age in range(1, 31)}
    service.supplier.daily, service.supplier.curve = serving_days(last_month), serving_curves(ROWS)
    return service


def loads(service: Household, account: str, doctype: Doctype) -> dict[str, tuple[float, int | None]]:
    documents = service.measures.read(account, {doctype: ALL_KEYS})[doctype]  # type: ignore[attr-defined]
    return {row["_id"].partition(":")[2]: (row["load"], row.get("step")) for row in documents}


def old_days(service: Household, account: str) -> dict[str, tuple[float, int | None]]:
    return {key: load for key, load in loads(service, account, Doctype.DAY).items() if key < "2024-06"}


COMPUTED = {
    "2024-03-30": (energy_of(ROWS[OLD]), 1440),
    "2024-03-31": (energy_of(ROWS[OLD + ONE_DAY]), 1380),
    "2024-04-01": (energy_of(ROWS[OLD + 2 * ONE_DAY]), 1440),
}


class Interrupted:
    """The measures of a household, of which something happens once, after the curve was read to compute days."""

    def __init__(self, service: Household, happens: Callable[[], object]) -> None:
        self.measures: Any = service.window_sync.measures
        self.happens: Callable[[], object] | None = happens

    def read(self, account: str, ranges: Any) -> Any:
        documents = self.measures.read(account, ranges)
        if list(ranges) == [Doctype.MINUTE] and self.happens:
            happens, self.happens = self.happens, None
            happens()
        return documents

    def __getattr__(self, name: str) -> Any:
        return getattr(self.measures, name)


def compute_old_days(service: Household, account: str, happens: Callable[[], object]) -> None:
    sync = replace(service.window_sync, measures=Interrupted(service, happens))
    sync.compute_days(service.claims.to_job(account, Series.DAILY, DateWindow(OLD, OLD + 3 * ONE_DAY)))


def import_file(service: Household, account: str, rows: dict[date, list[Row]]) -> None:
    file_importer(service).store(curve_file(rows, NOW - timedelta(hours=1)), account)


def file_importer(service: Household) -> FileImporter:
    return FileImporter(
        window_sync=service.window_sync,
        results=service.results,
        outcomes=service.registry.outcomes,
    )


def test_days_that_are_absent_for_good_are_made_by_the_curve_whichever_comes_first(home: Household) -> None:
    account = home.add()
    home.backfill(account)
    assert old_days(home, account) == COMPUTED
    march = COMPUTED["2024-03-30"][0] + COMPUTED["2024-03-31"][0]
    assert loads(home, account, Doctype.MONTH)["2024-03"] == (pytest.approx(march), None)
    year = march + COMPUTED["2024-04-01"][0] + 30 * 7
    assert loads(home, account, Doctype.YEAR)["2024"] == (pytest.approx(year), None)
    ledger = home.registry.completeness.load_ledger(account, Series.DAILY)
    assert {ledger.mark_of(day).state for day in OLD_DAYS} == {DayState.ABSENT}

    other = home.add(12)
    for series in (Series.LOAD_CURVE, Series.DAILY):
        for window in home.history.missing_windows(other, series):
            home.run(home.claims.to_job(other, series, window))
    assert old_days(home, other) == COMPUTED


def test_a_day_whose_value_may_still_come_is_not_computed(home: Household) -> None:
    account, yesterday = home.add(), home.history.today() - ONE_DAY
    home.supplier.daily, home.supplier.curve = None, serving_curves({yesterday: curve_of(yesterday, 200)})
    home.look_back(account)
    assert loads(home, account, Doctype.DAY) == {}


def test_a_day_with_a_hole_in_its_curve_is_not_computed(home: Household) -> None:
    account = home.add()
    home.supplier.curve = serving_curves({**ROWS, OLD: ROWS[OLD][1:]})
    home.backfill(account)
    assert old_days(home, account) == {key: load for key, load in COMPUTED.items() if key != str(OLD)}


def test_without_daily_values_in_the_consent_the_curve_makes_the_newest_days_too(home: Household) -> None:
    account, yesterday = home.add(), home.history.today() - ONE_DAY
    home.registry.outcomes.switch(account, Series.DAILY, SeriesSwitch.OFF, home.at)
    home.supplier.curve = serving_curves({yesterday: curve_of(yesterday, 200, 60)})
    home.look_back(account)
    assert loads(home, account, Doctype.DAY) == {str(yesterday): (pytest.approx(24 * 0.2 + 0.276), 1440)}


def test_a_file_of_steps_makes_days_months_and_years(home: Household) -> None:
    account = home.add_asserted("gateway", FilesOnly.code)
    import_file(home, account, ROWS)
    assert old_days(home, account) == COMPUTED
    assert list(loads(home, account, Doctype.MONTH)) == ["2024-03", "2024-04"]
    assert home.build_auditor(lambda job: None).verify_account(account).findings == []


def test_a_file_of_daily_values_finds_the_computed_days_new(home: Household) -> None:
    account = home.add_asserted("gateway", FilesOnly.code)
    import_file(home, account, ROWS)
    found = file_importer(home).compare(days_file({OLD: 5000}), account)
    assert (found.days_new, found.days_different) == (1, 0)


def test_steps_of_thirds_of_a_watt_hour_keep_their_places(home: Household) -> None:
    account = home.add_asserted("gateway", FilesOnly.code)
    import_file(home, account, {OLD: curve_of(OLD, 100, 5)})
    steps = loads(home, account, Doctype.MINUTE).values()
    assert old_days(home, account) == {str(OLD): (round(sum(load for load, _ in steps), 6), 1440)}


def test_the_value_that_comes_replaces_it_and_the_journal_is_not_told(home: Household) -> None:
    account = home.add()
    home.backfill(account)
    told = {OLD: round(COMPUTED[str(OLD)][0] * 1000), OLD + ONE_DAY: 5000}  # The first one is the same energy.
    home.supplier.daily = serving_days(told)
    result = home.run(home.claims.to_job(account, Series.DAILY, DateWindow(OLD, OLD + 3 * ONE_DAY)))
    assert result is not None
    assert result["updated"] > 2
    assert old_days(home, account) == {
        "2024-03-30": (COMPUTED[str(OLD)][0], None),
        "2024-03-31": (5.0, None),
        "2024-04-01": COMPUTED["2024-04-01"],
    }
    journal = CorrectionTable(home.registry.database)
    assert journal.list_between(account, Doctype.DAY, *ALL_KEYS) == []
    ledger = home.registry.completeness.load_ledger(account, Series.DAILY)
    assert [ledger.mark_of(day).complete for day in OLD_DAYS] == [True, True, False]


def test_the_journal_of_a_removed_value_goes_on_with_the_next_one_that_is_told(home: Household) -> None:
    account, window = home.add(), DateWindow(OLD, OLD + ONE_DAY)
    home.supplier.daily = serving_days({OLD: 5000})
    home.backfill(account)
    low = replace(home.window_sync, daily_limit_kwh=4.5)
    home.at += timedelta(minutes=1)
    low.sync_window(home.claims.to_job(account, Series.DAILY, window))
    assert str(OLD) not in old_days(home, account)
    home.registry.outcomes.switch(account, Series.DAILY, SeriesSwitch.OFF, home.at)
    home.run(home.claims.to_job(account, Series.LOAD_CURVE, window))
    assert old_days(home, account)[str(OLD)] == COMPUTED[str(OLD)]
    home.at += timedelta(minutes=1)
    home.supplier.daily = serving_days({OLD: 4000})
    home.run(home.claims.to_job(account, Series.DAILY, window))
    journal = CorrectionTable(home.registry.database).list_between(account, Doctype.DAY, *ALL_KEYS)
    assert [(one.was_amount, one.became_amount) for one in journal] == [(5_000_000, REMOVED), (REMOVED, 4_000_000)]


def test_an_answer_that_was_asked_for_before_the_day_was_computed_is_stored(home: Household) -> None:
    account = home.add()
    home.supplier.daily = serving_days({OLD: 5000})
    job = home.claims.to_job(account, Series.DAILY, DateWindow(OLD, OLD + ONE_DAY))
    late = home.window_sync.fetch(job)
    home.at += timedelta(minutes=1)
    home.supplier.daily = None
    home.backfill(account)
    assert old_days(home, account) == COMPUTED
    home.window_sync.store(home.window_sync.aggregate(home.window_sync.filter_known(late)))
    assert old_days(home, account)[str(OLD)][1] is None


def test_a_corrected_step_changes_the_day_that_it_made(home: Household) -> None:
    account = home.add()
    home.backfill(account)
    home.at += timedelta(minutes=1)
    home.supplier.curve = serving_curves({OLD: curve_of(OLD, 700)})
    home.run(home.claims.to_job(account, Series.LOAD_CURVE, DateWindow(OLD, OLD + ONE_DAY)))
    assert old_days(home, account)[str(OLD)] == (energy_of(curve_of(OLD, 700)), 1440)


def test_a_value_told_by_the_supplier_is_never_replaced_by_a_computed_one(home: Household) -> None:
    account = home.add()
    home.supplier.daily = serving_days({OLD: 5000})
    home.backfill(account)
    home.window_sync.compute_days(home.claims.to_job(account, Series.DAILY, DateWindow(OLD, OLD + 3 * ONE_DAY)))
    assert old_days(home, account) == {**COMPUTED, str(OLD): (5.0, None)}


def test_a_computed_day_that_is_wrong_or_missing_is_found_and_made_again_without_a_call(home: Household) -> None:
    account, asked = home.add(), list[WindowJob]()
    home.backfill(account)
    stored = home.measures[Doctype.DAY].documents
    stored[f"{account}:2024-03-30"]["load"] = 1.0
    del stored[f"{account}:2024-04-01"]
    auditor = home.build_auditor(asked.append)
    result = auditor.verify_account(account)
    assert [(one.law, one.key, one.cause) for one in result.findings if one.law is Law.DAY] == [
        (Law.DAY, "2024-03-30", Cause.STALE_TOTAL),
        (Law.DAY, "2024-04-01", Cause.MISSING_TOTAL),
    ]
    auditor.repair_account(result)
    assert (old_days(home, account), asked) == (COMPUTED, [])
    assert auditor.verify_account(account).findings == []


def test_an_account_that_was_computed_can_be_rebuilt_and_stays_the_same(home: Household) -> None:
    """A rebuilt ledger takes no computed day for an answer."""
    account = home.add()
    home.backfill(account)
    before = home.registry.completeness.load_ledger(account, Series.DAILY)
    rebuild_days(home.measures, home.registry.completeness, account, Series.DAILY, home.history.today())
    after = home.registry.completeness.load_ledger(account, Series.DAILY)
    assert [after.mark_of(day) for day in OLD_DAYS] == [before.mark_of(day) for day in OLD_DAYS]


def test_a_curve_that_changes_while_its_days_are_computed_makes_the_days(home: Household) -> None:
    account = home.add()
    home.backfill(account)

    def correct() -> None:
        home.at += timedelta(minutes=1)
        home.supplier.curve = serving_curves({OLD: curve_of(OLD, 700)})
        home.run(home.claims.to_job(account, Series.LOAD_CURVE, DateWindow(OLD, OLD + ONE_DAY)))

    compute_old_days(home, account, correct)
    assert old_days(home, account)[str(OLD)] == (energy_of(curve_of(OLD, 700)), 1440)


def test_nothing_of_an_account_that_is_removed_meanwhile_is_computed(home: Household) -> None:
    account = home.add()
    home.backfill(account)

    def remove() -> None:
        home.registry.accounts.remove(account, NOW)
        home.window_sync.measures.erase(account)

    with pytest.raises(UnknownAccount):
        compute_old_days(home, account, remove)
    assert [loads(home, account, doctype) for doctype in Series.DAILY.doctypes] == [{}, {}, {}]


def test_a_day_of_steps_that_a_meter_can_deliver_is_computed_however_much_it_is(home: Household) -> None:
    home.window_sync = replace(home.window_sync, daily_limit_kwh=8)
    account = home.add_asserted("gateway", FilesOnly.code)
    import_file(home, account, {OLD: curve_of(OLD, 600)})  # A step may have a twelfth of the limit an hour.
    assert old_days(home, account) == {str(OLD): (energy_of(curve_of(OLD, 600)), 1440)}
    assert home.build_auditor(lambda job: None).verify_account(account).findings == []


def test_a_computed_day_in_place_of_a_value_that_was_told_is_found_and_asked_for(home: Household) -> None:
    account, asked = home.add(), list[WindowJob]()
    home.backfill(account)
    window = DateWindow(OLD, OLD + ONE_DAY)
    message = home.window_sync.filter_known(home.window_sync.fetch(home.claims.to_job(account, Series.DAILY, window)))
    message["facts"]["open"] = {}  # As a worker of 0.2.0 says of a day with a document.
    home.window_sync.store(home.window_sync.aggregate(message))
    auditor = home.build_auditor(asked.append)
    result = auditor.verify_account(account)
    assert [(one.law, one.key) for one in result.findings] == [(Law.STORED, str(window))]
    auditor.repair_account(result)
    assert [(job["series"], job["start"]) for job in asked] == [("daily", str(OLD))]


def test_a_step_that_is_lost_leaves_the_computed_day_and_no_finding_but_of_the_curve(home: Household) -> None:
    account = home.add()
    home.backfill(account)
    auditor = home.build_auditor(lambda job: None)
    steps = home.measures[Doctype.MINUTE].documents
    del steps[f"{account}:2024-04-01T10:00Z"]
    auditor.repair_account(auditor.verify_account(account))
    found = [(one.law, one.series) for one in auditor.verify_account(account).findings]
    assert found == [(Law.STORED, Series.LOAD_CURVE)]
    assert old_days(home, account) == COMPUTED
