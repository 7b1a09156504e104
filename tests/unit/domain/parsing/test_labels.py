"""Conversion of end labels to starts: on every day of eleven years, with each way to label the autumn hour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import end_labels
from tests.support.strategies import ALL_DAYS, CLOCK_CHANGE_DAYS, several
from worker.domain.parsing.timestamps import Label, parse_step_minutes, to_starts
from worker.domain.windows import ONE_DAY, PARIS, day_length, local_midnight

AUTUMN_DAYS = [day for day in CLOCK_CHANGE_DAYS if day_length(day) == timedelta(hours=25)]
AUTUMN, SPRING = date(2024, 10, 27), date(2024, 3, 31)


def true_starts(day: date, minutes: int) -> list[datetime]:
    start, step = local_midnight(day).astimezone(UTC), timedelta(minutes=minutes)
    return [start + number * step for number in range(day_length(day) // step)]


def to_labels(texts: Sequence[str], minutes: int) -> list[Label]:
    return [Label(datetime.fromisoformat(text), timedelta(minutes=minutes)) for text in texts]


def true_labels(day: date, minutes: int) -> list[Label]:
    return to_labels(end_labels(day, minutes), minutes)


def wall_clock_labels(day: date, minutes: int) -> list[Label]:
    """Return labels made by adding steps to the wall clock: the repeated hour is 02:30, 03:00, 02:30, 03:00."""
    starts = (start.astimezone(PARIS).replace(tzinfo=None) for start in true_starts(day, minutes))
    return [Label(start + timedelta(minutes=minutes), timedelta(minutes=minutes)) for start in starts]


def starts_of(labels: Sequence[Label]) -> list[datetime]:
    return [start.astimezone(UTC) for start in to_starts(labels)]


@pytest.mark.parametrize(
    "year, minutes",
    [
        (2024, 60),
        (2024, 30),
        *(pytest.param(year, 30, marks=pytest.mark.rest) for year in range(2020, 2031) if year != 2024),
    ],
)
def test_true_labels_give_back_true_starts_on_every_day(year: int, minutes: int) -> None:
    days = [day for day in ALL_DAYS if day.year == year]
    labels = [label for day in days for label in true_labels(day, minutes)]
    starts = [start for day in days for start in true_starts(day, minutes)]
    assert starts_of(labels) == starts
    assert starts_of(labels[::-1]) == starts[::-1]


@pytest.mark.parametrize("minutes", [5, 10, 15, 20, 30, 60])
def test_every_way_to_label_a_clock_change_day_gives_its_true_starts(minutes: int) -> None:
    for day in CLOCK_CHANGE_DAYS:
        assert_starts([day], minutes)


@pytest.mark.parametrize("minutes", [5, 10, 15, 30, 60])
def test_the_autumn_day_in_the_middle_of_its_week_is_no_different(minutes: int) -> None:
    for day in AUTUMN_DAYS if minutes >= 30 else AUTUMN_DAYS[:3]:
        assert_starts([day + number * ONE_DAY for number in range(-3, 4)], minutes)


def assert_starts(days: Sequence[date], minutes: int) -> None:
    """Check the starts of these days for each way to label them, and backwards."""
    starts = [start for day in days for start in true_starts(day, minutes)]
    for style in (true_labels, wall_clock_labels):
        labels = [label for day in days for label in style(day, minutes)]
        assert starts_of(labels) == starts, (days, style)
        assert starts_of(labels[::-1]) == starts[::-1], (days, style)


@several
@given(st.sampled_from(CLOCK_CHANGE_DAYS), st.integers(0, 49), st.integers(0, 49))
def test_a_hole_elsewhere_does_not_move_the_other_steps(day: date, first: int, second: int) -> None:
    labels, starts = true_labels(day, 30), true_starts(day, 30)
    passes = {start for start in starts if start.astimezone(PARIS).hour in (1, 2)}
    holes = {index for index in (first, second) if index < len(starts) and starts[index] not in passes}
    remaining = [index for index in range(len(starts)) if index not in holes]
    assert starts_of([labels[index] for index in remaining]) == [starts[index] for index in remaining]


@pytest.mark.parametrize("day", AUTUMN_DAYS[:3], ids=str)
def test_one_missing_label_of_the_autumn_day_loses_no_other(day: date) -> None:
    labels, starts = true_labels(day, 30), true_starts(day, 30)
    for missing in range(50):
        resolved = set(starts_of(labels[:missing] + labels[missing + 1 :]))
        assert len(resolved) == 49 and resolved <= set(starts), labels[missing]


@several
@given(st.sampled_from(CLOCK_CHANGE_DAYS), st.integers(0, 10_000), st.sampled_from([5, 10, 15, 30, 60]))
def test_rows_that_changed_places_keep_their_labels(day: date, at: int, minutes: int) -> None:
    labels, starts = true_labels(day, minutes), true_starts(day, minutes)
    place = place_of_neighbours(labels, at)
    for rows in (labels, starts):
        rows[place], rows[place + 1] = rows[place + 1], rows[place]
    assert starts_of(labels) == starts


@several
@given(st.sampled_from(CLOCK_CHANGE_DAYS), st.integers(0, 10_000), st.sampled_from([5, 10, 15, 30, 60]))
def test_a_label_sent_twice_and_one_missing_move_no_other_step(day: date, at: int, minutes: int) -> None:
    labels, starts = true_labels(day, minutes), true_starts(day, minutes)
    place = place_of_neighbours(labels, at)
    labels[place + 1], starts[place + 1] = labels[place], starts[place]
    assert starts_of(labels) == starts


def place_of_neighbours(labels: Sequence[Label], at: int) -> int:
    """Return the place of two neighbours away from the autumn hour, whose two passes only the order tells apart."""
    places = [place for place in range(len(labels) - 1) if not is_near_autumn_hour(labels[place : place + 2])]
    return places[at % len(places)]


def is_near_autumn_hour(labels: Sequence[Label]) -> bool:
    """Return whether one of these labels is from 02:00 to 03:30 of an autumn day."""
    autumn = day_length((labels[0].end - timedelta(minutes=1)).date()) == timedelta(hours=25)
    return autumn and any(time(2) <= label.end.time() <= time(3, 30) for label in labels)


def test_a_spring_day_of_wall_clock_steps_that_ends_too_early_goes_by_position() -> None:
    labels = to_labels([f"2024-03-31 {minutes // 60:02}:{minutes % 60:02}" for minutes in range(30, 1381, 30)], 30)
    assert starts_of(labels) == true_starts(SPRING, 30)


@several
@given(st.sampled_from(AUTUMN_DAYS), st.randoms(), st.sampled_from([30, 60]))
def test_a_shuffled_autumn_day_keeps_every_step(day: date, random, minutes: int) -> None:  # type: ignore[no-untyped-def]
    labels = true_labels(day, minutes)
    resolved = starts_of(random.sample(labels, len(labels)))
    assert sorted(resolved) == true_starts(day, minutes)


@pytest.mark.parametrize("at", [5, 30])
def test_a_label_sent_twice_elsewhere_does_not_disturb_the_autumn_hour(at: int) -> None:
    labels, starts = true_labels(AUTUMN, 30), true_starts(AUTUMN, 30)
    assert starts_of(labels[: at + 1] + labels[at:]) == starts[: at + 1] + starts[at:]


def test_labels_with_their_own_offset_need_no_guess_in_any_order() -> None:
    starts = true_starts(AUTUMN, 30)
    labels = [Label(start + timedelta(minutes=30), timedelta(minutes=30)) for start in starts]
    local = [Label(label.end.astimezone(PARIS), label.length) for label in labels]
    for same_labels in (labels, local):
        assert starts_of(same_labels) == starts
        assert starts_of(same_labels[::-1]) == starts[::-1]


def test_an_answer_without_the_repeated_hour_has_a_hole_there() -> None:
    texts = list(dict.fromkeys(end_labels(AUTUMN)))
    resolved = starts_of(to_labels(texts, 30))
    assert len(resolved) == len(set(resolved)) == 48
    assert set(resolved) < set(true_starts(AUTUMN, 30))


def test_mixed_steps_on_the_autumn_day_are_told_apart() -> None:
    texts = ["01:30", "02:00", "02:15", "02:30", "02:45", "02:00", "02:30", "03:00", "04:00"]
    lengths = [30, 30, 15, 15, 15, 15, 30, 30, 60]
    labels = [
        Label(datetime.fromisoformat(f"2024-10-27 {text}"), timedelta(minutes=length))
        for text, length in zip(texts, lengths, strict=True)
    ]
    resolved = [start.strftime("%H:%M") for start in starts_of(labels)]
    # The times are in UTC: 23:00 is one o'clock in summer.
    assert resolved == ["23:00", "23:30", "00:00", "00:15", "00:30", "00:45", "01:00", "01:30", "02:00"]


def test_no_labels_give_no_starts() -> None:
    assert to_starts([]) == []


def test_a_step_in_seconds_has_at_most_five_digits() -> None:
    texts = ["1800", "03600", "003600"]
    assert [parse_step_minutes(text) for text in texts] == [30, 60, None]
