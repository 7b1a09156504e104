"""The audit over stores: what it finds, what it repairs, what is asked for again."""

from __future__ import annotations

from datetime import date

import pytest

from tests.support.factories import curve_of, serving_curves, serving_days
from tests.unit.conftest import Household
from worker.domain.completeness import DayLedger
from worker.domain.consistency import Cause, Law
from worker.domain.messages import WindowJob
from worker.domain.series import USUAL_SERIES, Doctype, Series
from worker.domain.windows import ONE_DAY, DateWindow
from worker.stores.registry.supplier_answers import CorrectionTable
from worker.sync.verification import AuditSummary

LENGTHS = {Series.DAILY: 30, Series.LOAD_CURVE: 28}


class Home:
    """An account with a month of both series that agree, and an auditor."""

    def __init__(self, household: Household) -> None:
        self.household, self.account, self.asked = household, household.add(), list[WindowJob]()
        today = household.history.today()
        days = [today - age * ONE_DAY for age in range(1, 31)]
        self.rows = {day: curve_of(day, 100 + day.day) for day in days}
        self.values = {day: round(sum(int(row[1]) for row in rows) / 2) for day, rows in self.rows.items()}
        household.supplier.daily, household.supplier.curve = serving_days(self.values), serving_curves(self.rows)
        household.backfill(self.account)
        self.auditor = household.build_auditor(self.asked.append)

    def spoil(self, period: Doctype, key: str, **changes: object) -> None:
        document = self.household.measures[period].documents[f"{self.account}:{key}"]
        document.update(changes)

    def laws(self) -> list[tuple[Law, str, Cause]]:
        return [
            (finding.law, finding.key, finding.cause) for finding in self.auditor.verify_account(self.account).findings
        ]


@pytest.fixture
def home(household: Household) -> Home:
    return Home(household)


def test_what_a_walk_has_stored_agrees_in_every_document(home: Home) -> None:
    result = home.auditor.verify_account(home.account)
    assert result.findings == []
    assert result.documents == sum(len(store.documents) for store in home.household.measures.values())


def test_what_the_registry_calls_stored_and_the_measures_lack_is_named_and_asked_for_again(home: Home) -> None:
    """D23: a whole store that was gone was not at fault."""
    today = home.household.history.today()
    for store in home.household.measures.values():
        store.documents.clear()
    days = {series: DateWindow(today - length * ONE_DAY, today) for series, length in LENGTHS.items()}
    assert home.laws() == [
        (Law.STORED, str(days[Series.DAILY]), Cause.MISSING_DOCUMENTS),
        (Law.STORED, str(days[Series.LOAD_CURVE]), Cause.MISSING_DOCUMENTS),
    ]
    written, asked = home.auditor.repair_account(home.auditor.verify_account(home.account))
    assert (written, asked) == (0, len(home.asked))
    for series, window in days.items():
        asked_again = [
            DateWindow.parse(f"{job['start']}/{job['end']}") for job in home.asked if job["series"] == series
        ]
        assert sorted(day for part in asked_again for day in part.dates()) == list(window.dates())


def test_half_hours_that_the_ledger_knows_and_the_measures_lack_are_named_and_asked_for_again(
    home: Home,
) -> None:
    """N4: the repair of the hour left nothing that told of the loss."""
    day, measures = date(2024, 7, 10), home.household.measures
    before = measures[Doctype.MINUTE].documents[f"{home.account}:{day}T08:30Z"]["load"]
    del measures[Doctype.MINUTE].documents[f"{home.account}:{day}T08:30Z"]
    lost = (Law.STORED, f"{day}/{day + ONE_DAY}", Cause.MISSING_DOCUMENTS)
    assert home.laws() == [(Law.HOUR, f"{day}T08:00Z", Cause.STALE_TOTAL), lost]
    assert home.auditor.repair_account(home.auditor.verify_account(home.account)) == (1, 1)
    assert home.laws() == [lost], "a repair hides no loss"
    (job,) = home.asked
    assert (job["series"], job["start"], job["end"]) == ("load_curve", f"{day}", f"{day + ONE_DAY}")
    home.household.run(job)
    assert home.laws() == []
    assert measures[Doctype.MINUTE].documents[f"{home.account}:{day}T08:30Z"]["load"] == before


def test_what_the_supplier_has_no_longer_is_told_as_missing_once_it_was_asked(home: Home) -> None:
    day = date(2024, 7, 10)
    del home.household.measures[Doctype.MINUTE].documents[f"{home.account}:{day}T08:30Z"]
    home.household.supplier.curve = serving_curves({**home.rows, day: home.rows[day][:21] + home.rows[day][22:]})
    home.auditor.repair_account(home.auditor.verify_account(home.account))
    for job in home.asked:
        home.household.run(job)
    assert home.laws() == []
    ledger = home.household.registry.completeness.load_ledger(home.account, Series.LOAD_CURVE)
    assert ledger.mark_of(day).half_hours == 47


def test_a_partial_day_that_has_lost_more_is_named_and_one_that_has_not_is_no_fault(household: Household) -> None:
    home, day = Home(household), date(2024, 7, 10)
    household.supplier.curve = serving_curves({**home.rows, day: home.rows[day][:40]})
    home.account = household.add(33)
    household.backfill(home.account)
    assert home.laws() == []
    del household.measures[Doctype.MINUTE].documents[f"{home.account}:{day}T08:30Z"]
    assert (Law.STORED, f"{day}/{day + ONE_DAY}", Cause.MISSING_DOCUMENTS) in home.laws()


def test_half_hours_that_are_missing_stay_told_where_the_days_are_marked_again(home: Home) -> None:
    """Overlapping steps on another day have the ledger made again from what is stored."""
    day, minutes = date(2024, 7, 10), home.household.measures[Doctype.MINUTE]
    del minutes.documents[f"{home.account}:{day}T08:30Z"]
    home.spoil(Doctype.MINUTE, "2024-07-12T08:00Z", step=60, updated_at="2024-07-24T09:00:00+00:00")
    home.auditor.repair_account(home.auditor.verify_account(home.account))
    assert next(job["start"] for job in home.asked if job["series"] == "load_curve") == str(day)
    (missing,) = home.household.history.missing_windows(home.account, Series.LOAD_CURVE)
    assert missing.start <= day < missing.end


def test_an_outcome_alone_says_that_something_is_stored(household: Household) -> None:
    """The ledger of days may be empty where the outcome knows a stored day."""
    home = Home(household)
    registry = household.registry
    for series in USUAL_SERIES:
        ledger = registry.completeness.load_ledger(home.account, series)
        assert registry.completeness.replace_if_unchanged(home.account, series, ledger, DayLedger())
    assert home.laws() == []
    for store in household.measures.values():
        store.documents.clear()
    yesterday = household.history.today() - ONE_DAY
    run = f"{yesterday}/{yesterday + ONE_DAY}"
    assert [(law, key) for law, key, _ in home.laws()] == [(Law.STORED, run), (Law.STORED, run)]


def test_a_wrong_total_is_made_anew_without_asking_the_supplier(home: Home) -> None:
    calls = len(home.household.supplier.asked)
    home.spoil(Doctype.HOUR, "2024-07-10T08:00Z", load=9.9)
    home.spoil(Doctype.MONTH, "2024-07", load=1.0)
    del home.household.measures[Doctype.YEAR].documents[f"{home.account}:2024"]
    assert home.laws() == [
        (Law.MONTH, "2024-07", Cause.STALE_TOTAL),
        (Law.YEAR, "2024", Cause.MISSING_TOTAL),
        (Law.HOUR, "2024-07-10T08:00Z", Cause.STALE_TOTAL),
    ]
    assert home.auditor.repair_account(home.auditor.verify_account(home.account)) == (3, 0)
    assert home.laws() == []
    assert len(home.household.supplier.asked) == calls
    assert home.asked == []


def test_a_total_whose_readings_are_gone_goes_and_no_other(home: Home) -> None:
    measures, day = home.household.measures, home.household.history.today() - 3 * ONE_DAY
    hour = f"{day}T05:00Z"
    for minute in ("00", "30"):
        del measures[Doctype.MINUTE].documents[f"{home.account}:{day}T05:{minute}Z"]
    hours = set(measures[Doctype.HOUR].documents)
    orphan = (Law.HOUR, hour, Cause.ORPHAN_TOTAL)
    assert orphan in home.laws()
    written, _ = home.auditor.repair_account(home.auditor.verify_account(home.account))
    assert written == 1 and orphan not in home.laws()
    assert hours - set(measures[Doctype.HOUR].documents) == {f"{home.account}:{hour}"}
    assert Law.STORED in {law for law, *_ in home.laws()}, "the loss of the readings is still told"


def test_a_total_without_readings_stays_where_another_run_brings_them_meanwhile(home: Home) -> None:
    measures, day = home.household.measures, home.household.history.today() - 3 * ONE_DAY
    lost = [f"{home.account}:{day}T05:{minute}Z" for minute in ("00", "30")]
    kept = [measures[Doctype.MINUTE].documents.pop(key) for key in lost]
    findings, hours = home.auditor.verify_account(home.account), measures[Doctype.HOUR]

    def bring_them(documents: object) -> None:
        hours.before_write = None
        measures[Doctype.MINUTE].documents.update(zip(lost, kept, strict=True))
        hours.documents[f"{home.account}:{day}T05:00Z"]["_rev"] = "9-another"

    hours.before_write = bring_them
    home.auditor.repair_account(findings)
    assert f"{home.account}:{day}T05:00Z" in hours.documents
    assert home.laws() == []


def test_steps_that_overlap_are_named_and_mended_without_asking_the_supplier(home: Home) -> None:
    """Versions that knew steps by their start alone left half-hours inside the hours that came for them."""
    minutes, calls = home.household.measures[Doctype.MINUTE], len(home.household.supplier.asked)
    half_hour = minutes.documents[f"{home.account}:2024-07-10T08:30Z"]["load"]
    home.spoil(Doctype.MINUTE, "2024-07-10T08:00Z", load=2 * half_hour, step=60, updated_at="2024-07-24T09:00:00+00:00")
    home.spoil(Doctype.HOUR, "2024-07-10T08:00Z", load=3 * half_hour)
    assert home.laws() == [(Law.STEPS, "2024-07-10", Cause.OVERLAPPING_STEPS), (Law.DAY, "2024-07-10", Cause.UNKNOWN)]
    home.auditor.repair_account(home.auditor.verify_account(home.account))
    assert home.laws() == []
    assert f"{home.account}:2024-07-10T08:30Z" not in minutes.documents
    assert len(home.household.supplier.asked) == calls


def test_a_hole_that_overlapping_steps_had_hidden_is_asked_for_again(home: Home) -> None:
    """Two hours stand over half-hours, and one hour is missing: lengths that add up to the whole day."""
    minutes, day = home.household.measures[Doctype.MINUTE], date(2024, 7, 10)
    for hour in ("08", "09"):
        home.spoil(Doctype.MINUTE, f"{day}T{hour}:00Z", load=0.1, step=60, updated_at="2024-07-24T09:00:00+00:00")
    for half_hour in ("10:00", "10:30"):
        del minutes.documents[f"{home.account}:{day}T{half_hour}Z"]
    home.auditor.repair_account(home.auditor.verify_account(home.account))
    ledger = home.household.registry.completeness.load_ledger(home.account, Series.LOAD_CURVE)
    assert str(ledger.mark_of(day)) == "p46"
    assert home.household.history.missing_windows(home.account, Series.LOAD_CURVE) == [DateWindow(day, day + ONE_DAY)]
    assert [row.account_id for row in home.household.histories(Series.LOAD_CURVE)] == [home.account]


def test_a_stored_value_that_no_meter_can_reach_goes_when_the_supplier_repeats_it(home: Home) -> None:
    day = date(2024, 7, 10)
    home.household.supplier.daily = serving_days({**home.values, day: 99_985_000})
    home.spoil(Doctype.DAY, str(day), load=99_985.0)
    home.household.look_back(home.account, Series.DAILY)
    assert f"{home.account}:{day}" not in home.household.measures[Doctype.DAY].documents
    assert home.laws() == [(Law.LIMIT, str(day), Cause.SET_ASIDE)], "and the month was computed again"
    (correction,) = CorrectionTable(home.household.registry.database).list_between(home.account, Doctype.DAY, "0", "~")
    assert (correction.key, correction.was_amount) == (str(day), 99_985_000_000)


def test_readings_in_doubt_are_asked_for_again_both_series_of_them(home: Home) -> None:
    home.spoil(Doctype.DAY, "2024-07-10", load=99.0)
    assert (Law.DAY, "2024-07-10", Cause.UNKNOWN) in home.laws()
    home.auditor.repair_account(home.auditor.verify_account(home.account))
    assert [(job["series"], job["start"]) for job in home.asked] == [
        ("daily", "2024-07-10"),
        ("load_curve", "2024-07-10"),
    ]
    for job in home.asked:
        home.household.run(job)
    assert home.laws() == []


def test_a_day_beyond_what_a_meter_can_deliver_is_named_and_asked_for_again(home: Home) -> None:
    home.spoil(Doctype.DAY, "2024-07-10", load=99_985.0)
    assert (Law.LIMIT, "2024-07-10", Cause.BEYOND_LIMIT) in home.laws()
    day, asked = date(2024, 7, 11), home.asked
    home.household.supplier.daily = serving_days({**home.values, day: 99_985_000})
    home.household.look_back(home.account, Series.DAILY)
    assert (Law.LIMIT, "2024-07-11", Cause.SET_ASIDE) in home.laws()
    home.auditor.repair_account(home.auditor.verify_account(home.account))
    home.household.supplier.daily = serving_days(home.values)
    for job in asked:
        home.household.run(job)
    assert home.laws() == []


def test_a_correction_of_one_series_alone_is_told_as_such(home: Home) -> None:
    day = home.household.history.today() - 5 * ONE_DAY
    home.household.supplier.daily = serving_days({**home.values, day: home.values[day] + 700})
    home.household.look_back(home.account, Series.DAILY)
    assert home.laws() == [(Law.DAY, day.isoformat(), Cause.REPROCESSED)]


def test_an_account_without_anything_is_all_right(household: Household) -> None:
    home = Home(household)
    assert home.auditor.verify_account(household.add(22)).documents == 0


def test_a_tally_counts_accounts_and_findings_by_law_and_cause(home: Home) -> None:
    home.spoil(Doctype.MONTH, "2024-07", load=1.0)
    summary = AuditSummary()
    summary.add(home.auditor.verify_account(home.account))
    summary.add(home.auditor.verify_account(home.household.add(22)))
    assert (summary.accounts, summary.accounts_at_fault) == (2, 1)
    assert summary.as_json()["findings"] == [{"law": "days make the month", "cause": "the total is stale", "number": 1}]


def test_the_audit_reads_a_month_of_the_curve_at_a_time(home: Home) -> None:
    spans: list[tuple[str, str]] = []
    home.household.measures[Doctype.MINUTE].before_read = lambda _, first, end: spans.append((first[:10], end[:10]))
    home.auditor.verify_account(home.account)
    assert all((date.fromisoformat(end) - date.fromisoformat(first)).days <= 34 for first, end in spans[1:])


def test_the_audit_reads_each_document_once_whatever_the_ledger_says(home: Home) -> None:
    """Before the ledger was compared within the day there were as many reads."""
    reads = list[str]()
    for store in home.household.measures.values():
        store.before_read = lambda *read: reads.append(read[1])
    home.auditor.verify_account(home.account)
    assert len(reads) == 7, "of both series, a month of them"
