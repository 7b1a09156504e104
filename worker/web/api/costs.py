"""API route of costs: what the energy of an account costs, as `releve cost --json` prints it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query

from worker.accounts.cost_rows import RowsRefused, find_window, read_rows
from worker.accounts.prices import load_tariff
from worker.domain.series import Period
from worker.domain.windows import ONE_DAY, DateWindow
from worker.web.api.callers import ReadMeasures
from worker.web.api.schemas import AccountId, CostPage, error_responses
from worker.web.dependencies import Day, StoresDep
from worker.web.error_pages import HttpRefusal

router = APIRouter()
_LONGEST: Final = 31 * ONE_DAY  # Of a page by hour, which is computed from the load curve.
_Period = Literal[Period.HOUR, Period.DAY, Period.MONTH, Period.YEAR]


@router.get(
    "/accounts/{account_id}/costs",
    tags=["measures"],
    summary="Read costs",
    response_model=CostPage,
    response_model_exclude_unset=True,
    responses=error_responses(404, 422),
)
def read_account_costs(
    account_id: AccountId,
    stores: StoresDep,
    caller: ReadMeasures,
    by: Annotated[_Period, Query(description="Period of the rows.")] = Period.DAY,
    first: Annotated[Day | None, Query(alias="from", description="First day (Europe/Paris).")] = None,
    last: Annotated[Day | None, Query(alias="to", description="Last day, **included**.")] = None,
) -> dict[str, Any]:
    """Return what the energy of each period costs, in time order: the rows that `releve cost --json` prints.

    Without `from` and `to` they are the last 7 days by hour, the last 31 days, this year's months, or three years. The
    first and the last row are cut at these days. The list is empty if no price is set. A page has at most 31 days by
    hour, one year by day or month, and three years by year. Gas has no hours, and gas that is billed by periods has no
    days: 422.
    """
    account = caller.load_account(stores.registry, account_id)
    tariff = load_tariff(stores.registry, stores.measures, account)
    try:
        days = find_window(tariff.today, by, first, last)
        years = date(days.start.year + (3 if by is Period.YEAR else 1), 1, 1)
        page = DateWindow(days.start, min(days.end, days.start + _LONGEST if by is Period.HOUR else years))
        rows = read_rows(stores.measures, account_id, tariff, page, by)[0] if tariff.is_set else []
    except RowsRefused as error:
        raise HttpRefusal(422, "invalid_request", str(error)) from None
    query = urlencode({"by": by, "from": page.end, "to": days.end - ONE_DAY})
    link = f"/api/accounts/{account_id}/costs?{query}" if rows and page.end < days.end else None
    return {"account": account_id, "by": by, "costs": rows, "next": link}
