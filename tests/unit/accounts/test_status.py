"""How an account stands, over all its series."""

from __future__ import annotations

from datetime import date

from worker.accounts.status import AccountStatus, SeriesStatus
from worker.domain.consent.accounts import AccountState
from worker.domain.measures.series import Series


def stored_until(last_day: date | None) -> SeriesStatus:
    return SeriesStatus(
        done=1,
        total=1,
        error=None,
        loaded=True,
        last_day=last_day,
        last_success=None,
        message=None,
        asked_at=None,
        next_try=None,
    )


def test_the_last_day_is_one_of_which_something_was_measured() -> None:
    days = {Series.DAILY: date(2026, 11, 25), Series.MAX_POWER: None, Series.CONTRACT: date(2026, 11, 26)}
    status = AccountStatus(
        account="home1",
        state=AccountState.READY,
        reason="",
        series={series: stored_until(day) for series, day in days.items()},
    )
    assert status.last_day == date(2026, 11, 25)
