"""API routes of what an account is asked for: show it, and choose it."""

from __future__ import annotations

from fastapi import APIRouter

from worker.accounts.series_choice import AccountSeries
from worker.domain.series import Series, SeriesSwitch
from worker.web.api.auth import ReadAccounts, WriteAccounts
from worker.web.api.schemas import AccountId, SeriesChoices, SeriesSwitches, error_responses
from worker.web.context import RuntimeDep, switch_series
from worker.web.errors import HttpRefusal

router = APIRouter(tags=["accounts"])


@router.get(
    "/accounts/{account_id}/series",
    summary="Show an account's series",
    responses=error_responses(404, 422),
)
def read_series(account_id: AccountId, runtime: RuntimeDep, caller: ReadAccounts) -> AccountSeries:
    """Every series that there is: how it is switched, whether it is asked for, and when it was asked last."""
    caller.load_account(runtime, account_id)
    return runtime.series_chooser.load(account_id)


@router.patch(
    "/accounts/{account_id}/series",
    summary="Choose an account's series",
    responses=error_responses(400, 404, 409, 411, 413, 422),
)
def choose_series(
    account_id: AccountId, choices: SeriesChoices, runtime: RuntimeDep, caller: WriteAccounts
) -> SeriesSwitches:
    """Set the switches of the series that are named; the others stay.

    A series that is switched on is asked for at once, its history too. What is stored stays where one is switched off.
    One that the supplier's API does not have gives 409 `not_offered`, and nothing is changed. Safe to repeat.
    """
    caller.load_account(runtime, account_id)
    switches = {Series(name): SeriesSwitch(switch) for name, switch in choices.series.items()}
    try:
        switch_series(runtime, account_id, switches)
    except ValueError as error:
        raise HttpRefusal(409, "not_offered", str(error)) from None
    chosen = runtime.series_chooser.load(account_id)
    return SeriesSwitches(account=account_id, series={name: state.switch for name, state in chosen.series.items()})
