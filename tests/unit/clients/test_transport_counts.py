"""Requests are counted by the class of their answer's status, answers by what they mean."""

from __future__ import annotations

from contextlib import suppress
from datetime import date

import pytest
import requests

from tests.support.factories import v5_answer
from tests.support.metric_counts import MetricGrowth
from tests.support.supplier_server import BASE_URL, USAGE_POINT, ClientHarness
from worker.domain.lanes import enter_lane, leave_lane
from worker.domain.series import Series
from worker.domain.windows import DateWindow
from worker.errors import WorkerError

WINDOW = DateWindow(date(2024, 7, 1), date(2024, 7, 20))
CALLS, ANSWERS = "releve_supplier_calls_total", "releve_supplier_answers_total"
DATA = v5_answer([["2024-07-02", "1000"]], "Wh")
DATA["meter_reading"]["usage_point_id"] = USAGE_POINT


def ask(harness: ClientHarness) -> None:
    harness.client.ask(Series.DAILY, USAGE_POINT, WINDOW)


@pytest.mark.parametrize(
    "status, body, counted, meant",
    [
        (404, {"error": {"error": "no_data_found"}}, "4xx", "no_data"),
        (429, {"error": "900802"}, "429", "rate_limited"),
        (503, b"<html>", "5xx", "supplier_unavailable"),
        (403, {"error": "ADAM-DC-0008"}, "4xx", "action_needed"),
        (403, {"error": "900908"}, "4xx", "operator_fault"),
        (400, {"error": "ADAM-ERR0123"}, "4xx", "before_history"),
    ],
)
def test_what_the_supplier_says_is_counted_once(
    v5: ClientHarness, status: int, body: object, counted: str, meant: str
) -> None:
    v5.answer_measures(status, body)
    counts = MetricGrowth()
    with suppress(WorkerError):
        ask(v5)
    assert counts.growth_by_labels(CALLS) == {("data", "by_hand", counted): 1}
    assert counts.growth_by_labels(ANSWERS) == {(meant, "by_hand"): 1}
    assert counts.growth("releve_supplier_call_seconds_count", api="data") == 1


def test_a_refused_token_its_renewal_and_the_second_call_are_three_requests_of_the_lane(v5: ClientHarness) -> None:
    v5.answer_measures(401)
    v5.answer_token(200, {"access_token": "access-token-two", "token_type": "Bearer", "expires_in": 12600})
    v5.answer_measures(200, DATA)
    counts, token = MetricGrowth(), enter_lane("nightly")
    ask(v5)
    leave_lane(token)
    assert counts.growth_by_labels(CALLS) == {
        ("data", "nightly", "4xx"): 1,
        ("token", "nightly", "2xx"): 1,
        ("data", "nightly", "2xx"): 1,
    }
    assert counts.growth_by_labels(ANSWERS) == {("token_refused", "nightly"): 1, ("data", "nightly"): 1}


def test_where_no_answer_came_there_is_nothing_to_mean(v5: ClientHarness) -> None:
    for path in set(v5.endpoints.preset.paths.values()):
        v5.supplier.add("GET", BASE_URL + path, body=requests.ConnectionError("gone"))
    counts = MetricGrowth()
    with pytest.raises(WorkerError):
        ask(v5)
    assert counts.growth_by_labels(CALLS) == {("data", "by_hand", "none"): 1}
    assert counts.growth_by_labels(ANSWERS) == {}
