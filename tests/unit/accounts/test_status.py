"""How an account stands, over all its series."""

from __future__ import annotations

from datetime import date, datetime

from tests.unit.conftest import Household
from worker.accounts.status import AccountStatus, SeriesStatus, status_of
from worker.domain.account import AccountState
from worker.domain.series import Series
from worker.domain.windows import PARIS
from worker.errors import RateLimited, WrongUnit


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


def test_what_failed_for_this_night_is_tried_in_the_afternoon_and_never_of_a_paused_account(
    household: Household,
) -> None:
    """D7: status tells the same time as explain; an answer that can't be read has no time of its own."""
    account_id = household.add()
    household.supplier.daily = WrongUnit("kW")
    household.run(household.claim_look_back(account_id, Series.DAILY))
    registry = household.registry
    daily = status_of(registry.accounts.get(account_id), household.history).series[Series.DAILY]
    assert (daily.error, daily.next_try) == (WrongUnit.code, datetime(2024, 7, 25, 14, 30, tzinfo=PARIS))
    registry.accounts.set_state(account_id, AccountState.PAUSED, now=household.at)
    assert status_of(registry.accounts.get(account_id), household.history).series[Series.DAILY].next_try is None


def test_the_failure_of_an_account_is_the_first_that_is_no_pacing_of_ours() -> None:
    def failing(error: str | None) -> SeriesStatus:
        return stored_until(None).model_copy(update={"error": error})

    series = dict(zip(Series, [None, RateLimited.code, WrongUnit.code], strict=False))
    status = AccountStatus(
        account="home1",
        state=AccountState.READY,
        reason="",
        series={one: failing(error) for one, error in series.items()},
    )
    assert status.failure == WrongUnit.code
    paced = {Series.DAILY: failing(RateLimited.code), Series.CONTRACT: failing(None)}
    only_paced = status.model_copy(update={"series": paced})
    assert (only_paced.failure, only_paced.waits_for_turn) == ("", True)
