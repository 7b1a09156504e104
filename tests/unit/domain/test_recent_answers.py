"""The answers of the last day, as a text: which days were asked for later, and which are in doubt."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many
from worker.domain.comparison import MOST_LISTED, Answered, FinishedAnswer, RecentAnswers
from worker.domain.windows import ONE_DAY, DateWindow

DAY = date(2024, 7, 20)
HOUR_US = 3600 * 1_000_000


def answer(asked_us: int, first: int = 0, days: int = 3) -> Answered:
    return Answered(asked_us, DateWindow(DAY + first * ONE_DAY, DAY + (first + days) * ONE_DAY))


answers = st.builds(answer, st.integers(0, 40).map(lambda hour: hour * HOUR_US), st.integers(0, 9), st.integers(1, 4))


def after(*recorded: Answered) -> RecentAnswers:
    recent = RecentAnswers()
    for one in recorded:
        recent = recent.with_answer(one)
    return recent


@many
@given(st.lists(answers, max_size=20))
def test_a_text_reads_back_and_lists_few(recorded: list[Answered]) -> None:
    recent = after(*recorded)
    assert RecentAnswers.parse(str(recent)) == recent
    assert len(recent.answers) <= MOST_LISTED
    assert RecentAnswers.parse("") == RecentAnswers()


@many
@given(st.lists(answers, min_size=1, max_size=20), answers)
def test_no_later_answer_is_missed_however_many_are_forgotten(recorded: list[Answered], late: Answered) -> None:
    """A forgotten one may count for days that it did not have: they are asked for once more than needed."""
    later = {day for one in recorded if one.asked_us > late.asked_us for day in one.days_in(late.window)}
    found = after(*recorded).days_answered_later(late, 41 * HOUR_US)
    assert later <= found <= set(late.window.dates())
    if len(recorded) <= MOST_LISTED and all(one.asked_us >= 17 * HOUR_US for one in recorded):
        assert found == later


def test_a_time_that_is_too_far_in_the_future_does_not_count() -> None:
    recent = after(answer(5 * HOUR_US))
    assert recent.days_answered_later(answer(2 * HOUR_US), 4 * HOUR_US) == set()
    assert recent.days_beyond(answer(0, 1, 9).window, 4 * HOUR_US) == {DAY + ONE_DAY, DAY + 2 * ONE_DAY}
    assert recent.days_beyond(answer(0).window, 5 * HOUR_US) == set()


def days_in_doubt(recent: RecentAnswers, seen: RecentAnswers, *, wrote: bool, overwrote: bool = False) -> set[date]:
    finished = FinishedAnswer(answer(2 * HOUR_US), seen, wrote, overwrote, frozenset())
    return recent.days_in_doubt(finished)


def test_days_are_in_doubt_where_two_were_compared_with_the_store_at_once() -> None:
    earlier, later, nothing = answer(1 * HOUR_US, 1), answer(3 * HOUR_US, 2), RecentAnswers()
    second, third = DAY + ONE_DAY, DAY + 2 * ONE_DAY
    assert days_in_doubt(after(later), nothing, wrote=True) == {third}
    assert days_in_doubt(after(later), nothing, wrote=False) == set(), "the later one stands"
    assert days_in_doubt(after(earlier), nothing, wrote=False) == {second, third}, "it may have overwritten ours"
    assert days_in_doubt(after(earlier, later), after(earlier, later), wrote=True) == set(), "both were seen"


def test_an_answer_that_was_forgotten_before_it_was_seen_leaves_all_days_in_doubt() -> None:
    seen = after(*(answer((3 + number) * HOUR_US) for number in range(MOST_LISTED)))
    last = FinishedAnswer(answer(20 * HOUR_US), seen, wrote=False, overwrote=False, late_days=frozenset())
    assert seen.days_in_doubt(last) == set()
    assert seen.with_answer(answer(2 * HOUR_US)).days_in_doubt(last) == set(last.answer.window.dates())


def test_of_two_that_were_asked_for_in_the_same_moment_none_is_the_later() -> None:
    other = Answered(2 * HOUR_US, DateWindow(DAY, DAY + ONE_DAY))
    assert days_in_doubt(after(other), after(other), wrote=True, overwrote=True) == {DAY}
    assert days_in_doubt(after(other), after(other), wrote=True) == set()
