"""The recorded result of a window, good or bad."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from typing import Any

import pytest

from tests.support.factories import USAGE_POINT, serving_days, window_job
from tests.support.metric_counts import MetricGrowth
from tests.support.window_runs import days
from tests.unit.conftest import Household
from worker.accounts.refusals import CONFIRMATION_INTERVAL
from worker.domain.account import AccountState
from worker.domain.messages import BACKFILL, CATCH_UP, NIGHTLY, WindowJob
from worker.domain.retry import WINDOW_DELAYS
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, DateWindow
from worker.errors import (
    AccountError,
    ConsentRevoked,
    HolderChanged,
    LoginFailed,
    MalformedAnswer,
    OperatorFault,
    RateLimited,
    RefreshTokenDead,
    StoreUnavailable,
    SupplierFault,
    SupplierLimited,
    SupplierUnavailable,
    UnexpectedError,
    UnknownAccount,
    UnknownUsagePoint,
    WorkerError,
    WriteRefused,
    WrongUnit,
)
from worker.metrics import error_kind
from worker.stores.registry.outcomes import SeriesOutcome

WINDOW = DateWindow(date(2024, 6, 25), date(2024, 7, 25))
DAILY = Series.DAILY


def claim_window(household: Household, account: str, kind: str = NIGHTLY, series: Series = DAILY) -> WindowJob:
    claims = household.claims.claim(kind, [(account, series)])
    return window_job(WINDOW, series, account, claim=claims[account, series])


def is_in_flight(household: Household, account: str, series: Series = DAILY) -> bool:
    return f"{account}:{series}" in household.claims.in_flight("nightly")


def outcome_of(household: Household, account: str, series: Series = DAILY) -> SeriesOutcome:
    return household.registry.outcomes.load(account)[series]


def log_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the fields of the recorder's log lines, as a program reads them."""
    return [{"message": record.message, **record.fields} for record in caplog.records if record.name == "releve.sync"]


def test_a_stored_window_is_done_noted_released_and_told_in_one_line(
    household: Household, caplog: pytest.LogCaptureFixture
) -> None:
    household.supplier.daily = serving_days(days("2024-07-20", 5000, 6000))
    account = household.add()
    counts = MetricGrowth()
    with caplog.at_level(logging.INFO, "releve.sync"):
        household.run(claim_window(household, account))
    assert counts.growth_by_labels("releve_windows_total") == {("stored", "daily"): 1}
    assert counts.growth_by_labels("releve_readings_stored_total") == {("daily",): 2}
    assert counts.growth_by_labels("releve_documents_total") == {("created", "daily"): 4}
    assert household.history.covers(account, DAILY, WINDOW)
    assert not is_in_flight(household, account)
    assert household.progress.task_state(account, DAILY) == {}
    outcome = outcome_of(household, account)
    assert (outcome.code, outcome.last_day, outcome.ever_stored) == (None, date(2024, 7, 21), True)
    assert (outcome.asked_at, outcome.answer, outcome.again_at) == (household.at, "data", None)
    assert log_lines(caplog) == [
        {
            "message": "window stored",
            "account_id": account,
            "series": "daily",
            "window_start": "2024-06-25",
            "window_end": "2024-07-25",
            "run": "20240725T070000",
            "fetched": 2,
            "created": 4,
            "updated": 0,
            "removed": 0,
            "unchanged": 0,
            "dropped": 0,
            "differing": 0,
            "left_out": 0,
            "duration_s": 0.0,
            "outcome": "stored",
        }
    ]


def test_what_the_supplier_corrected_is_counted(household: Household) -> None:
    account = household.add()
    counts = MetricGrowth()
    for watt_hours in (6000, 6100):
        household.supplier.daily = serving_days(days("2024-07-20", 5000, watt_hours))
        household.run(claim_window(household, account))
    assert counts.growth_by_labels("releve_corrections_recorded_total") == {("daily",): 1}


def test_a_window_without_data_is_a_success_that_stored_nothing(household: Household) -> None:
    account = household.add()
    household.run(claim_window(household, account))
    outcome = household.registry.outcomes.load(account)[DAILY]
    assert (outcome.code, outcome.last_day, outcome.ever_stored) == (None, None, False)
    assert household.history.covers(account, DAILY, WINDOW)


def test_a_success_clears_the_failures_before_it(household: Household) -> None:
    account = household.add()
    for wait in WINDOW_DELAYS[:3]:
        household.results.record_failure(claim_window(household, account), SupplierUnavailable("down"))
        outcome = outcome_of(household, account)
        assert (outcome.code, outcome.again_at) == ("VENDOR_DOWN", household.at + wait)
    household.run(claim_window(household, account))
    outcome = outcome_of(household, account)
    assert (outcome.code, outcome.again_at) == (None, None)
    assert household.progress.task_state(account, DAILY)["error"] == ""
    household.results.record_failure(claim_window(household, account), SupplierUnavailable("down"))
    assert outcome_of(household, account).again_at == household.at + WINDOW_DELAYS[0]


MINUTE, QUARTER = timedelta(minutes=1), timedelta(minutes=15)


@pytest.mark.parametrize(
    "error, state, code, state_name, asked, wait",
    [
        (SupplierFault("down"), AccountState.READY, "VENDOR_DOWN.SERVER_ERROR", "failed", True, WINDOW_DELAYS[0]),
        (SupplierUnavailable("down", 3600), AccountState.READY, "VENDOR_DOWN", "failed", True, timedelta(hours=1)),
        (RateLimited("wait"), AccountState.READY, "RATE_LIMITED", "waiting", False, MINUTE),
        (
            SupplierLimited("wait", 90),
            AccountState.READY,
            "RATE_LIMITED.BY_SUPPLIER",
            "waiting",
            False,
            timedelta(seconds=90),
        ),
        (RateLimited("wait", 1799), AccountState.READY, "RATE_LIMITED", "waiting", False, timedelta(seconds=1799)),
        (StoreUnavailable("no store"), AccountState.READY, None, "failed", False, MINUTE),
        (WrongUnit("odd"), AccountState.READY, "ANSWER_MALFORMED.UNIT", "failed", True, None),
        (WriteRefused("no"), AccountState.READY, "WRITE_REFUSED", "failed", True, None),
        (OperatorFault("key"), AccountState.READY, "SETUP_WRONG", "failed", False, QUARTER),
        (UnexpectedError("unforeseen"), AccountState.READY, "UNKNOWN_ERROR.BUG", "failed", True, WINDOW_DELAYS[0]),
        (
            RefreshTokenDead("dead"),
            AccountState.ACTION_NEEDED,
            "USER_ACTION_NEEDED.OAUTH_OUTDATED",
            "failed",
            True,
            None,
        ),
        (LoginFailed("refused"), AccountState.ACTION_NEEDED, "LOGIN_FAILED", "failed", True, None),
        (UnknownUsagePoint("who"), AccountState.ACTION_NEEDED, "USER_ACTION_NEEDED", "failed", True, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_failure_says_why_by_its_kind_and_when_it_is_tried_again(
    household: Household,
    caplog: pytest.LogCaptureFixture,
    error: WorkerError,
    state: AccountState,
    code: str | None,
    state_name: str,
    asked: bool,
    wait: timedelta | None,
) -> None:
    account, other = household.add(), household.add(22)
    counts = MetricGrowth()
    with caplog.at_level(logging.INFO, "releve.sync"):
        household.results.record_failure(claim_window(household, account), error)
    (line,) = log_lines(caplog)
    assert line["message"] == ("window postponed" if state_name == "waiting" else "window failed")
    assert (line["outcome"], line["code"], line["reason"]) == (state_name, code, str(error))
    assert (line["account_id"], line["window_start"], line["run"]) == (account, "2024-06-25", "20240725T070000")
    assert counts.growth_by_labels("releve_windows_total") == {(error_kind(error), "daily"): 1}
    assert counts.growth_by_labels("releve_documents_total") == {}
    assert household.registry.accounts.get(account).state is state
    outcome = household.registry.outcomes.load(account).get(DAILY)
    assert (outcome.code if outcome else None) == code
    task = household.progress.task_state(account, DAILY)
    assert (task["state"], task["error"]) == (state_name, code or "")
    assert not is_in_flight(household, account)
    # A turn that was not used is not over: the series keeps its place.
    if outcome is not None:
        assert (outcome.asked_at, outcome.again_at) == (
            household.at if asked else None,
            None if wait is None else household.at + wait,
        )
    assert household.history.load(account, DAILY)[DAILY].asked == []
    assert household.progress.task_state(account, Series.LOAD_CURVE) == {}
    assert household.registry.accounts.get(other).state is AccountState.READY
    due = household.registry.due.list_nightly(DAILY, 1, household.at, household.at, 10)
    assert [row.account_id for row in due] == [other]


def test_a_window_that_is_given_up_counts_under_the_name_of_its_error() -> None:
    kinds: dict[type[WorkerError], str] = {
        RateLimited: "rate_limited",
        SupplierUnavailable: "supplier_unavailable",
        StoreUnavailable: "store_unavailable",
        ConsentRevoked: "action_needed",
        UnknownAccount: "removed",
        OperatorFault: "operator_fault",
        MalformedAnswer: "data_error",
        WorkerError: "unforeseen",
    }
    assert {error: error_kind(error("why")) for error in kinds} == kinds


@pytest.mark.parametrize("error", [ConsentRevoked("gone"), HolderChanged("moved")], ids=lambda error: error.code)
def test_a_refusal_in_doubt_is_shown_and_asked_again_in_an_hour_and_a_half(
    household: Household, error: AccountError
) -> None:
    account = household.add()
    household.results.record_failure(claim_window(household, account), error)
    assert household.registry.accounts.get(account).active
    outcome = outcome_of(household, account)
    assert (outcome.code, outcome.again_at) == (error.code, household.at + timedelta(minutes=90))
    assert household.progress.task_state(account, DAILY)["error"] == error.code
    household.at += CONFIRMATION_INTERVAL
    household.results.record_failure(claim_window(household, account), error)
    assert household.registry.accounts.get(account).state is AccountState.ACTION_NEEDED


NO_VALUE: dict[date, Any] = {date(2024, 7, 20): "-"}


@pytest.mark.parametrize(
    "answer, answer_class, state",
    [
        (days("2024-07-20", 5000), "data", AccountState.READY),
        ({}, "no_data", AccountState.READY),
        (NO_VALUE, "unusable", AccountState.NEW),
    ],
    ids=["data", "no data", "unusable"],
)
@pytest.mark.parametrize("kind", [NIGHTLY, BACKFILL])
def test_the_first_answer_makes_an_asserted_account_ready(
    household: Household, kind: str, answer: dict[date, Any], answer_class: str, state: AccountState
) -> None:
    account = household.add_asserted()
    household.supplier.daily = serving_days(answer)
    if kind == NIGHTLY:
        household.run(claim_window(household, account))
        assert outcome_of(household, account).answer == answer_class
    else:
        household.run(household.claim_history(account))
        assert f"answer:{answer_class}:{kind}" in household.progress.task_state(account, DAILY)
    after = household.registry.accounts.get(account)
    assert (after.state, after.active) == (state, True)


@pytest.mark.parametrize("error", [SupplierUnavailable("down"), RateLimited("wait"), MalformedAnswer("another meter")])
def test_what_is_no_answer_leaves_an_asserted_account_unconfirmed_and_due(
    household: Household, error: WorkerError
) -> None:
    account = household.add_asserted()
    household.results.record_failure(claim_window(household, account), error)
    after = household.registry.accounts.get(account)
    assert (after.state, after.active) == (AccountState.NEW, True)


@pytest.mark.parametrize("error", [UnknownUsagePoint("who"), ConsentRevoked("gone"), HolderChanged("moved")])
def test_a_refusal_of_an_asserted_account_is_that_of_any_account(household: Household, error: AccountError) -> None:
    """A number with a wrong digit is refused for certain; a consent that was never given is seen twice, hours apart."""
    account = household.add_asserted()
    for _ in range(1 if isinstance(error, UnknownUsagePoint) else 2):
        assert household.registry.accounts.get(account).state is AccountState.NEW
        household.results.record_failure(claim_window(household, account), error)
        household.at += CONFIRMATION_INTERVAL
    after = household.registry.accounts.get(account)
    assert (after.state, after.reason, after.active) == (AccountState.ACTION_NEEDED, error.code, False)
    assert household.registry.due.list_nightly(DAILY, 1, household.at, household.at, 10) == []


def test_windows_of_a_history_that_fail_are_tried_after_the_others(household: Household) -> None:
    account = household.add()
    jobs = []
    for _ in range(3):
        job = household.claim_history(account)
        jobs.append(job)
        household.results.record_failure(job, MalformedAnswer("odd"))
    starts = [job["start"] for job in jobs]
    assert starts == sorted(set(starts), reverse=True), "each of the three windows, the newest first"
    outcome = outcome_of(household, account)
    assert (outcome.asked_at, outcome.history_due_at) == (None, household.at + timedelta(days=1))


def test_a_history_that_meets_an_outage_waits_longer_each_time(household: Household) -> None:
    account = household.add()
    waits = []
    for _ in range(2 * 3):
        job = household.claim_history(account)
        household.results.record_failure(job, SupplierUnavailable("down"))
        waits.append(outcome_of(household, account).history_due_at - household.at)  # type: ignore[operator]
    assert waits == [WINDOW_DELAYS[0]] * 3 + [WINDOW_DELAYS[1]] * 3


def test_a_stored_window_ends_a_doubt_of_either_series(household: Household) -> None:
    account = household.add()
    household.results.record_failure(claim_window(household, account), ConsentRevoked("gone"))
    household.at += CONFIRMATION_INTERVAL / 2
    household.run(claim_window(household, account, series=Series.LOAD_CURVE))
    household.at += CONFIRMATION_INTERVAL / 2
    household.results.record_failure(claim_window(household, account), ConsentRevoked("gone"))
    assert household.registry.accounts.get(account).active


def test_a_failure_of_a_removed_account_notes_nothing_and_lets_go(
    household: Household, caplog: pytest.LogCaptureFixture
) -> None:
    account = household.add()
    failed = claim_window(household, account)
    household.registry.accounts.remove(account, household.at)
    with caplog.at_level(logging.INFO, "releve.sync"):
        household.results.record_failure(failed, UnknownAccount("removed"))
    assert [(line["message"], line["outcome"], line["code"]) for line in log_lines(caplog)] == [
        ("window dropped", "removed", "CANNOT_FIND_ACCOUNT")
    ]
    assert not is_in_flight(household, account)
    assert household.progress.task_state(account, DAILY) == {}


def test_a_window_without_a_claim_ends_no_turn(household: Household) -> None:
    account = household.add()
    household.run(window_job(WINDOW, DAILY, account))
    household.results.record_failure(window_job(WINDOW, DAILY, account), SupplierUnavailable("down"))
    outcome = outcome_of(household, account)
    assert (outcome.code, outcome.asked_at, outcome.again_at) == ("VENDOR_DOWN", None, None)


def test_a_night_that_ends_well_leaves_no_key_of_its_own(household: Household) -> None:
    household.supplier.daily = serving_days(days("2024-07-20", 5000, 6000))
    account = household.add()
    household.run(claim_window(household, account))
    named = {key for key in household.redis.scan_iter(f"{household.prefix}*") if account in key}
    assert named == set()


def test_other_runs_that_end_well_are_told_in_full_for_a_quarter_of_an_hour(household: Household) -> None:
    account = household.add()
    household.run(claim_window(household, account, BACKFILL))
    task_fields = household.progress.task_state(account, DAILY)
    assert (task_fields["state"], task_fields["error"], task_fields["done"], task_fields["total"]) == (
        "ok",
        "",
        "30",
        "1095",
    )
    assert household.redis.ttl(f"{household.prefix}task:{account}:daily") == 15 * 60


def test_only_a_look_back_ends_the_turn(household: Household) -> None:
    account = household.add()
    household.run(claim_window(household, account))
    asked_at = household.at
    household.at += timedelta(hours=1)
    household.run(claim_window(household, account, BACKFILL))
    assert outcome_of(household, account).asked_at == asked_at
    household.run(claim_window(household, account, CATCH_UP))
    assert outcome_of(household, account).asked_at == household.at


def test_the_duration_runs_from_the_question_to_the_supplier_until_all_is_noted(
    household: Household, caplog: pytest.LogCaptureFixture
) -> None:
    window = claim_window(household, household.add())
    aggregated = household.window_sync.aggregate(
        household.window_sync.filter_known(household.window_sync.fetch(window))
    )
    household.at += timedelta(seconds=90.25)
    with caplog.at_level(logging.INFO, "releve.sync"):
        household.window_sync.store(aggregated)
    assert [line["duration_s"] for line in log_lines(caplog)] == [90.25]


def test_no_line_tells_a_meter_or_a_payload(household: Household, caplog: pytest.LogCaptureFixture) -> None:
    household.supplier.daily = {"usage_point_id": USAGE_POINT, "odd": "payload"}
    account = household.add()
    with caplog.at_level(logging.DEBUG):
        assert household.run(claim_window(household, account)) is None
    assert "code=ANSWER_MALFORMED.SHAPE" in caplog.text
    for secret in (USAGE_POINT, "30001640000011", "payload"):
        assert secret not in caplog.text


def test_the_end_of_an_earlier_window_told_twice_does_not_free_the_next_ones_claim(household: Household) -> None:
    account = household.add()
    first = claim_window(household, account)
    household.results.record_failure(first, SupplierUnavailable("down"))
    claim_window(household, account)
    household.results.record_failure(first, SupplierUnavailable("down"))
    household.results.record_failure(first, RateLimited("wait", retry_after_s=30))
    assert is_in_flight(household, account)


def test_the_days_of_a_late_answer_that_loses_are_asked_for_again(household: Household) -> None:
    account, day = household.add(), household.history.today() - 5 * ONE_DAY
    household.supplier.daily = serving_days({day: 24_000})
    job = household.claims.manual_look_back(account, Series.DAILY)
    household.at += timedelta(seconds=1)
    late = household.window_sync.fetch(job)
    household.supplier.daily = serving_days({day: 31_200})
    household.at += timedelta(seconds=1)
    household.look_back(account, Series.DAILY)
    ledger = household.registry.completeness.load_ledger(account, Series.DAILY)
    assert day not in ledger.due_days(household.history.today(), Series.DAILY)
    household.window_sync.store(household.window_sync.aggregate(household.window_sync.filter_known(late)))
    ledger = household.registry.completeness.load_ledger(account, Series.DAILY)
    assert ledger.due_days(household.history.today(), Series.DAILY) == [day]
    assert household.measures[Doctype.DAY].documents[f"{account}:{day}"]["load"] == 31.2
    assert [(repair["series"], repair["start"]) for repair in household.due_windows().claim_repairs()] == [
        ("daily", str(day))
    ]
