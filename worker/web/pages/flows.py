"""What is stored of an account's energy, by series of daily values, and the chart and figures read from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from worker.domain.account import Account
from worker.domain.completeness import DayState
from worker.domain.series import Direction, Series, dailies_of, find_curve
from worker.domain.windows import ONE_DAY, DateWindow
from worker.runtime.sync_parts import Runtime
from worker.web.pages.charts import Chart, Summary, summarize, to_chart
from worker.web.pages.measures import (
    CALENDAR_VIEWS,
    Against,
    Span,
    SpanMeasures,
    View,
    first_day,
    measures_by_day,
    read_days,
    read_measures,
)
from worker.web.pages.missing_days import explain_asked_day, explain_gaps
from worker.web.texts import Words

_MOST_NAMED: Final = 3  # Days whose value was set aside.


@dataclass(frozen=True, slots=True)
class StoredFlow:
    """The energy of a series of daily values, and its curve, that is stored from its ``first`` to its ``last`` day.

    ``last_total``: the last day that has a daily value.
    """

    daily: Series
    first: date
    last: date
    last_total: date | None

    @property
    def direction(self) -> Direction:
        return self.daily.description.direction


def find_flows(runtime: Runtime, account: Account, known: Sequence[Series]) -> list[StoredFlow]:
    """Return the directions of which energy is stored, the consumption first. ``known``: the account's series."""
    outcomes = runtime.registry.outcomes.load(account.id)
    flows = []
    for daily in dailies_of(account.supplier):
        pair = [series for series in (daily, find_curve(daily)) if series is not None and series in known]
        first_days = [first_day(runtime.measures, account.id, series.inputs) for series in pair]
        last_days = {series: day for series in pair if (outcome := outcomes.get(series)) and (day := outcome.last_day)}
        if any(first_days) and last_days:
            first, last = min(filter(None, first_days)), max(last_days.values())
            flows.append(StoredFlow(daily, first, last, last_days.get(daily)))
    return flows


def build_chart(
    runtime: Runtime,
    account: Account,
    words: Words,
    flows: Sequence[StoredFlow],
    *,
    view: View | None,
    at: date | None,
    against: Against,
) -> Chart | None:
    """Return the chart of the span that holds ``at``, or None while nothing is stored.

    A day outside of its reach, which is from the first stored day up to yesterday, or up to the last stored day of an
    account that is not asked for, gives the nearest one, and says why.
    """
    if not flows:
        return None
    first, last = min(flow.first for flow in flows), max(flow.last for flow in flows)
    newest = max(last, runtime.history.today() - ONE_DAY) if account.active else last
    shown = min(max(at or last, first), newest)
    span, daily = Span.containing(view or View.MONTH, shown), flows[0].daily
    measures, *fed = (_read_flow(runtime, account, flow, span, against, words) for flow in flows)
    if at is not None and not span.start <= at < span.end:
        reason = explain_asked_day(runtime, account, daily, at, words)
        measures = replace(measures, reasons=tuple(filter(None, (reason, *measures.reasons))))
    return to_chart(measures, words, first, newest, daily=daily, fed=fed[0] if fed else None)


def _read_flow(
    runtime: Runtime, account: Account, flow: StoredFlow, span: Span, against: Against, words: Words
) -> SpanMeasures:
    measures = read_measures(runtime.measures, account.id, span, flow.last + ONE_DAY, flow.daily, against)
    ledger = runtime.registry.completeness.load_ledger(account.id, flow.daily)
    set_aside = [day for day in span.days() if ledger.mark_of(day).state is DayState.SET_ASIDE]
    reasons = explain_gaps(runtime, account, flow.daily, measures, words)
    return replace(measures, days_set_aside=tuple(set_aside[:_MOST_NAMED]), reasons=reasons)


def build_figures(runtime: Runtime, account_id: str, flows: Sequence[StoredFlow], words: Words) -> list[Summary]:
    """Return the sums of the last day, its month and its year, each compared to the one before."""
    if not flows or (last := flows[0].last_total) is None:
        return []
    window = DateWindow(date(last.year - 1, 1, 1), last + ONE_DAY)
    days, *days_of_others = (read_days(runtime.measures, account_id, window, flow.daily) for flow in flows)
    figures = []
    for span in (Span.containing(view, last) for view in CALENDAR_VIEWS):
        measures, *others = (measures_by_day(span, known, span.end) for known in (days, *days_of_others))
        fed = next((other for other in others if other.total is not None), None)
        figures.append(summarize(measures, words, fed))
    return figures
