"""The consumption of a meter: progress of the first sync, the chart, its figures, and why values are missing.

The chart and the figures show the energy of each stored series of daily values. The sentences of ``releve explain`` say
why values are missing from a chart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import MAXYEAR, MINYEAR, date
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response

from worker.accounts.explanations import Explainer, SeriesExplanation
from worker.accounts.prices import AccountTariff, load_tariff
from worker.domain.account import Account
from worker.domain.completeness import DayState
from worker.domain.reasons import Reason
from worker.domain.series import Direction, Series, daily_of, find_curve, is_gateway
from worker.domain.windows import ONE_DAY, DateWindow
from worker.runtime.stores import Stores
from worker.stores.measures.measure_store import MeasureStore
from worker.texts import has_text
from worker.web.dependencies import OwnAccount, VisitDep
from worker.web.pages.account_forms import build_sum
from worker.web.pages.account_head import Asked, AskedSpan, ShownMeter, StoredFlow, load_meter, render_section
from worker.web.pages.chart_values import (
    CALENDAR_VIEWS,
    Against,
    Days,
    Span,
    SpanMeasures,
    Unit,
    View,
    measures_by_day,
    read_days,
    read_measures,
)
from worker.web.pages.charts import Chart, Summary, summarize, to_chart
from worker.web.pages.costs import find_off_peak, price_measures
from worker.web.rendering import words_of
from worker.web.texts import Words

router = APIRouter()
_MOST_NAMED: Final = 3  # The page names at most this many days whose impossible value was set aside.


@router.get("/accounts/{account_id}")
def show_account(
    visit: VisitDep, account: OwnAccount, asked: Asked, with_sum: Annotated[bool, Query(alias="sum")] = False
) -> Response:
    """Show the page; ``?sum=1`` requests the sum of a home's energies, which is shown only on request."""
    stores, words, meter = visit.stores, words_of(visit.request), load_meter(visit, account)
    flows, home = meter.flows, meter.home
    tariff = load_tariff(visit.registry, stores.measures, account)
    # What a meter feeds in is sold, and its chart stays one of energy.
    may_price = bool(flows) and flows[0].daily.description.direction is Direction.CONSUMPTION
    has_prices = may_price and tariff.is_set
    shown = asked if has_prices else replace(asked, unit=Unit.KWH)
    chart = build_chart(stores, meter, words, shown, tariff)
    return render_section(
        visit,
        meter,
        "consumption",
        "account.html",
        asked.query,
        asked=shown,
        navigation=chart.navigation if chart else None,
        with_sum=with_sum,
        sums=build_sum(stores, home.accounts, asked.at, words) if with_sum and home.is_joined else [],
        sync_text=_sync_text(account),
        files_first=is_gateway(account.supplier),
        no_days=meter.no_days,
        bars=meter.bars,
        loading=meter.loading,
        chart=chart,
        has_prices=has_prices,
        lacks_prices=may_price and not has_prices and account.may_choose_series,
        figures=build_figures(stores.measures, account.id, flows, words, shown.unit),
    )


def _sync_text(account: Account) -> str:
    """Return the key of the text shown during a first sync, which says which values come first."""
    if is_gateway(account.supplier):
        return "sync.text.gateway"
    return "sync.text" if find_curve(daily_of(supplier=account.supplier)) else "sync.text.days"


def build_chart(
    stores: Stores, meter: ShownMeter, words: Words, asked: AskedSpan, tariff: AccountTariff
) -> Chart | None:
    """Return the chart of the requested span; None while nothing is stored.

    A day before the first stored day gets an empty chart that says why. A day after yesterday is replaced with
    yesterday or, for an inactive account, with the last stored day; the chart says why.
    """
    account, explainer, flows, at, today = meter.account, meter.explainer, meter.flows, asked.at, meter.today
    if not flows:
        return None
    span, daily = Span.containing(asked.view, meter.choose_day(at)), flows[0].daily

    def next_day(flow: StoredFlow) -> date:
        # If an account is fed only by files, no bar of a week, month or year counts as missing, because the next file
        # may contain it.
        return date.min if account.files_only and span.view is not View.DAY else flow.last + ONE_DAY

    def read(flow: StoredFlow) -> SpanMeasures:
        found = read_measures(stores.measures, account.id, span, next_day(flow), flow.daily, asked.compare, asked.unit)
        ledger = stores.registry.completeness.load_ledger(account.id, flow.daily)
        set_aside = [day for day in span.days() if ledger.mark_of(day).state is DayState.SET_ASIDE]
        reasons = tuple(explain_gaps(explainer, account, flow.daily, found, today, words))
        return replace(found, days_set_aside=tuple(set_aside[:_MOST_NAMED]), reasons=reasons)

    measures, *fed = map(read, flows)
    # A day in the first or the last year isn't explained, because days around it may lie outside Python's calendar.
    if at is not None and not span.start <= at < span.end and at.year not in (MINYEAR, MAXYEAR):
        reason = words.choose(explainer.explain_days(account, daily, [at])[at].sentences)
        measures = replace(measures, reasons=tuple(filter(None, (reason, *measures.reasons))))
    if asked.unit is Unit.EUR:
        fed, after = [], next_day(flows[0])
        measures = price_measures(stores.measures, account.id, tariff, daily, measures, after, words)
    return to_chart(
        measures,
        words,
        meter.first,
        meter.newest,
        daily=daily,
        fed=fed[0] if fed else None,
        off_peak=find_off_peak(tariff, span.start) if span.view is View.DAY else (),
    )


def build_figures(
    measures: MeasureStore, account_id: str, flows: Sequence[StoredFlow], words: Words, unit: Unit
) -> list[Summary]:
    """Return the sums of the last day, its month and its year, each with a comparison; empty without a daily value.

    ``unit``: the unit of the charts to which the figures link.
    """
    if not flows:
        return []
    newest = flows[0].last  # Perhaps only the curve is known for this day, and no daily value.
    window = DateWindow(date(newest.year - 2, 1, 1), newest + ONE_DAY)
    days, *days_of_others = (read_days(measures, account_id, window, flow.daily) for flow in flows)
    last = max(days, default=None)
    if last is None:
        return []
    spans = (Span.containing(view, last) for view in CALENDAR_VIEWS)
    return [summarize_flows(span, [days, *days_of_others], words, unit)[1] for span in spans]


def summarize_flows(
    span: Span, days: Sequence[Days], words: Words, unit: Unit = Unit.KWH, against: Against = Against.PREVIOUS
) -> tuple[SpanMeasures, Summary]:
    """Return the values of a span's first direction, and the summary of all. ``days``: those of each direction."""
    by_span, *others = (measures_by_day(span, known, span.end, against) for known in days)
    fed = next((other for other in others if other.total is not None), None)
    return by_span, summarize(by_span, words, fed, unit)


def explain_gaps(
    explainer: Explainer, account: Account, daily: Series, measures: SpanMeasures, today: date, words: Words
) -> Iterator[str]:
    """Yield a sentence for each reason why values of the chart are missing.

    Yields nothing for a chart of a year, because the charts of its months explain their gaps.
    """
    if measures.span.view is View.DAY:
        yield from _explain_day(explainer, account, daily, measures, words)
    elif measures.span.view is not View.YEAR:
        yield from _explain_days(explainer, account, daily, measures, today, words)


def _explain_day(
    explainer: Explainer, account: Account, daily: Series, measures: SpanMeasures, words: Words
) -> Iterator[str]:
    """Yield why a day has no total or no complete curve.

    A complete day gets a sentence only if its values came from a file.
    """
    curve, day = find_curve(daily), measures.span.start
    lacks_curve = curve is not None and (measures.empty or measures.gaps > 0)
    series = daily if measures.total is None else (curve if lacks_curve else None)
    if series is None:
        told = (explainer.explain_days(account, one, [day])[day] for one in (daily, curve) if one)
        yield from (words.choose(one.sentences) for one in told if one.reason is Reason.FROM_FILE)
        return
    explanation = explainer.explain(account, day).series.get(series)
    if explanation is None or explanation.reason.is_complete:
        return
    if explanation.reason is Reason.NOT_ASKED_YET and explanation.stored.amount is not None:
        return  # A value is stored, so the reason is wrong: the ledger was lost.
    yield words.choose(explanation.sentences)


def _explain_days(
    explainer: Explainer, account: Account, daily: Series, measures: SpanMeasures, today: date, words: Words
) -> Iterator[str]:
    """Yield, for each reason, a sentence that says how many days of a week or month are missing, and why."""
    days = [slot.start.date() for slot in measures.slots if slot.gap or (measures.empty and slot.energy is None)]
    explanations = explainer.explain_days(account, daily, [day for day in days if day < today])
    by_reason: dict[Reason, list[date]] = {}
    for day, explanation in explanations.items():
        by_reason.setdefault(explanation.reason, []).append(day)
    for reason, missing in by_reason.items():
        newest = explanations[missing[-1]]
        if measures.empty:  # A chart without bars shows no gaps that could be counted.
            yield words.choose(newest.sentences)
        else:
            yield _describe_gaps(reason, len(missing), newest, daily, words)


def _describe_gaps(reason: Reason, number: int, newest: SeriesExplanation, daily: Series, words: Words) -> str:
    """Return how many days are missing and why; if the reason has no text for several days, explain the newest day."""
    if has_text(f"chart.gaps.{reason}.one"):
        return words.count(f"chart.gaps.{reason}", number, supplier=words(f"supplier.{daily.description.supplier}"))
    count = words.count("chart.gaps.days", number)
    return count if reason.is_complete else f"{count} {words.choose(newest.sentences)}"
