"""Split requests to a supplier that finds a window too long, too early or too late."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many
from worker.clients.supplier_session import SplitFetch
from worker.domain.answers import Answer, AnswerKind
from worker.domain.windows import ONE_DAY, DateWindow, merge_windows
from worker.errors import RequestRefused

FIRST = date(2024, 3, 1)


def window(days: int, first: date = FIRST) -> DateWindow:
    return DateWindow(first, first + timedelta(days=days))


@dataclass
class StrictSupplier:
    """A supplier with a history, a longest window and a last day; its payload is the window itself."""

    since: date = date(2000, 1, 1)
    max_days: int = 365
    latest_end: date = date(2100, 1, 1)
    asked: list[DateWindow] = field(default_factory=list)

    def __call__(self, asked: DateWindow) -> Answer:
        self.asked.append(asked)
        if asked.end > self.latest_end:
            return Answer(AnswerKind.END_TOO_LATE)
        if asked.days > self.max_days:
            return Answer(AnswerKind.TOO_LONG)
        if asked.start < self.since:
            return Answer(AnswerKind.BEFORE_HISTORY)
        return Answer(AnswerKind.DATA, str(asked))


def test_a_window_that_suits_takes_one_call() -> None:
    supplier = StrictSupplier()
    split_fetch = SplitFetch(supplier).fetch(window(7))
    assert split_fetch.payloads == [(window(7), "2024-03-01/2024-03-08")]
    assert (split_fetch.floor, split_fetch.end, len(supplier.asked)) == (None, date(2024, 3, 8), 1)


def test_seven_days_that_are_too_long_become_six_and_one() -> None:
    supplier = StrictSupplier(max_days=6)
    SplitFetch(supplier).fetch(window(7))
    assert [asked.days for asked in supplier.asked] == [7, 6, 1]


def test_a_day_that_is_too_long_is_our_bug() -> None:
    with pytest.raises(RequestRefused, match="one day"):
        SplitFetch(StrictSupplier(max_days=0)).fetch(window(7))


@many
@given(st.integers(1, 365), st.integers(-5, 400))
def test_the_first_day_of_history_is_found_in_few_calls_and_all_after_it_is_asked(days: int, offset: int) -> None:
    wanted, supplier = window(days), StrictSupplier(since=FIRST + timedelta(days=offset))
    split_fetch = SplitFetch(supplier).fetch(wanted)
    parts = [part for part, _ in split_fetch.payloads]
    answered = merge_windows(parts)
    assert sum(part.days for part in parts) == sum(part.days for part in answered)  # No day is asked for twice.
    assert len(supplier.asked) <= 10
    if supplier.since <= wanted.start:
        assert (answered, split_fetch.floor) == ([wanted], None)
    elif supplier.since >= wanted.end:
        assert (answered, split_fetch.floor) == ([], wanted.end)
    else:
        assert (answered, split_fetch.floor) == ([DateWindow(supplier.since, wanted.end)], supplier.since)


@many
@given(st.integers(1, 60), st.integers(-5, 70), st.integers(1, 60), st.integers(0, 1))
def test_a_supplier_with_every_limit_at_once_still_gives_each_day_once(
    days: int, offset: int, max_days: int, late: int
) -> None:
    wanted = window(days)
    supplier = StrictSupplier(FIRST + timedelta(days=offset), max_days, wanted.end - late * ONE_DAY)
    split_fetch = SplitFetch(supplier).fetch(wanted)
    parts = [part for part, _ in split_fetch.payloads]
    first, end = max(wanted.start, supplier.since), supplier.latest_end
    assert merge_windows(parts) == ([DateWindow(first, end)] if first < end else [])
    assert sum(part.days for part in parts) == max(0, (end - first).days)


def test_an_inquiry_does_not_show_what_it_was_told() -> None:
    split_fetch = SplitFetch(lambda asked: Answer(AnswerKind.DATA, {"usage_point_id": "98765432109876"})).fetch(
        window(1)
    )
    assert "98765432109876" not in repr(split_fetch)
    assert "98765432109876" not in repr(Answer(AnswerKind.DATA, "98765432109876"))
