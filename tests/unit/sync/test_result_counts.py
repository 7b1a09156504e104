"""Each window that ends is counted once, with what it brought or why not."""

from __future__ import annotations

import pytest

from tests.support.factories import serving_days, window_job
from tests.support.metric_counts import MetricGrowth
from tests.support.window_runs import days, window_over
from tests.unit.conftest import Household
from worker.domain.measures.readings import Series
from worker.errors import (
    ConsentRevoked,
    MalformedAnswer,
    OperatorFault,
    RateLimited,
    StoreUnavailable,
    SupplierUnavailable,
    UnknownAccount,
    WorkerError,
)

VALUES = days("2024-07-20", 5000, 6000)


def test_a_stored_window_counts_its_readings_and_documents(household: Household) -> None:
    household.supplier.daily = serving_days(VALUES)
    account = household.add()
    counts = MetricGrowth()
    for _ in range(2):
        household.run(window_job(window_over(VALUES), Series.DAILY, account))
    assert counts.growth_by_labels("releve_windows_total") == {("stored", "daily"): 2}
    assert counts.growth_by_labels("releve_readings_stored_total") == {("daily",): 4}
    assert counts.growth_by_labels("releve_documents_total") == {("created", "daily"): 4, ("unchanged", "daily"): 4}


def test_what_the_supplier_corrected_is_counted(household: Household) -> None:
    account = household.add()
    counts = MetricGrowth()
    for values in (VALUES, days("2024-07-20", 5000, 6100)):
        household.supplier.daily = serving_days(values)
        household.run(window_job(window_over(values), Series.DAILY, account))
    assert counts.growth_by_labels("releve_corrections_recorded_total") == {("daily",): 1}


@pytest.mark.parametrize(
    "error, outcome",
    [
        (RateLimited("later"), "rate_limited"),
        (SupplierUnavailable("down"), "supplier_unavailable"),
        (StoreUnavailable("down"), "store_unavailable"),
        (ConsentRevoked("gone"), "action_needed"),
        (UnknownAccount("removed"), "removed"),
        (OperatorFault("key"), "operator_fault"),
        (MalformedAnswer("odd"), "data_error"),
        (WorkerError("unforeseen KeyError"), "unforeseen"),
    ],
)
def test_a_window_that_is_given_up_counts_why(household: Household, error: WorkerError, outcome: str) -> None:
    account = household.add()
    counts = MetricGrowth()
    household.results.record_failure(window_job(window_over(VALUES), Series.DAILY, account), error)
    assert counts.growth_by_labels("releve_windows_total") == {(outcome, "daily"): 1}
    assert counts.growth_by_labels("releve_documents_total") == {}
