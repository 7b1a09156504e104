"""What a chart's time costs: the same bars in euros, a table by tariff period, and why days have no cost.

Costs are read as ``releve cost`` reads them. A bar is rounded down to whole millionths of a euro, which changes none of
the cents that are shown; the total is the one of the table, whose lines add up to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import groupby
from typing import Final

from worker.accounts.prices import AccountTariff, explain_unpaid, read_costs, read_hours
from worker.domain.documents import MILLIWATT_HOURS_PER_KWH
from worker.domain.prices.cost import EURO, ONE_HOUR, Cost, row_of_days
from worker.domain.prices.energy import Amount, add_energies, off_peak_minutes
from worker.domain.series import Series, find_curve
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, IntervalReading
from worker.stores.measures.measure_store import MeasureStore
from worker.web.pages.chart_values import Days, Slot, Span, SpanMeasures, Unit, View, measures_by_day, measures_by_step
from worker.web.texts import Words

_MILLION: Final = MILLIWATT_HOURS_PER_KWH  # A euro in the unit of bars.


def price_measures(
    measures: MeasureStore,
    account_id: str,
    tariff: AccountTariff,
    daily: Series,
    energy: SpanMeasures,
    next_day: date,
    words: Words,
) -> SpanMeasures:
    """Return the values of a chart in euros, from those in kWh; the row of its span also has all its ``kwh``.

    ``next_day``: the first day that is not published yet.
    """
    span, windows = DateWindow(energy.span.start, energy.span.end), energy.span.windows(energy.against, Unit.EUR)
    read = [read_costs(measures, account_id, tariff, window) for window in windows]
    costs = {day: cost for days, _ in read for day, cost in days.items()}
    sums = sum_months(costs) if energy.span.view is View.YEAR else costs
    amounts = dict.fromkeys(costs, 0) | {day: to_millionths(cost.total) for day, cost in sums.items()}
    whole = {day: amount for day, amount in amounts.items() if costs[day].known}
    if energy.span.view is View.DAY and find_curve(daily):
        hours, _ = read_hours(measures, account_id, tariff, DateWindow(windows[0].start, span.end))
        shown = _by_hour(energy.span, hours, whole, next_day)
    else:
        by_day = partial(measures_by_day, energy.span, next_day=next_day, against=energy.against)
        shown = by_day(whole)
        # A day that is known in part counts in totals, but it is compared with no other.
        slots = shown.slots if whole == amounts else by_day(amounts).slots
        shown = replace(shown, slots=tuple(map(_mark_part, slots, shown.slots)))
    row = row_of_days(span, sums, read[-1][1])
    unpriced = list(tariff.explain_unpriced(sorted(set(span.dates()) - costs.keys()), words.language))
    days_unpriced = frozenset(day for days, _ in unpriced for day in days.dates())
    reasons = [
        *(reason for _, reason in unpriced),
        *explain_unpaid(span, read[-1][1], words.language),
        *_explain_unknown(energy.days.keys() - days_unpriced, costs, words),
    ]
    return replace(
        energy,
        slots=shown.slots,
        total=shown.total if row["total_eur"] is None else int(Decimal(row["total_eur"]) * _MILLION),
        comparison=shown.comparison,
        curve=None,
        days=shown.days,
        reasons=(*energy.reasons, *reasons),
        unit=Unit.EUR,
        unpriced=days_unpriced,
        costs=row | {"kwh": sum(Decimal(one["kwh"]) for one in row["periods"])},
    )


def sum_months(costs: Mapping[date, Cost]) -> dict[date, Cost]:
    """Return the cost of each month under the first of its days that has one; quicker to use than all its days."""
    months = (list(group) for _, group in groupby(sorted(costs), key=lambda day: (day.year, day.month)))
    return {days[0]: add_energies([costs[day] for day in days], len(days)) for days in months}


def to_millionths(amount: Amount) -> int:
    """Return an amount in whole millionths of a euro, rounded down."""
    return _MILLION * amount // EURO


def _by_hour(span: Span, hours: Mapping[str, Cost], days: Days, next_day: date) -> SpanMeasures:
    """Return the chart of a day, whose bars are hours."""
    starts = {datetime.fromisoformat(key).astimezone(PARIS): cost for key, cost in hours.items()}
    readings = [IntervalReading(start, ONE_HOUR, to_millionths(cost.total)) for start, cost in starts.items()]
    shown = measures_by_step(span, readings, days, next_day)
    lacking = {start.timestamp(): timedelta(minutes=one.expected - one.known) for start, one in starts.items()}
    slots = (replace(slot, uncovered=lacking.get(slot.start.timestamp(), timedelta())) for slot in shown.slots)
    return replace(shown, slots=tuple(slots))


def _mark_part(slot: Slot, of_whole_days: Slot) -> Slot:
    is_part = of_whole_days.energy is None or of_whole_days.missing_days > 0
    known_days = of_whole_days.known_days
    return replace(slot, incomplete=slot.energy is not None and is_part, missing_days=0, known_days=known_days)


def find_off_peak(tariff: AccountTariff, day: date) -> list[tuple[int, int]]:
    """Return the off-peak hours of a day in minutes; none where its tariff has none or they are unknown."""
    terms = tariff.terms(DateWindow(day, day + ONE_DAY)).get(day) if tariff.kind == "electricity" else None
    return off_peak_minutes(day, terms) if terms else []


def _explain_unknown(days: Collection[date], costs: Mapping[date, Cost], words: Words) -> Iterator[str]:
    """Yield how many of these days, which have energy and a price, have no cost, or that of a part alone."""
    if unknown := sum(day not in costs for day in days):
        yield words.count("cost.no_periods", unknown)
    if partial := sum(day in costs and not costs[day].known for day in days):
        yield words.count("cost.parts", partial)
