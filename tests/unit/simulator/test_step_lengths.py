"""The length of recorded steps, from their end labels alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.files.file_series import infer_minutes
from worker.domain.parsing.timestamps import to_instants

MIDNIGHT = datetime(2024, 1, 10, tzinfo=UTC)


def _minutes(*labels: str) -> list[int]:
    return infer_minutes(to_instants([datetime.fromisoformat(f"2024-01-10 {label}") for label in labels]))


@pytest.mark.parametrize(
    ("labels", "minutes"),
    [
        (["00:30", "01:00", "01:30"], [30, 30, 30]),
        (["01:00", "02:00", "03:00"], [60, 60, 60]),
        (["00:30", "01:00", "02:00", "03:00"], [30, 30, 60, 60]),
        (["01:00", "02:00", "03:00", "03:30", "04:00"], [60, 60, 60, 30, 30]),
        (["00:30", "01:00", "02:00", "02:30"], [30, 30, 30, 30]),  # One half-hour is missing.
        (["00:30", "01:30", "02:30", "03:00"], [30, 30, 30, 30]),  # An hour never ends at half past.
        (["00:30", "01:00", "05:00", "06:00", "07:00"], [30, 30, 60, 60, 60]),  # A gap, then hours.
        (["01:00", "02:00", "07:00", "07:30"], [60, 60, 30, 30]),
        (["00:30", "01:00", "09:00"], [30, 30, 30]),
        (["00:10", "00:20", "00:40", "00:50"], [10, 10, 10, 10]),
        (["00:15", "00:30", "00:45", "01:00", "01:30", "02:00"], [15, 15, 15, 15, 30, 30]),
        (["12:00"], [30]),
        ([], []),
    ],
)
def test_a_step_is_as_long_as_its_neighbours_say(labels: list[str], minutes: list[int]) -> None:
    assert _minutes(*labels) == minutes


@given(st.sampled_from([10, 15, 30, 60]), st.sets(st.integers(2, 94), max_size=20))
def test_single_holes_never_change_the_step(step: int, lost: set[int]) -> None:
    lonely = {rank for rank in lost if not {rank - 2, rank - 1, rank + 1, rank + 2, rank - 3, rank + 3} & lost}
    ends = [MIDNIGHT + timedelta(minutes=step * rank) for rank in range(1, 97) if rank not in lonely]
    assert set(infer_minutes(ends)) == {step}


def test_the_order_of_labels_tells_the_two_passes_of_the_autumn_hour_apart() -> None:
    labels = [datetime.fromisoformat(f"2023-10-29 {label}") for label in ("02:00", "02:30", "02:00", "02:30", "03:00")]
    instants = to_instants(labels)
    assert [instant.strftime("%H:%M") for instant in instants] == ["00:00", "00:30", "01:00", "01:30", "02:00"]
    assert infer_minutes(instants) == [30] * 5
