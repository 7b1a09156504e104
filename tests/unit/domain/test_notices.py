"""When the figures of a month are told."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.domain.notice import is_month_due
from worker.domain.totals import calendar_month

MONTHS = st.dates(date(2023, 1, 1), date(2030, 12, 31)).map(lambda day: calendar_month(f"{day:%Y-%m}"))


@given(MONTHS, st.data())
def test_a_month_is_told_when_it_is_whole_or_on_the_tenth_and_never_before_it_is_over(month, data) -> None:  # type: ignore[no-untyped-def]
    days = list(month.dates())
    known = data.draw(st.sets(st.sampled_from(days)) | st.just(set(days)))
    others = data.draw(st.sets(st.sampled_from([days[0] - timedelta(days=1), days[-1] + timedelta(days=1)])))
    today = days[0] + timedelta(days=data.draw(st.integers(-5, 70)))
    asked_on = days[0] + timedelta(days=data.draw(st.integers(-70, 70)))
    is_due = is_month_due(month, known | others, asked_on, today)
    tenth = (days[-1] + timedelta(days=1)).replace(day=10)
    if today <= days[-1] or asked_on > days[-1] or not known:
        assert not is_due
    else:
        assert is_due == (known == set(days) or today >= tenth)
