"""The page of an account: progress of the first sync, charts, and the state of the connection with advice.

The chart and the figures show the energy of each stored series of daily values. The sentences of ``releve explain`` say
why values are missing from a chart, or why the newest day is late.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import MAXYEAR, MINYEAR, date, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response

from worker.accounts.account_days import AccountDays
from worker.accounts.explanations import Explainer, SeriesExplanation
from worker.accounts.meter_names import load_names
from worker.accounts.notice_channels import CURVE_NOT_ACTIVATED
from worker.accounts.prices import AccountTariff, load_tariff
from worker.accounts.status import AccountStatus, coverage_of, status_of
from worker.clients.grdf import GRDF
from worker.domain.access_right import REGISTERING
from worker.domain.account import Account, AccountState
from worker.domain.completeness import DayState, Hole
from worker.domain.reasons import Reason
from worker.domain.series import Direction, Series, dailies_of, daily_of, find_curve, is_gateway
from worker.domain.windows import ONE_DAY, DateWindow, civil_date
from worker.errors import ConsentStopped, FilesOnly
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync, build_explainer
from worker.stores.measures.measure_store import MeasureStore
from worker.sync.history import History
from worker.texts import has_text
from worker.web.dependencies import Day, OwnAccount, VisitDep, may_renew, name_service, needs_invitation, title_of_meter
from worker.web.pages.account_forms import build_sum, describe_grants, find_home
from worker.web.pages.cards import build_cards
from worker.web.pages.chart_values import (
    CALENDAR_VIEWS,
    Against,
    Span,
    SpanMeasures,
    Unit,
    View,
    first_day,
    measures_by_day,
    read_days,
    read_measures,
)
from worker.web.pages.charts import Chart, Summary, summarize, to_chart
from worker.web.pages.costs import find_off_peak, price_measures
from worker.web.rendering import render, words_of
from worker.web.texts import Words

router = APIRouter()
# What each state means for the household: all is well, it must wait, or it must act.
KINDS: Final[dict[str, str]] = {
    AccountState.NEW: "wait",
    AccountState.READY: "good",
    AccountState.PAUSED: "wait",
    AccountState.ACTION_NEEDED: "act",
    AccountState.CLOSED: "wait",
    "files_only": "wait",
}
RATE_LIMITED: Final = "state.rate_limited"
RETRYING: Final = "state.retrying"
_GAP_REACH: Final = timedelta(days=30)
_TOLERANCE: Final = timedelta(days=2)  # For series whose values normally come some days late.
_MOST_NAMED: Final = 3  # The page names at most this many days whose impossible value was set aside.


@dataclass(frozen=True, slots=True)
class StoredFlow:
    """The stored energy in one direction: a series of daily values (``daily``) and its load curve, if there is one.

    ``first`` and ``last``: the oldest and the newest day with a stored value of either series.
    """

    daily: Series
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Reader:
    """The service that reads the account's data, from the day ``since`` to the day ``until``.

    Both days are included; ``until`` is None if unknown.
    """

    service: str
    since: date
    until: date | None


@dataclass(frozen=True, slots=True)
class AskedSpan:
    """What a person asks to see: the length of the span, a day in it, what it is compared with, and the unit."""

    view: View
    at: date | None
    against: Against
    today: date
    unit: Unit


@router.get("/accounts/{account_id}")
def show_account(
    visit: VisitDep,
    account: OwnAccount,
    by: Annotated[View | None, Query()] = None,
    at: Annotated[Day | None, Query()] = None,
    compare: Annotated[Against, Query()] = Against.PREVIOUS,
    unit: Annotated[Unit, Query()] = Unit.KWH,
    with_sum: Annotated[bool, Query(alias="sum")] = False,
) -> Response:
    """Show the page; ``?sum=1`` requests the sum of a home's energies, which is shown only on request."""
    stores, sync, registry, words = visit.stores, visit.sync, visit.registry, words_of(visit.request)
    explainer, status, today = build_explainer(stores, sync), status_of(account, sync.history), sync.history.today()
    supplier, daily = words(f"supplier.{account.supplier}"), daily_of(supplier=account.supplier)
    no_days = _explain_lack_of_days(stores.measures, sync, account, words, supplier)
    bars = {name: one for name, one in status.series.items() if one.total and not (no_days and name is daily)}
    known = registry.outcomes.known(account.id)
    flows = find_flows(stores, account, known)
    shown_daily = flows[0].daily if flows else daily
    why_late = "" if no_days else explain_lateness(explainer, account, shown_daily, status, today, words)
    kind, connection = connection_of(account, status, why_late)
    tariff = load_tariff(registry, stores.measures, account)
    # What a meter feeds in is sold, and its chart stays one of energy.
    may_price = bool(flows) and flows[0].daily.description.direction is Direction.CONSUMPTION
    has_prices = may_price and tariff.is_set
    asked = AskedSpan(by or View.MONTH, at, compare, today, unit if has_prices else Unit.KWH)
    chart = build_chart(stores, explainer, account, words, flows, asked, tariff)
    shown = chart.measures.span if chart else Span.containing(asked.view, at or today - ONE_DAY)
    home = find_home(registry, visit.session, account)
    return render(
        visit.request,
        "account.html",
        home=home,
        names=load_names(registry, [one.id for one in home.accounts]),
        with_sum=with_sum,
        sums=build_sum(stores, home.accounts, at, words) if with_sum and home.is_joined else [],
        span_query=_span_query(by, at, compare, unit),
        may_add_gas=_may_add_gas(sync, account, [one.supplier for one in (*home.accounts, *home.joinable)]),
        account=account,
        title=title_of_meter(registry, account, words, [flow.daily.description.direction for flow in flows]),
        supplier=supplier,
        sync_text=_sync_text(account),
        files_first=is_gateway(account.supplier),
        no_days=no_days,
        bars=bars,
        loading=account.active and any(bar.done < bar.total for bar in bars.values()),
        chart=chart,
        has_prices=has_prices,
        lacks_prices=may_price and not has_prices and account.may_choose_series,
        figures=build_figures(stores.measures, account.id, flows, words, asked.unit),
        cards=build_cards(stores.measures, account.id, known, shown, words, today),
        kind=kind,
        connection=connection,
        why_late=why_late,
        is_home=visit.settings.is_home,
        needs_invitation=needs_invitation(sync, account.supplier),
        may_renew=may_renew(visit, account),
        may_declare=account.supplier in REGISTERING and account.supplier in sync.suppliers,
        cause=words.cause(status.failure, account.supplier) if connection == RETRYING else "",
        next_try=status.next_try if connection == RATE_LIMITED else None,
        last_day=status.last_day,
        reader=_find_reader(stores, account, today, words),
        curve_missing=status.hint == CURVE_NOT_ACTIVATED,
        **_count_gaps(sync.history, account, today),
        **describe_grants(stores, sync, account),
    )


def _span_query(by: View | None, at: date | None, compare: Against, unit: Unit) -> str:
    """Return the query that shows the same span on another page; empty if no span was requested."""
    chosen = {"by": by, "at": at, "compare": compare, "unit": unit}
    asked = urlencode({name: one for name, one in chosen.items() if one not in (None, Against.PREVIOUS, Unit.KWH)})
    return f"?{asked}" if asked else ""


def _may_add_gas(sync: Sync, account: Account, suppliers: Sequence[str]) -> bool:
    """Return whether the page offers to connect a gas meter too.

    True if gas is set up, the home has no gas account, the household has no gas account that may join the home, and the
    household may still choose the account's series.
    """
    return GRDF.name in sync.suppliers and GRDF.name not in suppliers and account.may_choose_series


def _sync_text(account: Account) -> str:
    """Return the key of the text shown during a first sync, which says which values come first."""
    if is_gateway(account.supplier):
        return "sync.text.gateway"
    return "sync.text" if find_curve(daily_of(supplier=account.supplier)) else "sync.text.days"


def _explain_lack_of_days(measures: MeasureStore, sync: Sync, account: Account, words: Words, supplier: str) -> str:
    """Return why the meter has no daily values, if its newest contract says so; else an empty text."""
    frequency = AccountDays(account, sync.history).reading_frequency(measures)
    lacks_days = frequency in daily_of(supplier=GRDF.name).description.not_of_meters_read
    return words(f"gas.no_days.{frequency}", supplier=supplier) if lacks_days else ""


def _find_reader(stores: Stores, account: Account, today: date, words: Words) -> Reader | None:
    """Return who may read the data under the consent in force; None if nobody may any more."""
    if account.refusal_on(today) is not None:
        return None
    proof = stores.registry.consents.newest_proofs([account.id]).get(account.id)
    if proof is not None and not proof.open:
        return None
    began = account.created_at if proof is None else proof.consented_at
    since = (proof.consent_from if proof else None) or account.consent_from or civil_date(began)
    return Reader(name_service(stores, account.tenant, words), since, account.consent_until)


def connection_of(account: Account, status: AccountStatus, why_late: str) -> tuple[str, str]:
    """Return the state of the connection (good, wait or act) and the key of its texts ``.headline`` and ``.advice``.

    ``why_late``: why the newest day is missing; empty if nothing is late.
    """
    if account.reason in (ConsentStopped.code, FilesOnly.code):
        return "wait", f"code.{account.reason}"  # The household stopped the consent or uses only files.
    if account.state is AccountState.ACTION_NEEDED:
        return KINDS[account.state], f"code.{account.reason}"
    if account.state is AccountState.NEW:
        return ("wait", "state.unconfirmed") if account.unconfirmed else ("act", "state.new")
    if account.state is not AccountState.READY:
        return KINDS[account.state], f"state.{account.state}"
    if status.waits_for_turn:
        return "wait", RATE_LIMITED
    if any(series.error for series in status.series.values()):
        return "wait", RETRYING
    if status.last_day is None:
        return "wait", "state.first"
    if why_late:
        return "wait", "state.late"
    return "good", "state.good" if daily_of(supplier=account.supplier).catches_up else "state.as_published"


def _count_gaps(history: History, account: Account, today: date) -> dict[str, Any]:
    """Return how many days of the last month lack the daily value, and how many lack only the curve."""
    coverage = coverage_of(account.id, history)
    first, series = today - _GAP_REACH, daily_of(supplier=account.supplier)
    daily, curves = coverage.get(series), find_curve(series)
    curve = coverage.get(curves) if curves else None
    # The newest daily value may come at any moment, so it isn't counted.
    due = today - series.description.published_after_days * ONE_DAY
    return {
        "unpublished_days": sum(first <= gap.day < due for gap in (daily.open_days if daily else ())),
        "curve_gaps": sum(
            gap.hole is Hole.TRANSMISSION and gap.day >= first for gap in (curve.open_days if curve else ())
        ),
    }


def find_flows(stores: Stores, account: Account, known: Sequence[Series]) -> list[StoredFlow]:
    """Return the directions with stored energy, consumption first.

    ``known``: the series that are collected for the account or have readings.
    """
    outcomes = stores.registry.outcomes.load(account.id)
    flows = []
    for daily in dailies_of(account.supplier):
        pair = [series for series in (daily, find_curve(daily)) if series is not None and series in known]
        first_days = [first_day(stores.measures, account.id, series.inputs) for series in pair]
        last_days = [day for series in pair if (outcome := outcomes.get(series)) and (day := outcome.last_day)]
        if any(first_days) and last_days:
            flows.append(StoredFlow(daily, min(filter(None, first_days)), max(last_days)))
    return flows


def build_chart(
    stores: Stores,
    explainer: Explainer,
    account: Account,
    words: Words,
    flows: Sequence[StoredFlow],
    asked: AskedSpan,
    tariff: AccountTariff,
) -> Chart | None:
    """Return the chart of the requested span; None while nothing is stored.

    A day before the first stored day gets an empty chart that says why. A day after yesterday is replaced with
    yesterday or, for an inactive account, with the last stored day; the chart says why.
    """
    if not flows:
        return None
    first, last, at = min(flow.first for flow in flows), max(flow.last for flow in flows), asked.at
    newest = max(last, asked.today - ONE_DAY) if account.active else last
    # Python's calendar begins with the year 1, so its first years have no earlier year to compare with.
    shown = first if at and at.year < MINYEAR + 2 else min(at or last, newest)
    span, daily = Span.containing(asked.view, shown), flows[0].daily

    def next_day(flow: StoredFlow) -> date:
        # If an account is fed only by files, no bar of a week, month or year counts as missing, because the next file
        # may contain it.
        return date.min if account.files_only and span.view is not View.DAY else flow.last + ONE_DAY

    def read(flow: StoredFlow) -> SpanMeasures:
        found = read_measures(stores.measures, account.id, span, next_day(flow), flow.daily, asked.against, asked.unit)
        ledger = stores.registry.completeness.load_ledger(account.id, flow.daily)
        set_aside = [day for day in span.days() if ledger.mark_of(day).state is DayState.SET_ASIDE]
        reasons = tuple(explain_gaps(explainer, account, flow.daily, found, asked.today, words))
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
        first,
        newest,
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
    last, figures = max(days, default=None), list[Summary]()
    if last is None:
        return []
    for span in (Span.containing(view, last) for view in CALENDAR_VIEWS):
        by_span, *others = (measures_by_day(span, known, span.end) for known in (days, *days_of_others))
        fed = next((other for other in others if other.total is not None), None)
        figures.append(summarize(by_span, words, fed, unit))
    return figures


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


def explain_lateness(
    explainer: Explainer, account: Account, daily: Series, status: AccountStatus, today: date, words: Words
) -> str:
    """Return why the newest day that should be stored by now is missing.

    Empty if the day is stored or will be requested only tonight, or if no day of the series is stored.
    """
    series = status.series.get(daily)
    if series is None or series.last_day is None:
        return ""
    due = today - daily.description.published_after_days * ONE_DAY - (_TOLERANCE if daily.comes_late else timedelta())
    if series.last_day >= due:
        return ""
    explanation = explainer.explain_days(account, daily, [due])[due]
    waits_for_tonight = explanation.reason is Reason.NOT_ASKED_YET and series.last_day >= due - ONE_DAY
    return "" if waits_for_tonight or explanation.reason.is_complete else words.choose(explanation.sentences)


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
