"""The shares of fresh accounts by hour of the day, and how they are drawn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from worker.cli.freshness import share_by_hour_of_day, sparkline
from worker.domain.measures.readings import ONE_DAY, Series
from worker.stores.registry.completeness import HourFreshness


def test_freshness_is_gathered_by_the_hour_on_the_meters_clock() -> None:
    morning = datetime(2024, 7, 24, 6, 0, tzinfo=UTC)  # In Paris this is 08:00 summer time.
    counts = [(morning, 10, 2), (morning + ONE_DAY, 10, 4), (morning + timedelta(hours=1), 10, 10), (morning, 0, 0)]
    hours = [HourFreshness(hour, Series.DAILY, active, complete) for hour, active, complete in counts]
    assert share_by_hour_of_day(hours) == {8: 0.3, 9: 1.0}
    assert sparkline([None, 0.0, 0.5, 1.0]) == "·▁▅█"
    assert [row.share for row in hours[-2:]] == [1.0, None]
