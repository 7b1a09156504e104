"""Hypothesis strategies: days with many clock changes, load curves of any step length, valid and invalid values."""

from __future__ import annotations

from datetime import UTC, date, timedelta
from typing import Any, Final

from hypothesis import settings
from hypothesis import strategies as st

from tests.support.factories import Row
from tests.support.profiles import examples
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, day_length, local_midnight

FIRST_DAY, LAST_DAY = date(2020, 1, 1), date(2030, 12, 31)
ALL_DAYS: Final = [FIRST_DAY + number * ONE_DAY for number in range((LAST_DAY - FIRST_DAY).days + 1)]
CLOCK_CHANGE_DAYS: Final = [day for day in ALL_DAYS if day_length(day) != timedelta(hours=24)]
STEPS: Final = (5, 10, 15, 20, 30, 60)

few = settings(max_examples=examples(25))
several = settings(max_examples=examples(40))
many = settings(max_examples=examples(100))

days = st.one_of(st.sampled_from(CLOCK_CHANGE_DAYS), st.dates(FIRST_DAY, LAST_DAY))
watts = st.integers(0, 36_000)
good_values = st.one_of(watts, watts.map(str), watts.map(lambda number: f" {number}.5 "))
bad_values = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(["", "  ", "null", "NaN", "-0.1", "-2", "1e3", "1,5", "--", "٣", "Infinity", "12 W", "0x1F"]),
    st.integers(max_value=-1),
    st.integers(min_value=10**9),
    st.floats(max_value=-1e-300),
    st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)

_NAMES: Final = [
    *("meter_reading", "interval_reading", "usage_point", "usage_point_id", "reading_type", "unit", "start"),
    *("value", "date", "rank", "interval_length", "grandeur", "grandeurMetier", "grandeurPhysique", "unite"),
    *("points", "v", "d", "p", "idPrm", "periode"),
]
_WORDS: Final = [
    *("CONS", "PROD", "EA", "PA", "W", "Wh", "VA", "PT30M", "PT60M", "PT0M", "P1D", "0", "-1", "1200", "1e400", ""),
    *("2024-01-15", "2024-02-31", "9999-12-31", "0001-01-01", "2024-01-15 00:30:00", "2024-03-31 02:30:00"),
    *("2024-10-27 02:30:00", "2024-10-27T02:30:00+02:00", "2024-01-15T24:00:00", "2024-01-15_00:30:00"),
]
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(_WORDS))
json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(_NAMES), st.text(max_size=4)), inner, max_size=5),
    ),
    max_leaves=25,
)


@st.composite
def windows(draw: st.DrawFn, longest: int = 40) -> DateWindow:
    start = draw(st.dates(date(2023, 9, 1), date(2024, 6, 1)))
    return DateWindow(start, start + timedelta(days=draw(st.integers(1, longest))))


@st.composite
def curve_days(draw: st.DrawFn, values: st.SearchStrategy[Any] = watts) -> tuple[date, list[Row]]:
    """Draw a complete civil day of rows with end labels; the step length may change from hour to hour."""
    day = draw(days)
    hours = day_length(day) // timedelta(hours=1)
    steps = draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=3))
    rows: list[Row] = []
    instant = local_midnight(day).astimezone(UTC)
    for hour in range(hours):
        step = steps[hour * len(steps) // hours]
        for _ in range(60 // step):
            instant += timedelta(minutes=step)
            label = instant.astimezone(PARIS).strftime("%Y-%m-%d %H:%M:%S")
            rows.append([label, draw(values) if len(rows) < 60 else 100 + len(rows), f"PT{step}M"])
    return day, rows
