"""The shares of fresh accounts by hour of the day, and how they are drawn."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from worker.cli.status import count_by_hour_of_day, print_freshness, sparkline
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY
from worker.stores.registry.outcomes import HourFreshness


def test_freshness_is_gathered_by_the_hour_on_the_meters_clock() -> None:
    morning = datetime(2024, 7, 24, 6, 0, tzinfo=UTC)  # In Paris this is 08:00 summer time.
    counts = [(morning, 10, 2), (morning + ONE_DAY, 10, 4), (morning + timedelta(hours=1), 10, 10), (morning, 0, 0)]
    hours = [HourFreshness(hour, Series.DAILY, active, complete) for hour, active, complete in counts]
    assert count_by_hour_of_day(hours) == {8: (6, 20), 9: (10, 10)}
    assert sparkline([None, (0, 2), (1, 2), (2, 2)]) == "·▁▅█"
    assert sparkline([(1, 1000), (999, 1000)]) == "▂▇"  # The lowest bar is nobody, the highest everybody.
    assert [row.share for row in hours[-2:]] == [1.0, None]


def test_freshness_is_a_hundred_percent_only_where_nobody_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    hour = datetime(2024, 7, 24, 6, 0, tzinfo=UTC)
    rows = [HourFreshness(hour, Series.DAILY, 10_000, 9_999), HourFreshness(hour, Series.LOAD_CURVE, 10_000, 1)]
    print_freshness(date(2024, 7, 24), rows, rows)
    printed = capsys.readouterr().out
    assert "2024-07-23 daily: 99.9% (9999 of 10000 active accounts)" in printed
    assert "2024-07-23 load_curve: 0.1% (1 of 10000 active accounts)" in printed
    assert "100.0%" not in printed and " 0.0%" not in printed
    print_freshness(date(2024, 7, 24), [HourFreshness(hour, Series.DAILY, 0, 0)], [])
    assert "daily: no account yet (0 of 0 active accounts)" in capsys.readouterr().out
