"""The page of free spans: the sums of any days, beside those of any others, and the day on which bills begin.

The days are in the address: ``from`` and ``to``, both included, and those of a second span as ``with_from`` and
``with_to``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Query, Response
from fastapi.responses import RedirectResponse

from worker.accounts.prices import BEGINNING, load_tariff, read_costs
from worker.accounts.spans import load_bill_day, read_known_days, save_bill_day
from worker.domain.account import Account
from worker.domain.audit_entry import AuditAction
from worker.domain.documents import round_kwh
from worker.domain.prices.cost import Cost, row_of_days
from worker.domain.spans import (
    LEAP_YEAR,
    SpanComparison,
    bill_year,
    compare_spans,
    same_days_before,
    split_by,
    sum_days,
)
from worker.domain.windows import ONE_DAY, DateWindow, merge_windows
from worker.web.dependencies import OwnAccount, Visit, VisitDep, account_form
from worker.web.pages.account_forms import Choosable
from worker.web.pages.account_head import StoredFlow, load_meter, render_section
from worker.web.pages.costs import to_millionths
from worker.web.rendering import words_of
from worker.web.request_audit import note_refusal
from worker.web.texts import Words

router = APIRouter()
_MOST_ROWS: Final = 62  # Days; a longer span has a row for each month.
_First = Annotated[str, Query(alias="from")]
_Typed = Annotated[str, Form()]


@router.get("/accounts/{account_id}/spans")
def show_spans(
    visit: VisitDep, account: OwnAccount, first: _First = "", to: str = "", with_from: str = "", with_to: str = ""
) -> Response:
    return _render(visit, account, [one for one in ((first, to), (with_from, with_to)) if any(one)])


@router.post(
    "/accounts/{account_id}/bill-day", name=AuditAction.ACCOUNT_BILL_DAY, dependencies=[account_form("/spans")]
)
def set_bill_day(visit: VisitDep, account: Choosable, day: _Typed = "", month: _Typed = "") -> Response:
    """Keep the day on which bills begin; without day and month, forget it."""
    try:
        told = date.fromisoformat(f"{LEAP_YEAR}-{month:0>2}-{day:0>2}") if day or month else None
    except ValueError:
        note_refusal(visit.request, "day_refused")
        return _render(visit, account, [], fault="bill_day")
    save_bill_day(visit.registry, account.id, told)
    return RedirectResponse(f"/accounts/{account.id}/spans#bill", 303)


def _render(visit: Visit, account: Account, asked: Sequence[tuple[str, str]], fault: str = "") -> Response:
    meter, bill_day, found = load_meter(visit, account), load_bill_day(visit.registry, account.id), dict[str, Any]()
    try:
        spans = [_parse_span(first, last, meter.today) for first, last in asked]
    except ValueError:
        fault = "days"
    else:
        found = _sum_up(visit, account, meter.flows, spans, bill_day) if meter.flows else {}
    typed = [(str(span.start), str(span.last)) for (span, *_), _ in found.get("spans", ())] or asked
    values: dict[str, Any] = {
        "asked": [*typed, ("", ""), ("", "")][:2],
        "bill_day": bill_day,
        "fault": fault,
        "first_day": BEGINNING,
        "today": meter.today,
    }
    return render_section(visit, meter, "consumption", "spans.html", status=422 if fault else 200, **values, **found)


def _parse_span(first: str, last: str, today: date) -> DateWindow:
    """Return the days from ``first`` to ``last``. Raises ValueError, also for days that are to come."""
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    if not BEGINNING <= start <= end <= today:
        raise ValueError("not in order, too early or to come")
    return DateWindow(start, end + ONE_DAY)


def _sum_up(
    visit: Visit, account: Account, flows: Sequence[StoredFlow], spans: Sequence[DateWindow], bill_day: date | None
) -> dict[str, Any]:
    """Return what the page shows of these spans; without any, of the newest month and the same days a year earlier.

    ``spans``: each with its sums and its cost, and with those of its days or months. ``comparisons``: by what is
    compared, each with ``_describe_changes``. ``choices``: spans to choose, each beside the same days a year earlier.
    """
    stored = DateWindow(min(flow.first for flow in flows), max(flow.last for flow in flows) + ONE_DAY)
    month = DateWindow(stored.last.replace(day=1), stored.end)
    spans = spans or [month, same_days_before(month)]
    windows = merge_windows(one for span in spans if (one := span.overlap(stored)))
    measures, costs, paid = visit.stores.measures, dict[date, Cost](), dict[date, Cost]()
    amounts: dict[str, dict[date, int]] = {flow.daily.description.direction: {} for flow in flows}
    tariff = load_tariff(visit.registry, measures, account)
    for window in windows:
        for flow in flows:
            amounts[flow.daily.description.direction] |= read_known_days(measures, account.id, flow.daily, window)
        if tariff.is_set:
            of_window, sold = read_costs(measures, account.id, tariff, window)
            costs, paid = costs | of_window, paid | (sold or {})

    def describe(span: DateWindow) -> tuple[Any, ...]:
        return span, {name: sum_days(span, days) for name, days in amounts.items()}, row_of_days(span, costs, paid)

    shown = [(describe(span), [*map(describe, split_by(10 if span.days <= _MOST_ROWS else 7, span))]) for span in spans]
    # A day whose cost is known in part counts in a total, but it is compared with no other.
    whole = {day: to_millionths(cost.total) for day, cost in costs.items() if cost.known == cost.expected == 1}
    compared = {**amounts, "cost": whole} if len(spans) > 1 else {}
    words = words_of(visit.request)
    comparisons = {
        name: (found, *_describe_changes(name, found, words))
        for name, days in compared.items()
        if (found := compare_spans(spans[0], spans[1], days))
    }
    choices = {"same": spans[0]}
    if bill_day:
        year = bill_year(bill_day, stored.last)
        choices |= {
            "bill": DateWindow(year.start, stored.end),
            "bill_before": bill_year(bill_day, year.start - ONE_DAY),
        }
    offered = {name: (span, same_days_before(span)) for name, span in choices.items() if span.overlap(stored)}
    return {"spans": shown, "comparisons": comparisons, "choices": offered}


def _describe_changes(name: str, compared: SpanComparison, words: Words) -> tuple[str, list[str]]:
    """Return whether it is ``more``, ``less`` or the ``same``, and the changes of a comparison in words."""
    texts = []
    for difference, percents in compared.changes():
        sign = "+" if difference > 0 else "\N{MINUS SIGN}" if difference < 0 else ""
        amount = words.euros(round_kwh(abs(difference), 2)) if name == "cost" else words.energy(abs(difference))
        texts.append(sign + amount + ("" if percents is None else f" ({words.change(percents)})"))
    difference = compared.now.amount - compared.before.amount
    return "more" if difference > 0 else "less" if difference < 0 else "same", texts
