"""What a file has told: the marks of its days, the history that is not asked for again, and what is said of them."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from tests.support.factories import NOW, PretendSupplier, curve_of, serving_curves, serving_days
from tests.support.made_files import curve_file, days_file
from tests.unit.conftest import Household
from worker.accounts.explanations import SeriesExplanation
from worker.domain.account import AccountState
from worker.domain.completeness import DayMark, DayState
from worker.domain.files.cells import FileSeries
from worker.domain.messages import is_file_run
from worker.domain.reasons import Reason
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, DateWindow
from worker.errors import UnknownAccount
from worker.stores.registry.supplier_answers import CorrectionTable
from worker.sync.file_import import FileImporter
from worker.sync.history import rebuild_days

DAILY, CURVE = Series.DAILY, Series.LOAD_CURVE
TODAY = NOW.date()
OLD = [TODAY - age * ONE_DAY for age in range(28, 7, -1)]  # Three whole weeks before the look-back of a curve.
TOLD_AT = NOW - timedelta(hours=2)


def importer_of(household: Household) -> FileImporter:
    return FileImporter(
        window_sync=household.window_sync,
        results=household.results,
        outcomes=household.registry.outcomes,
    )


def curve(days: list[date], told_at: datetime = TOLD_AT) -> FileSeries:
    return curve_file({day: curve_of(day, 300) for day in days}, told_at)


def mark_of(household: Household, account: str, series: Series, day: date) -> DayMark:
    return household.registry.completeness.load_ledger(account, series).mark_of(day)


def explain(household: Household, account: str, day: date) -> SeriesExplanation:
    return household.build_explainer().explain(household.registry.accounts.get(account), day).series[DAILY]


def windows_asked(household: Household, account: str) -> list[DateWindow]:
    household.supplier.asked.clear()
    household.backfill(account)
    return [window for series, window in household.supplier.asked if series is CURVE]


def test_the_backfill_of_a_curve_skips_the_weeks_that_a_file_has_completed(household: Household) -> None:
    account = household.add()
    assert windows_asked(household, household.add(22)) != []
    importer_of(household).store(curve(OLD), account)
    (asked,) = windows_asked(household, account)
    assert asked == DateWindow(TODAY - 7 * ONE_DAY, TODAY)
    assert household.is_loaded(account, CURVE)


def test_a_week_of_which_the_file_lacks_a_part_is_asked_for(household: Household) -> None:
    account, torn = household.add(), OLD[10]
    file = curve_file({day: curve_of(day, 300)[: 20 if day == torn else 48] for day in OLD}, TOLD_AT)
    importer_of(household).store(file, account)
    assert mark_of(household, account, CURVE, torn) == DayMark(DayState.PARTIAL, 20)
    assert household.registry.due.list_repairs(TODAY, 10) == [], "it belongs to the history"
    assert any(window.start <= torn < window.end for window in windows_asked(household, account))
    assert mark_of(household, account, CURVE, torn).asked_at_age == (TODAY - torn).days
    assert windows_asked(household, account) == []


def test_a_day_that_was_asked_for_stays_so_where_a_file_tells_a_part_of_it(household: Household) -> None:
    account, torn = household.add(), OLD[10]
    household.backfill(account)
    before = mark_of(household, account, CURVE, torn)
    assert before == DayMark(DayState.LATE, 0, (TODAY - torn).days)
    importer_of(household).store(curve_file({torn: curve_of(torn, 300)[:20]}, TOLD_AT), account)
    assert mark_of(household, account, CURVE, torn) == DayMark(DayState.PARTIAL, 20, before.asked_at_age)
    assert windows_asked(household, account) == []


def test_after_a_loss_of_redis_what_a_file_has_told_is_known(household: Household) -> None:
    account = household.add()
    importer_of(household).store(curve(OLD), account)
    household.lose_redis()
    assert windows_asked(household, account) == [DateWindow(TODAY - 7 * ONE_DAY, TODAY)]


def test_no_verdict_and_no_due_time_comes_from_a_file(household: Household) -> None:
    account = household.add_asserted()
    importer_of(household).store(days_file(dict.fromkeys(OLD, 9000), TOLD_AT), account)
    assert household.registry.accounts.get(account).state is AccountState.NEW
    outcome = household.registry.outcomes.load(account)[DAILY]
    assert (outcome.code, outcome.last_success_at, outcome.asked_at) == (None, None, None)
    assert (outcome.ever_stored, outcome.last_day) == (True, OLD[-1])
    household.supplier = PretendSupplier(daily=serving_days({TODAY - ONE_DAY: 9000}))
    household.look_back(account, DAILY)
    assert household.registry.accounts.get(account).state is AccountState.READY


def test_a_day_of_a_file_says_so_until_an_answer_writes_it(household: Household) -> None:
    account, day = household.add(), OLD[-1]
    importer_of(household).store(days_file({day: 9000}, TOLD_AT), account)
    assert mark_of(household, account, DAILY, day).state is DayState.FILE
    explanation = household.build_explainer().explain(household.registry.accounts.get(account), day).series[DAILY]
    assert explanation.reason is Reason.FROM_FILE
    assert (
        explanation.sentences["fr"] == "Nous avons le total du 17 juillet 2024 en entier, grâce à un fichier importé."
    )

    household.supplier = PretendSupplier(daily=serving_days({day: 9000}))
    household.look_back(account, DAILY)
    assert mark_of(household, account, DAILY, day).state is DayState.FILE, "the answer only confirms it"

    household.supplier = PretendSupplier(daily=serving_days({day: 9500}))
    household.look_back(account, DAILY)
    assert mark_of(household, account, DAILY, day).state is DayState.COMPLETE
    assert explain(household, account, day).reason is Reason.COMPLETE


def test_a_correction_tells_that_it_came_from_a_file(household: Household) -> None:
    account, day = household.add(), OLD[-1]
    importer_of(household).store(days_file({day: 9000}, TOLD_AT), account)
    importer_of(household).store(days_file({day: 9100}, TOLD_AT + timedelta(minutes=1)), account)
    corrections = CorrectionTable(household.registry.database)
    (correction,) = corrections.list_between(account, DAILY.inputs, day.isoformat(), (day + ONE_DAY).isoformat())
    assert is_file_run(correction.run_id)
    assert correction.changed_at == TOLD_AT + timedelta(minutes=1)


def test_a_file_leaves_days_that_it_lacks_as_they_are(household: Household) -> None:
    account = household.add()
    household.supplier = PretendSupplier(daily=serving_days({OLD[0]: 1000, OLD[2]: 1000}))
    household.look_back(account, DAILY)
    before = mark_of(household, account, DAILY, OLD[1])
    importer_of(household).store(days_file({OLD[0]: 1000, OLD[2]: 1000}), account)
    assert mark_of(household, account, DAILY, OLD[1]) == before
    assert mark_of(household, account, DAILY, OLD[0]).state is DayState.COMPLETE, "it was known before"
    importer_of(household).store(days_file({OLD[1]: 1000}), account)
    assert mark_of(household, account, DAILY, OLD[1]).state is DayState.FILE


def test_a_series_that_is_not_asked_for_is_known_and_stays_so(household: Household) -> None:
    account = household.add()
    produced = days_file(dict.fromkeys(OLD, 2000), TOLD_AT, series=Series.PRODUCTION_DAILY)
    importer_of(household).store(produced, account)
    assert Series.PRODUCTION_DAILY in household.registry.outcomes.known(account)
    assert Series.PRODUCTION_DAILY not in household.registry.outcomes.collected(account)


def test_the_ledger_is_rebuilt_with_the_days_of_files(household: Household) -> None:
    account = household.add()
    importer_of(household).store(curve(OLD), account)
    ledgers, today = household.registry.completeness, household.history.today()
    assert not rebuild_days(household.measures, ledgers, account, CURVE, today)
    assert mark_of(household, account, CURVE, OLD[0]).state is DayState.FILE


def test_nothing_of_a_removed_account_is_stored(household: Household) -> None:
    account = household.add()
    household.registry.accounts.remove(account, NOW)
    with pytest.raises(UnknownAccount):
        importer_of(household).store(days_file({OLD[0]: 9000}, TOLD_AT), account)
    assert not any(store.documents for store in household.measures.values())


def test_a_curve_from_a_file_is_no_curve_that_lacks(household: Household) -> None:
    account = household.add()
    household.supplier = PretendSupplier(daily=serving_days(dict.fromkeys(OLD, 14_000)), curve=serving_curves({}))
    household.look_back(account)
    importer_of(household).store(curve(OLD), account)
    household.look_back(account)
    assert household.registry.completeness.find_missing_curve(account) is None
