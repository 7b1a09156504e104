"""The page that answers "is this much?": base load, highest days, maximum power, and the same days of years before.

All windows end with the newest stored day, so that an account whose readings have ended keeps its answers. What a meter
feeds in is compared with years before alone.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Response

from worker.accounts.prices import load_tariff
from worker.accounts.spans import read_known_days
from worker.accounts.usage import price_base_load, read_nights
from worker.domain.account import Account
from worker.domain.prices.compare import LEAST_DAYS, last_year
from worker.domain.series import Direction, contract_series, find_curve, peaks_of_power
from worker.domain.spans import compare_spans, same_days_before
from worker.domain.totals import to_peaks
from worker.domain.usage import LEAST_NIGHTS, NIGHTS, SUBSCRIPTIONS, find_highest_days, judge_power, to_base_load
from worker.domain.windows import ONE_DAY, DateWindow
from worker.runtime.consent_parts import build_series_chooser
from worker.web.dependencies import OwnAccount, Visit, VisitDep
from worker.web.pages.account_head import StoredFlow, load_meter, render_section
from worker.web.pages.chart_values import read_entries

router = APIRouter()
_LIMITS: Final[dict[str, Any]] = {
    "least_days": LEAST_DAYS,
    "least_nights": LEAST_NIGHTS,
    "of_nights": NIGHTS,
    "largest": SUBSCRIPTIONS[-1],
}


@router.get("/accounts/{account_id}/usage")
def show_usage(visit: VisitDep, account: OwnAccount) -> Response:
    meter = load_meter(visit, account)
    found = _judge(visit, account, meter.flows[0]) if meter.flows else {}
    return render_section(visit, meter, "usage", "usage.html", **_LIMITS, **found)


def _judge(visit: Visit, account: Account, flow: StoredFlow) -> dict[str, Any]:
    measures, window = visit.stores.measures, last_year(flow.last + ONE_DAY)
    before = same_days_before(window)
    years = [before, same_days_before(before)]
    known = DateWindow(max(flow.first, years[-1].start), window.end)
    days = read_known_days(measures, account.id, flow.daily, known)
    of_year = {day: energy for day, energy in days.items() if day in window}
    compared = ((year, compare_spans(window, year, days)) for year in years)
    found: dict[str, Any] = {
        "window": window,
        "days_known": len(of_year),
        "years": [(year, one, next(one.changes())[1]) for year, one in compared if one],
    }
    if flow.daily.description.direction is Direction.PRODUCTION:
        return found
    found["highest"] = find_highest_days(of_year)
    if (curve := find_curve(flow.daily)) is None:
        return found
    nights, tariff = read_nights(measures, account, window.end), load_tariff(visit.registry, measures, account)
    base_load = to_base_load(nights)
    contracts = read_entries(measures, account.id, contract_series())
    states, powers = build_series_chooser(visit.stores).load(account.id).series, peaks_of_power()
    named = {"curve": curve, "power": powers, "contract": contract_series()}
    return found | {
        "nights": len(nights),
        "base_load": base_load,
        "base_cost": price_base_load(tariff, base_load.watts) if base_load else None,
        "is_priced": tariff.is_set,
        "power": judge_power(to_peaks(read_entries(measures, account.id, powers, window), contracts)),
        "lacking": {name: not states[one].collected for name, one in named.items()},
    }
