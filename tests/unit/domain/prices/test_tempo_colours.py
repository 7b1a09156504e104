"""Tempo's colours: the file, the instants for which a colour holds, and seasons."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import ALL_DAYS, CLOCK_CHANGE_DAYS, days, many
from tests.unit.domain.prices.shared_files import needs_shared_files, read_shared
from worker.domain.prices import Colour, PricesRefused
from worker.domain.prices.tempo import colour_at, name_season, read_colours, season_of, tempo_day, write_colours
from worker.domain.windows import ONE_DAY

PARIS: Final = ZoneInfo("Europe/Paris")

calendars = st.dictionaries(st.sampled_from(ALL_DAYS), st.sampled_from(Colour), min_size=1, max_size=12)


def refusal(text: str) -> str:
    with pytest.raises(PricesRefused) as caught:
        read_colours(text)
    return str(caught.value)


def test_colours_are_named_in_english_or_french_in_any_case() -> None:
    text = "\ufeffDay,Colour\r\n2024-09-03, Rouge\r\n\r\n2024-09-01,BLUE\r\n2024-09-02;bleu\r\n2024-09-04,Blanc\r\n"
    colours = read_colours(text)
    assert list(colours.items()) == [
        (date(2024, 9, 1), Colour.BLUE),
        (date(2024, 9, 2), Colour.BLUE),
        (date(2024, 9, 3), Colour.RED),
        (date(2024, 9, 4), Colour.WHITE),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the first line must be day,colour"),
        ("2024-09-01,BLUE", "the first line must be day,colour"),
        ("day,colour\n\n", "it has no days"),
        (
            "day,colour\n2024-09-01,BLUE\n\n2024-09-02,GREEN",
            "line 4: must be a day and its colour (blue, white or red), such as 2024-01-31,BLUE",
        ),
        (
            "day,colour\n2024-02-30,BLUE",
            "line 2: must be a day and its colour (blue, white or red), such as 2024-01-31,BLUE",
        ),
        (
            "day,colour\n01/09/2024,BLUE",
            "line 2: must be a day and its colour (blue, white or red), such as 2024-01-31,BLUE",
        ),
        (
            "day,colour\n2024-W05-1,BLUE",
            "line 2: must be a day and its colour (blue, white or red), such as 2024-01-31,BLUE",
        ),
        (
            "day,colour\n2024-09-01",
            "line 2: must be a day and its colour (blue, white or red), such as 2024-01-31,BLUE",
        ),
        (
            "day,colour\n2024-09-01,BLUE,1",
            "line 2: must be a day and its colour (blue, white or red), such as 2024-01-31,BLUE",
        ),
        ("day,colour\n2024-09-01,RED\n2024-09-01,WHITE", "line 3: 2024-09-01 was red in a line before"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_its_line(text: str, reason: str) -> None:
    assert refusal(text) == reason


@given(calendars, st.randoms(use_true_random=False))
@many
def test_a_written_file_is_read_back_in_any_order_and_with_rows_told_twice(
    colours: dict[date, Colour], random: Random
) -> None:
    text = write_colours(colours)
    assert read_colours(text) == colours
    header, *rows = text.splitlines()
    rows += rows[:3]
    random.shuffle(rows)
    assert list(read_colours("\n".join([header, *rows])).items()) == sorted(colours.items())


@given(
    st.lists(
        st.sampled_from(["day,colour", "2024-09-01,RED", "2024-09-01,BLUE", "2024-13-01,RED", "x", ",", "\x1c"])
        | st.text(max_size=12)
    ).map("\n".join)
)
@many
def test_any_text_is_refused_in_one_line_or_gives_colours(text: str) -> None:
    try:
        colours = read_colours(text)
    except PricesRefused as refused:
        assert str(refused).isprintable()
    else:
        assert colours
        assert read_colours(write_colours(colours)) == colours


@given(days, st.integers(0, 24 * 60 - 1))
@many
def test_an_instant_has_the_colour_of_the_last_day_whose_six_o_clock_has_come(day: date, minutes: int) -> None:
    instant = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minutes)
    six = [datetime(near.year, near.month, near.day, 6, tzinfo=PARIS) for near in (day - ONE_DAY, day, day + ONE_DAY)]
    begun = [moment.date() for moment in six if moment.astimezone(UTC) <= instant]
    assert tempo_day(instant) == begun[-1]
    assert tempo_day(instant.astimezone(PARIS)) == begun[-1]
    colours = {begun[-1]: Colour.RED, begun[-1] - ONE_DAY: Colour.BLUE, begun[-1] + ONE_DAY: Colour.WHITE}
    assert colour_at(colours, instant) is Colour.RED
    assert colour_at({}, instant) is None


@pytest.mark.parametrize("day", CLOCK_CHANGE_DAYS[:4])
def test_the_night_of_a_clock_change_belongs_to_the_evening_before_it(day: date) -> None:
    """The night lasts until 06:00, which is an hour sooner or later than on other days."""
    before, after = Colour.WHITE, Colour.RED
    colours = {day - ONE_DAY: before, day: after}
    start = datetime(day.year, day.month, day.day, tzinfo=PARIS).astimezone(UTC)
    held = [colour_at(colours, start + timedelta(minutes=minute)) for minute in range(10 * 60)]
    assert Counter(held[: held.index(after)]) == {before: (5 if day.month == 3 else 7) * 60}
    assert set(held[held.index(after) :]) == {after}


@pytest.mark.parametrize(
    ("day", "name", "length"),
    [
        (date(2024, 8, 31), "2023-2024", 366),
        (date(2024, 9, 1), "2024-2025", 365),
        (date(2024, 12, 31), "2024-2025", 365),
        (date(2025, 1, 1), "2024-2025", 365),
    ],
)
def test_a_season_begins_on_the_first_of_september(day: date, name: str, length: int) -> None:
    assert name_season(day) == name
    assert season_of(day).days == length
    assert day in season_of(day)


@needs_shared_files
def test_the_real_calendar_has_the_colours_that_a_season_has() -> None:
    """The season 2019 has 47 white and 18 red days in both public copies."""
    text = read_shared("tempo_days.csv")
    colours = read_colours(text)
    assert len(colours) == 4047
    assert write_colours(colours) == text
    seasons: dict[str, Counter[Colour]] = {}
    for day, colour in colours.items():
        seasons.setdefault(name_season(day), Counter())[colour] += 1
    assert seasons.pop("2025-2026") == {Colour.BLUE: 29}
    others = {name: (found[Colour.WHITE], found[Colour.RED]) for name, found in seasons.items()}
    assert others.pop("2019-2020") == (47, 18)
    assert set(others.values()) == {(43, 22)}
