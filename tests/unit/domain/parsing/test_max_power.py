"""The maximum power of a day: VA, the civil day of its stamp, its instant; the higher of two holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import v5_answer
from tests.support.strategies import many
from worker.domain.parsing.electricity import parse_max_power
from worker.domain.parsing.values import ParsedAnswer
from worker.errors import MalformedAnswer

VA = {"unit": "VA", "measurement_kind": "power", "aggregate": "maximum", "measuring_period": "P1D"}


def v5(rows: list[Any]) -> Any:
    return v5_answer(rows, reading_type=VA)


def answer_2026(rows: list[Any]) -> Any:
    items = [
        {"grandeurMetier": "CONS", "grandeurPhysique": name, "unite": "VA", "points": points}
        for name, points in (
            ("PMA1", [{"v": "9999", "d": "2024-01-15 12:00:00"}]),  # One phase of three.
            ("PMA", [{"v": value, "d": label} for label, value in rows]),
        )
    ]
    return {"idPrm": "98765432109876", "pas": "P1D", "grandeur": items}


def days_of(parsed: ParsedAnswer) -> dict[str, tuple[int, str | None]]:
    return {
        str(reading.start.date()): (reading.amount // 1000, (reading.details or {}).get("at"))
        for reading in parsed.readings
    }


@pytest.mark.parametrize("envelope", [v5, answer_2026])
@pytest.mark.parametrize(
    "label, day, at",
    [
        ("2024-01-15 19:06:20", "2024-01-15", "2024-01-15T19:06:20+01:00"),
        ("2024-01-15T19:06", "2024-01-15", "2024-01-15T19:06:00+01:00"),
        ("2024-01-15 00:00:00", "2024-01-15", "2024-01-15T00:00:00+01:00"),
        ("2024-01-15", "2024-01-15", None),
        # The hour that comes twice: its first pass. A stamp with its offset is the pass that it says.
        ("2024-10-27 02:30:00", "2024-10-27", "2024-10-27T02:30:00+02:00"),
        ("2024-10-27T02:30:00+01:00", "2024-10-27", "2024-10-27T02:30:00+01:00"),
        # The hour that spring skips.
        ("2024-03-31 02:30:00", "2024-03-31", "2024-03-31T03:30:00+02:00"),
        # The civil day is that of the meter.
        ("2024-07-14T23:30:00Z", "2024-07-15", "2024-07-15T01:30:00+02:00"),
    ],
)
def test_a_reading_has_the_day_and_the_instant_of_its_stamp(
    envelope: Any, label: str, day: str, at: str | None
) -> None:
    parsed = parse_max_power(envelope([[label, "4638"]]))
    assert days_of(parsed) == {day: (4638, at)}
    assert (parsed.dropped, parsed.differing, parsed.left_out) == (0, 0, 0)


@pytest.mark.parametrize("envelope", [v5, answer_2026])
def test_of_two_of_one_day_the_higher_holds_and_of_two_alike_the_earlier(envelope: Any) -> None:
    rows = [["2024-01-15 08:00:00", "3000"], ["2024-01-15 19:00:00", "4000"], ["2024-01-15 07:00:00", "4000"]]
    for order in (rows, rows[::-1]):
        parsed = parse_max_power(envelope(order))
        assert days_of(parsed) == {"2024-01-15": (4000, "2024-01-15T07:00:00+01:00")}
        assert (parsed.dropped, parsed.left_out) == (0, 2)


@pytest.mark.parametrize("label", [None, 5, "", "2024-02-30 10:00:00", "2024-01-15 25:00:00", "20XX-01-15 10:00:00"])
def test_a_reading_without_a_readable_stamp_or_value_is_left_out(label: Any) -> None:
    parsed = parse_max_power(v5([[label, "4638"], ["2024-01-15 10:00:00", "null"], ["2024-01-16 10:00:00", 0]]))
    assert days_of(parsed) == {"2024-01-16": (0, "2024-01-16T10:00:00+01:00")}
    assert parsed.dropped == 2


@pytest.mark.parametrize("name, wrong", [("unit", "W"), ("measurement_kind", "energy"), ("aggregate", "average")])
def test_another_quantity_is_refused(name: str, wrong: str) -> None:
    with pytest.raises(MalformedAnswer):
        parse_max_power(v5_answer([["2024-01-15 10:00:00", "1"]], reading_type={**VA, name: wrong}))


def _to_stamp(seconds: int) -> datetime:
    return datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


_seconds = st.integers(0, 366 * 86_400 - 1)


@many
@given(st.lists(st.tuples(_seconds.map(_to_stamp), st.integers(0, 36_000)), max_size=30), st.randoms())
def test_each_day_has_its_highest_whatever_the_order(rows: list[Any], random: Any) -> None:
    sent = [[f"{stamp:%Y-%m-%d %H:%M:%S}", str(value)] for stamp, value in rows]
    parsed = parse_max_power(v5(sent))
    highest: dict[str, int] = {}
    for stamp, value in rows:
        highest[str(stamp.date())] = max(value, highest.get(str(stamp.date()), 0))
    assert {day: value for day, (value, _) in days_of(parsed).items()} == highest
    random.shuffle(sent)
    assert parse_max_power(v5(sent)) == parsed
