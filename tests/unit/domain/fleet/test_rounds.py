"""The order of a night: one round over all ids, each night from another start."""

from __future__ import annotations

import random
from bisect import bisect_right
from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.fleet.rounds import Round, start_of
from worker.domain.measures.readings import ONE_DAY

IDS = st.lists(st.text("abk9", min_size=1, max_size=4), min_size=1, max_size=12, unique=True)


def walked(ids: list[str], place: Round | None, page: int) -> list[str]:
    """Return the ids in the order in which a round visits them, a page at a time."""
    visited: list[str] = []
    while place is not None:
        place = Round.parse(str(place))  # A cursor keeps it as a text.
        assert place is not None
        last = place.until
        page_ids = sorted(
            account_id for account_id in ids if account_id > place.after and (last is None or account_id <= last)
        )[:page]
        visited += page_ids
        place = place.at(page_ids[-1]) if page_ids else place.next_lap()
    return visited


@given(IDS, st.text("abk9", max_size=4), st.integers(1, 5))
def test_a_round_meets_everybody_once_wherever_it_begins(ids: list[str], start: str, page: int) -> None:
    visited = walked(ids, Round.beginning(start), page)
    assert visited == [
        *sorted(account_id for account_id in ids if account_id > start),
        *sorted(account_id for account_id in ids if account_id <= start),
    ]


@pytest.mark.parametrize("text", [None, "", "~fed", "k9xgwnz9gvp2", "3 a b", "1 a"])
def test_what_is_no_place_is_none(text: str | None) -> None:
    assert Round.parse(text) is None


def test_over_the_nights_nobody_is_always_last() -> None:
    luck = random.Random(6)
    letters = "abcdefghjkmnpqrstvwxyz"
    ids = sorted(luck.choice(letters) + "".join(luck.choices("0123456789" + letters, k=11)) for _ in range(2000))
    nights = [date(2024, 7, 25) + number * ONE_DAY for number in range(28)]
    starts = [bisect_right(ids, start_of(night)) for night in nights]
    for place in range(0, 2000, 7):
        ranks = sorted((place - start) % 2000 / 2000 for start in starts)
        assert 0.4 < sum(ranks) / len(ranks) < 0.6
        assert ranks[0] < 0.07 and ranks[-1] > 0.93
        assert max(after - before for before, after in pairwise(ranks)) < 0.1


def test_the_place_of_a_night_is_the_same_everywhere() -> None:
    assert start_of(date(2024, 7, 25)) == start_of(date(2024, 7, 25))
    assert len({start_of(date(2024, 1, 1) + number * ONE_DAY) for number in range(366)}) == 366
