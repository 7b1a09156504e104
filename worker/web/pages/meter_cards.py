"""The cards of a household's meters on its first page: the newest day, its month, their cost, and what is wrong.

The month is compared with the same days of the year before: only days count that are known in both years. The first
meters have figures; of the others, the page has the names alone, so that its time stays bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, Final

from worker.accounts.meter_names import load_names
from worker.accounts.prices import load_tariff, read_costs
from worker.domain.account import Account
from worker.domain.prices.cost import Cost, format_total, total_cost
from worker.domain.series import Direction, Granularity
from worker.domain.windows import ONE_DAY, DateWindow, merge_windows
from worker.web.dependencies import Visit, gas_suffix, title_of_meter
from worker.web.pages.account import summarize_flows
from worker.web.pages.account_head import KINDS, ShownMeter, load_meter
from worker.web.pages.cards import build_billed
from worker.web.pages.chart_values import Against, Span, Unit, View, read_days
from worker.web.pages.charts import Summary, title_of
from worker.web.rendering import words_of
from worker.web.texts import Words

_WITH_FIGURES: Final = 5


@dataclass(frozen=True, slots=True)
class MeterFigure:
    """A day or month in words. ``before``: the same days of the year before; ``cost``: empty without prices."""

    label: str
    summary: Summary
    before: str
    cost: str


@dataclass(frozen=True, slots=True)
class MeterCard:
    """All values for the template. ``kind``: that of the colours; ``notes``: sentences where figures are lacking."""

    meter: ShownMeter
    title: str
    kind: str
    figures: list[MeterFigure]
    notes: list[str]


def describe_meters(
    visit: Visit, accounts: Sequence[Account], first: int = 0, most: int | None = None
) -> dict[str, Any]:
    """Return values for ``meters.html``, for ``most`` accounts from the one at ``first``; all without ``most``.

    Accounts for which the household must act come first.
    """
    ranked = sorted(accounts, key=lambda account: KINDS[account.shown_state] != "act")
    end = len(ranked) if most is None else first + most
    with_figures = ranked[first : min(_WITH_FIGURES, end)]
    cards = [_build_card(visit, load_meter(visit, account)) for account in with_figures]
    others = ranked[first + len(cards) : end]
    return {
        "cards": sorted(cards, key=lambda card: card.meter.kind != "act"),
        "others": others,
        "names": load_names(visit.registry, [account.id for account in others]),
        "kinds": KINDS,
        "several": gas_suffix(visit.sync),
    }


def _build_card(visit: Visit, meter: ShownMeter) -> MeterCard:
    account, words = meter.account, words_of(visit.request)
    directions = [flow.daily.description.direction for flow in meter.flows]
    is_fed = directions == [Direction.PRODUCTION]
    kind = "gas" if meter.flows and meter.flows[0].daily.is_gas else Direction.PRODUCTION if is_fed else ""
    figures = _build_figures(visit, meter, words) if meter.flows else []
    title = title_of_meter(visit.registry, account, words, directions)
    return MeterCard(meter, title, kind, figures, list(_explain(visit, meter, words, has_figures=bool(figures))))


def _build_figures(visit: Visit, meter: ShownMeter, words: Words) -> list[MeterFigure]:
    """Return the newest day and its month; empty if no whole day is known of the last two months."""
    measures, account, newest = visit.stores.measures, meter.account, meter.flows[0].last
    months = [Span.containing(View.MONTH, newest)]
    months.append(months[0].before)  # Of the newest day, perhaps only a part of the curve is known.
    windows = merge_windows(window for month in months for window in month.windows(Against.YEAR, Unit.KWH))
    read = partial(read_days, measures, account.id)
    known = [dict(day for one in windows for day in read(one, flow.daily).items()) for flow in meter.flows]
    last = max(known[0], default=date.min)
    if last < months[1].start:
        return []
    day, month = Span.containing(View.DAY, last), Span.containing(View.MONTH, last)
    tariff, costs = load_tariff(visit.registry, measures, account), dict[date, Cost]()
    if tariff.is_set and meter.flows[0].daily.description.direction is Direction.CONSUMPTION:
        costs, _ = read_costs(measures, account.id, tariff, DateWindow(month.start, last + ONE_DAY))
    figures = []
    for span in (day, month):
        shown, summary = summarize_flows(span, known, words, against=Against.YEAR)
        label = "home.yesterday" if last == meter.today - ONE_DAY else "home.newest"
        before = ""
        if span is month and shown.comparison:
            facts = {"before": title_of(shown.other, words), "energy": words.energy(shown.comparison.before)}
            before = words.count("home.same_days", shown.comparison.number, **facts)
        title = words(label, day=summary.title) if span is day else summary.title
        cost = _describe_cost(total_cost(DateWindow(span.start, span.end), costs), len(shown.days), words)
        figures.append(MeterFigure(title, summary, before, cost))
    return figures


def _describe_cost(cost: Cost, known_days: int, words: Words) -> str:
    """Return a cost in words, and for how many of the known days it is, if not for all."""
    if (total := format_total(cost)) is None:
        return ""
    text = words("home.cost" if cost.subscription else "home.cost.energy", euros=words.euros(total))
    is_whole = cost.known >= known_days
    return text if is_whole else f"{text} ({words.count('chart.known_days', cost.known, whole=known_days)})"


def _explain(visit: Visit, meter: ShownMeter, words: Words, *, has_figures: bool) -> Iterator[str]:
    """Yield how far the first sync is, and what there is in the place of figures."""
    if meter.loading:
        bar = next(one for one in meter.bars.values() if one.done < one.total)
        yield words("home.loading", done=words.number(bar.done), total=words.number(bar.total))
    if has_figures:
        return
    billed = (one for one in meter.known if one.description.granularity is Granularity.INTERVAL)
    at = Span.containing(View.YEAR, meter.today)
    cards = [build_billed(visit.stores.measures, meter.account.id, one, at, words) for one in billed]
    yield from (card.last for card in cards if card)
    if meter.flows:
        yield words("home.last_day", day=words.day(meter.newest_stored))
    elif not any(cards) and not meter.loading:
        yield words("account.nothing")
