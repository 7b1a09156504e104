"""Production has consumption's forms: the question says which it is, and in 2026 the answer does, too."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from tests.support.factories import answer_2026, end_labels, v5_answer
from worker.domain.parsing import parse
from worker.domain.parsing.values import ParsedAnswer
from worker.domain.series import Series, curve_of, daily_of
from worker.domain.windows import DateWindow

WINDOW = DateWindow(date(2024, 10, 26), date(2024, 10, 28))
DAYS = [["2024-10-26", "8263"], ["2024-10-27", "0"]]
# The day on which the clocks go back, with zeros at night.
CURVE = [
    [label, str(max(0, 20 - abs(24 - number)) * 60), "PT30M"]
    for number, label in enumerate(end_labels(date(2024, 10, 27)))
]
PRODUCED = [series for series in Series if series.description.direction is not daily_of().description.direction]


def amounts(parsed: ParsedAnswer) -> list[int]:
    assert (parsed.dropped, parsed.differing) == (0, 0)
    return [reading.amount for reading in parsed.readings]


@pytest.mark.parametrize("rows, consumed", [(DAYS, daily_of()), (CURVE, curve_of(daily_of()))])
def test_production_is_read_as_consumption_is(rows: Any, consumed: Series) -> None:
    (produced,) = [series for series in PRODUCED if series.description.granularity is consumed.description.granularity]
    unit = consumed.description.quantity.unit
    expected = parse(v5_answer(rows, unit), consumed, WINDOW)
    assert parse(v5_answer(rows, unit), produced, WINDOW) == expected
    assert parse(answer_2026(rows, produced), produced, WINDOW) == expected
    assert amounts(expected) == [int(value) * (1000 if rows is DAYS else 500) for _, value, *_ in rows]


@pytest.mark.parametrize("rows, consumed", [(DAYS, daily_of()), (CURVE, curve_of(daily_of()))])
def test_the_answer_of_2026_is_never_read_as_the_other_direction(rows: Any, consumed: Series) -> None:
    (produced,) = [series for series in PRODUCED if series.description.granularity is consumed.description.granularity]
    for asked, other in ((produced, consumed), (consumed, produced)):
        body = answer_2026(rows, other)
        body["grandeur"] = body["grandeur"][1:]
        assert not parse(body, asked, WINDOW).readings
