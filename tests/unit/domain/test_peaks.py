"""The maximum power of days, months and years against the subscribed power of the day."""

from __future__ import annotations

from datetime import date, datetime

from worker.domain.documents import Entry
from worker.domain.totals import Peak, find_highest, subscribed_on, to_peaks
from worker.domain.windows import PARIS

CONTRACTS = [Entry("2024-03-10", 6_000_000), Entry("2024-07-02", 9_000_000)]


def peak(day: str, mva: int, clock: str = "19:20:10+02:00") -> Entry:
    return Entry(day, mva, details={"at": f"{day}T{clock}"})


def test_a_peak_has_its_instant_and_the_power_subscribed_on_its_day() -> None:
    low, high = to_peaks([peak("2024-07-01", 6_020_000), peak("2024-07-02", 8_999_000)], CONTRACTS)
    assert low == Peak(date(2024, 7, 1), datetime(2024, 7, 1, 19, 20, 10, tzinfo=PARIS), 6_020_000, 6_000_000)
    assert (low.exceeds, low.percent, high.exceeds, high.percent) == (True, 100, False, 99)
    (unknown,) = to_peaks([Entry("2024-07-01", 4_000_000)])
    assert (unknown.at, unknown.subscribed, unknown.percent, unknown.exceeds) == (None, None, None, False)


def test_a_contract_without_a_power_says_nothing_of_the_share() -> None:
    assert to_peaks([peak("2024-07-01", 1)], [Entry("2024-07-01", 0)])[0].subscribed is None
    assert subscribed_on(date(2024, 7, 1), [Entry("2024-07-01", 0)]) is None
    assert subscribed_on(date(2024, 7, 1), []) is None


def test_the_highest_is_the_earliest_of_equal_ones() -> None:
    days = ["2023-12-31", "2024-01-01", "2024-01-02", "2024-02-03"]
    peaks = to_peaks([peak(day, mva, "08:00:00+01:00") for day, mva in zip(days, (7, 9, 9, 5), strict=True)])
    assert find_highest(peaks) == find_highest(reversed(peaks)) == peaks[1]
    assert find_highest([]) is None
