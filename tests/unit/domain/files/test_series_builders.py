"""Curves of rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

import pytest

from worker.domain.files.cells import Source
from worker.domain.files.file_series import Origin, StepRow, build_curve

ORIGIN = Origin(Source.of("curve.csv"), "made", None)


@pytest.mark.parametrize(
    ("told", "steps"),
    [
        ((None, None, None), (30, 30, 30)),
        ((15, None, 10), (15, 30, 10)),
        ((10, 10, 10), (10, 10, 10)),
    ],
)
def test_a_row_without_a_step_has_that_of_its_neighbours(told: Sequence[int | None], steps: Sequence[int]) -> None:
    ends = [datetime.fromisoformat(f"2024-07-01T{time}") for time in ("01:00", "01:30", "02:00")]
    curve = build_curve(ORIGIN, [StepRow(end, Decimal(600), minutes) for end, minutes in zip(ends, told, strict=True)])
    assert [reading.length.seconds // 60 for reading in curve.readings] == list(steps)
    assert [reading.amount for reading in curve.readings] == [10_000 * step for step in steps]
    assert curve.step_minutes == tuple(sorted(set(steps)))
