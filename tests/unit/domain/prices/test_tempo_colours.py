"""Tempo's colours: the file that tells them by day."""

from __future__ import annotations

from collections import Counter
from datetime import date
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import ALL_DAYS, many
from tests.unit.domain.prices.shared_files import needs_shared_files, read_shared
from worker.domain.prices import Colour, PricesRefused
from worker.domain.prices.tempo import read_colours, write_colours

calendars = st.dictionaries(st.sampled_from(ALL_DAYS), st.sampled_from(Colour), min_size=1, max_size=12)


def season_of(day: date) -> str:
    """Return the name of the season, which begins on 1 September."""
    year = day.year - (day.month < 9)
    return f"{year}-{year + 1}"


def refusal(text: str) -> str:
    with pytest.raises(PricesRefused) as caught:
        read_colours(text)
    return str(caught.value)


def test_colours_are_named_in_english_or_french_in_any_case() -> None:
    text = "\ufeffDay,Colour\r\n2024-09-03, Red\r\n\r\n2024-09-01,BLUE\r\n2024-09-02;blue\r\n2024-09-04,White\r\n"
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


@needs_shared_files
def test_the_real_calendar_has_the_colours_that_a_season_has() -> None:
    """The season 2019 has 47 white and 18 red days in both public copies."""
    text = read_shared("tempo_days.csv")
    colours = read_colours(text)
    assert len(colours) == 4047
    assert write_colours(colours) == text
    seasons: dict[str, Counter[Colour]] = {}
    for day, colour in colours.items():
        seasons.setdefault(season_of(day), Counter())[colour] += 1
    assert seasons.pop("2025-2026") == {Colour.BLUE: 29}
    others = {name: (found[Colour.WHITE], found[Colour.RED]) for name, found in seasons.items()}
    assert others.pop("2019-2020") == (47, 18)
    assert set(others.values()) == {(43, 22)}
