"""How often a policy asks for a series."""

from __future__ import annotations

import pytest

from worker.domain.schedule import MOST_NIGHTS, FleetPolicy
from worker.domain.series import Series


def test_a_policy_says_every_how_many_nights_a_series_is_asked_for() -> None:
    policy = FleetPolicy(2, 3)
    assert [policy.every(series) for series in (Series.DAILY, Series.LOAD_CURVE)] == [2, 3]


@pytest.mark.parametrize("nights", [(0, 1), (1, 0), (MOST_NIGHTS + 1, 1), (1, MOST_NIGHTS + 1)])
def test_no_more_nights_than_one_call_reaches(nights: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="every 1 to 7 nights"):
        FleetPolicy(*nights)
