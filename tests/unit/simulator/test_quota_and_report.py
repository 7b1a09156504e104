"""The quota, its refusals, and the report of the calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from simulator.running_state import CallQuota, CallReport, Peaks
from tests.support.enedis_caller import HOME, SimulatorCaller

NOON = datetime(2024, 11, 5, 12, 59, 30, tzinfo=UTC)


def test_the_fullest_hour_is_refused_until_the_next(supplier: SimulatorCaller) -> None:
    supplier.admin("clock", {"now": "2024-11-05T12:10:00+01:00"})
    supplier.admin("quota", {"per_hour": 3})
    statuses = [supplier.request_measures().status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    body = supplier.request_measures().json()
    assert (body["code"], body["nextAccessTime"]) == ("900804", "2024-Nov-05 12:00:00+0000 UTC")
    assert body["description"].endswith(body["nextAccessTime"])
    supplier.admin("clock", {"now": "2024-11-05T13:00:01+01:00"})
    assert supplier.request_measures().status_code == 200
    assert supplier.report()["refusals"] == 3


def test_the_oldest_generation_says_it_in_its_own_way(supplier: SimulatorCaller) -> None:
    supplier.bearer("v4")
    supplier.admin("quota", {"per_hour": 0})
    refused = supplier.request_measures(generation="v4")
    assert (refused.status_code, refused.json()["error"]) == (429, "429")
    assert refused.json()["error_description"].startswith("Quota Q4 reached Call threshold allowed on 0:")
    assert "retry-after" not in refused.headers


def test_the_newest_counts_each_api_for_itself(supplier: SimulatorCaller) -> None:
    supplier.admin("quota", {"per_hour": 1})
    assert supplier.request_measures(generation="2026").status_code == 200
    assert supplier.request_measures(series="curve", generation="2026").status_code == 429
    services = supplier.http.post(
        "/subscribed_services/v1",
        json={"autorisationId": 7, "comptage": False},
        headers={"Authorization": f"Bearer {supplier.bearer('2026')}"},
    )
    assert services.status_code == 200


def test_a_quota_can_be_lifted(supplier: SimulatorCaller) -> None:
    supplier.admin("quota", {"per_second": 1, "per_hour": 1})
    assert supplier.admin("quota", None) == {"per_second": None, "per_hour": None}
    assert {supplier.request_measures().status_code for _ in range(4)} == {200}
    assert supplier.http.post("/__sim__/quota", json={"per_minute": 1}).status_code == 400


def test_a_second_lets_so_many_through_and_opens_again() -> None:
    quota = CallQuota(per_second=2)
    moments = [NOON + timedelta(milliseconds=delay_ms) for delay_ms in (0, 400, 900, 1000, 1100)]
    assert [quota.take("data", moment) is None for moment in moments] == [True, True, False, True, False]
    limit = quota.take("data", moments[-1])
    assert limit is not None
    assert (limit.per_second, limit.opens_at) == (True, NOON + timedelta(milliseconds=1400))


@given(st.lists(st.integers(0, 4000), max_size=60), st.integers(1, 5))
def test_no_second_ever_holds_more_than_the_quota(gaps_ms: list[int], per_second: int) -> None:
    quota, peaks, now = CallQuota(per_second=per_second), Peaks(), NOON
    for gap_ms in gaps_ms:
        now += timedelta(milliseconds=gap_ms)
        if quota.take("data", now) is None:
            peaks.add(now.timestamp())
    assert peaks.max_in_any_second <= per_second


@given(st.lists(st.integers(0, 3_000_000), max_size=80).map(sorted))
def test_the_report_finds_the_fullest_second_and_hour(moments_ms: list[int]) -> None:
    peaks = Peaks()
    for moment_ms in moments_ms:
        peaks.add(moment_ms / 1024)
    fullest = max((sum(end - 1024 < other <= end for other in moments_ms) for end in moments_ms), default=0)
    assert peaks.max_in_any_second == fullest
    assert peaks.max_in_any_hour == len(moments_ms)  # All lie within fifty minutes.


def test_a_clock_that_is_set_back_begins_a_new_count() -> None:
    peaks = Peaks()
    for now_s in (100.0, 100.5, 50.0, 50.1, 50.2):
        peaks.add(now_s)
    assert (peaks.max_in_any_second, peaks.max_in_any_hour, peaks.calls) == (3, 3, 5)


def test_the_report_tells_the_suppliers_side(supplier: SimulatorCaller) -> None:
    supplier.request_measures()
    supplier.request_measures("2024-11-02", "2024-11-01")
    supplier.request_measures(usage_point="11111111111111")
    report = supplier.report()
    assert (report["calls"], report["data_calls"], report["refusals"]) == (4, 3, 0)
    assert report["by_status"] == {"200": 3, "400": 1}
    assert report["by_usage_point"] == {HOME: 2, "11111111111111": 1}
    assert report["tokens"] == {"client_credentials": 1}
    assert 1 <= report["max_in_any_second"] <= 3
    assert report["max_in_any_hour"] == 3
    supplier.http.delete("/__sim__/report")
    assert supplier.report() == CallReport().as_json()
