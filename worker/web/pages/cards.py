"""The sections of power and of registers and contract, made of cards: power, registers, billed periods, contract.

- Power: the maximum of each day, of the month and of the year, compared with the subscribed power. For a day, the
  card shows the day's month, because a day has only one maximum power.
- Registers: for each tariff period, the last register reading of the year, and the energy of the month or year.
  Periods are named as the supplier sends them, with an explanation if there is one (``register.<name>``).
- Billed periods of gas: a table of the periods, and a table that compares the energy published for each month with the
  sum of its days. Days and periods are two measures of the same gas, so they are shown next to each other and never
  added up.
- Contract: subscribed power, tariff and off-peak hours; for gas the frequency of readings, the tariff and the annual
  reference consumption. The card also shows since when the contract is in force, and the earlier contracts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

from fastapi import APIRouter, Response
from markupsafe import Markup

from worker.domain.account import Account
from worker.domain.completeness import interval_days
from worker.domain.consistency import MonthComparison, compare_months
from worker.domain.documents import MILLIWATT_HOURS_PER_WH, Entry, count_places
from worker.domain.series import Granularity, Quantity, Series, daily_of
from worker.domain.tariffs import (
    BreakCause,
    MonthEnergy,
    day_energies,
    find_breaks,
    month_energies,
    parse_off_peak_hours,
    read_registers,
)
from worker.domain.totals import (
    IntervalMonth,
    Peak,
    calendar_month,
    find_highest,
    months_of_intervals,
    subscribed_on,
    to_peaks,
)
from worker.domain.windows import ONE_DAY, DateWindow, day_length, local_midnight
from worker.stores.measures.measure_store import MeasureStore
from worker.web.dependencies import OwnAccount, Visit, VisitDep
from worker.web.pages.account_head import OF_SECTIONS, Asked, AskedSpan, ShownMeter, load_meter, render_section
from worker.web.pages.chart_values import Slot, Span, SpanMeasures, View, in_words, read_entries, with_unit
from worker.web.pages.charts import SIZES, build_navigation, draw_chart, slot_label, title_of
from worker.web.rendering import words_of
from worker.web.texts import Words

router = APIRouter()
_UNKNOWN: Final = "–"
_PLACES: Final = 3  # Decimals of kVA and kWh: powers are sent in whole VA, registers in whole Wh.
_KEY_LENGTHS: Final = {View.MONTH: 7, View.YEAR: 4}
_BREAKS: Final = {
    BreakCause.FELL_BACK: "registers.break.fell_back",
    BreakCause.CALENDAR_CHANGED: "registers.break.calendar",
    BreakCause.METER_REPLACED: "registers.break.meter",
}


@dataclass(frozen=True, slots=True)
class PowerRow:
    """The maximum power of a day or month, in words."""

    label: str
    power: str
    at: str
    subscribed: str


@dataclass(frozen=True, slots=True)
class PowerCard:
    """All values for the template. ``highest``: the title of each span, with the maximum power and its time."""

    series: Series
    view: View
    title: str
    subscribed: str
    highest: list[tuple[str, str]]
    above: str
    drawings: list[Markup]
    rows: list[PowerRow]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class RegisterRow:
    """The row of a tariff period, or of the total. ``index``: the last register reading of the year.

    ``energy``: the energy of the month or year shown.
    """

    name: str
    about: str
    index: str
    energy: str


@dataclass(frozen=True, slots=True)
class MonthRow:
    """A month: the energy of each tariff period, the sum of all, and a note."""

    label: str
    energies: list[str]
    total: str
    note: str


@dataclass(frozen=True, slots=True)
class RegistersCard:
    """All values for the template. ``shown``: the title of the month or year whose energy is in ``rows``."""

    series: Series
    calendar: str
    day: str
    shown: str
    year: str
    rows: list[RegisterRow]
    total: RegisterRow
    periods: list[str]
    months: list[MonthRow]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class PeriodRow:
    """A period from one meter reading to the next, in words; a dash stands for what is unknown."""

    label: str
    energy: str
    volume: str
    coefficient: str
    quality: str


@dataclass(frozen=True, slots=True)
class BilledMonth:
    """A month: the energy published for the month, the sum of its days, and the difference."""

    label: str
    published: str
    daily: str
    difference: str
    note: str


@dataclass(frozen=True, slots=True)
class BilledCard:
    """All values for the template. ``year``: the year shown. ``last``: a sentence about the newest period.

    ``deviation``: a sentence about the month on the page; empty if the month can't be compared.
    """

    series: Series
    year: str
    last: str
    deviation: str
    rows: list[PeriodRow]
    months: list[BilledMonth]


@dataclass(frozen=True, slots=True)
class ContractCard:
    """All values for the template.

    ``title``: the key of the title. ``facts``: the key of each fact's name, and the value. ``changes``: for each
    contract, newest first, the day on which it was found, and the contract in a few words; empty if there is only one.
    """

    title: str
    facts: list[tuple[str, str]]
    changes: list[tuple[str, str]]


Card = PowerCard | RegistersCard | BilledCard | ContractCard


@router.get("/accounts/{account_id}/power")
def show_power(visit: VisitDep, account: OwnAccount, asked: Asked) -> Response:
    return _show_cards(visit, account, asked, "power")


@router.get("/accounts/{account_id}/contract")
def show_contract(visit: VisitDep, account: OwnAccount, asked: Asked) -> Response:
    return _show_cards(visit, account, asked, "contract")


def _show_cards(visit: Visit, account: Account, asked: AskedSpan, section: str) -> Response:
    meter, words, measures = load_meter(visit, account), words_of(visit.request), visit.stores.measures
    at = Span.containing(asked.view, meter.choose_day(asked.at))
    span = at if at.view is View.YEAR else Span.containing(View.MONTH, at.start)
    chosen = SpanMeasures(span, (), None, None, against=asked.compare, unit=asked.unit)
    return render_section(
        visit,
        meter,
        section,
        "cards.html",
        asked.query,
        asked=replace(asked, by=span.view),
        navigation=build_navigation(chosen, meter.first, meter.newest, words, (View.MONTH, View.YEAR)),
        span_title=title_of(span, words),
        cards=build_cards(measures, meter, at, words, OF_SECTIONS[section]),
    )


def build_cards(
    measures: MeasureStore, meter: ShownMeter, at: Span, words: Words, about: Collection[Granularity]
) -> list[tuple[str, Card]]:
    """Return the cards of the meter's series with their templates.

    ``at``: the span shown on the page. ``about``: what the readings of the cards' series are about.
    """
    account_id = meter.account.id
    by_series = {series: series.description.granularity for series in meter.known}
    states = [series for series, granularity in by_series.items() if granularity is Granularity.STATE]
    contracts = {series: read_entries(measures, account_id, series) for series in states}
    subscribed = next((contracts[series] for series in states if _is_power(series)), [])
    cards: list[tuple[str, Card | None]] = []
    for series, granularity in by_series.items():
        if granularity not in about:
            continue
        if granularity is Granularity.INSTANT and _is_power(series):
            cards.append(("power.html", build_power(measures, account_id, series, subscribed, at, words)))
        elif granularity is Granularity.REGISTER:
            cards.append(("registers.html", build_registers(measures, account_id, series, at, words, meter.today)))
        elif granularity is Granularity.INTERVAL:
            cards.append(("billed.html", build_billed(measures, account_id, series, at, words)))
        elif granularity is Granularity.STATE:
            cards.append(("contract.html", to_contract(series, contracts[series], words)))
    return [(template, card) for template, card in cards if card is not None]


def _is_power(series: Series) -> bool:
    return series.description.quantity is Quantity.APPARENT_POWER


def build_power(
    measures: MeasureStore, account_id: str, series: Series, contracts: Sequence[Entry], at: Span, words: Words
) -> PowerCard | None:
    """Return the card with the maximum powers of the span's year; None if no maximum power is stored."""
    year = Span.containing(View.YEAR, at.start)
    entries = read_entries(measures, account_id, series, DateWindow(year.start, year.end))
    return to_power(series, to_peaks(entries, contracts), contracts, at, words) if entries else None


def to_power(series: Series, peaks: Sequence[Peak], contracts: Sequence[Entry], at: Span, words: Words) -> PowerCard:
    """Return the card for the span ``at``. ``peaks``: the maximum powers of the year of ``at``."""
    span = at if at.view is View.YEAR else Span.containing(View.MONTH, at.start)
    by_slot = _peaks_by_slot(span, peaks)
    slots = _power_slots(by_slot, peaks[-1].day + ONE_DAY)
    limits = [subscribed_on(slot_span.end - ONE_DAY, contracts) for slot_span in by_slot]
    shown = SpanMeasures(span, slots, None, None)
    highest = find_highest(peak for peak in by_slot.values() if peak is not None)
    title = title_of(span, words)
    if highest is None:
        drawings, notes = [], [words("chart.nothing")]
    else:
        label = words("power.told", title=title, power=words.power(highest.amount, _PLACES))
        drawings, notes = [draw_chart(shown, words, size, label, limits=limits) for size in SIZES], []
    return PowerCard(
        series=series,
        view=span.view,
        title=title,
        subscribed="" if limits[-1] is None else words.power(limits[-1]),
        highest=list(_highest_in_words(at, peaks, words)),
        above=_days_above(peaks, at.start.year, words),
        drawings=drawings,
        rows=[
            _power_row(slot_label(slot, span.view, words), peak, limit, span.view, words)
            for slot, peak, limit in zip(slots, by_slot.values(), limits, strict=True)
        ],
        notes=notes,
    )


def _peaks_by_slot(span: Span, peaks: Sequence[Peak]) -> dict[Span, Peak | None]:
    """Return the maximum power of each day of a month or each month of a year; None for one without a value."""
    view = View.DAY if span.view is View.MONTH else View.MONTH
    slots = dict.fromkeys(Span.containing(view, day) for day in span.days())
    return {slot: _find_highest_within(slot, peaks) for slot in slots}


def _find_highest_within(span: Span, peaks: Sequence[Peak]) -> Peak | None:
    return find_highest(peak for peak in peaks if span.start <= peak.day < span.end)


def _power_slots(by_slot: Mapping[Span, Peak | None], next_day: date) -> tuple[Slot, ...]:
    return tuple(
        Slot(
            local_midnight(span.start),
            day_length(span.start) if span.view is View.DAY else timedelta(days=len(span.days())),
            None if peak is None else peak.amount,
            None,
            pending=span.start >= next_day,
        )
        for span, peak in by_slot.items()
    )


def _highest_in_words(at: Span, peaks: Sequence[Peak], words: Words) -> Iterator[tuple[str, str]]:
    """Yield the maximum power of the span, and of its month and year if these are longer than the span."""
    longer = [view for view in (View.MONTH, View.YEAR) if len(Span.containing(view, at.start).days()) > len(at.days())]
    for view in (at.view, *longer):
        span = Span.containing(view, at.start)
        highest = _find_highest_within(span, peaks)
        if highest is not None:
            yield title_of(span, words), _peak_in_words(highest, words, with_day=view is not View.DAY)


def _peak_in_words(peak: Peak, words: Words, *, with_day: bool) -> str:
    power = words.power(peak.amount, _PLACES)
    if peak.at is None:
        return f"{power}, {words.day(peak.day)}" if with_day else power
    return words(
        f"power.at.{'day' if with_day else 'clock'}", power=power, day=words.day(peak.day), clock=words.clock(peak.at)
    )


def _days_above(peaks: Sequence[Peak], year: int, words: Words) -> str:
    """Return on how many days the subscribed power was exceeded; empty if no subscribed power is known."""
    if all(peak.subscribed is None for peak in peaks):
        return ""
    number = sum(peak.exceeds for peak in peaks)
    return words.count("power.above", number, year=year) if number else words("power.never_above", year=year)


def _power_row(label: str, peak: Peak | None, limit: int | None, view: View, words: Words) -> PowerRow:
    subscribed = _UNKNOWN if limit is None else words.power(limit)
    if peak is None:
        return PowerRow(label, _UNKNOWN, "", subscribed)
    clock = words.clock(peak.at) if peak.at else ""
    day = f"{words.short_day(peak.day)} " if view is View.YEAR else ""
    return PowerRow(label, words.kwh(peak.amount, _PLACES), f"{day}{clock}".strip(), subscribed)


def build_registers(
    measures: MeasureStore, account_id: str, series: Series, at: Span, words: Words, today: date
) -> RegistersCard | None:
    """Return the card with the registers of the span's year; None if no registers are stored."""
    year = Span.containing(View.YEAR, at.start)
    # The reading that ends the year's last day is made at midnight, so it has the date of the next day.
    entries = read_entries(measures, account_id, series, DateWindow(year.start, year.end + ONE_DAY))
    return to_registers(series, entries, at, words, today) if entries else None


def to_registers(series: Series, entries: Sequence[Entry], at: Span, words: Words, today: date) -> RegistersCard:
    """Return the card for the span ``at``. ``entries``: the register readings of the year of ``at``, in order."""
    year = Span.containing(View.YEAR, at.start)
    days = [energy for energy in day_energies(entries) if year.start <= energy.day < year.end]
    months = month_energies(days, today)
    span = year if at.view is View.YEAR else Span.containing(View.MONTH, at.start)
    within = [energy for energy in months if energy.month.startswith(span.start.isoformat()[: _KEY_LENGTHS[span.view]])]
    last, sums = entries[-1], _sum_by_period(within)
    registers = read_registers(last)
    periods = list(dict.fromkeys([*registers, *(period for energy in months for period in energy.by_period)]))
    return RegistersCard(
        series=series,
        calendar=(last.details or {}).get("calendar") or "",
        day=words.day(date.fromisoformat(last.key)),
        shown=title_of(span, words),
        year=str(year.start.year),
        rows=[
            # A tariff period with an unknown name has no explanation.
            RegisterRow(
                name, words.known(f"register.{name}", ""), _kwh(registers.get(name), words), _kwh(sums.get(name), words)
            )
            for name in periods
        ],
        total=RegisterRow(
            words("registers.total"),
            "",
            words.kwh(last.amount, _PLACES),
            _kwh(sum(energy.total for energy in within) if within else None, words),
        ),
        periods=periods,
        months=[_registers_month(energy, periods, words) for energy in months],
        notes=list(_registers_notes(entries, within, words)),
    )


def _sum_by_period(months: Sequence[MonthEnergy]) -> Mapping[str, int]:
    """Return the energy of the months by tariff period, in Wh."""
    sums = Counter[str]()
    for energy in months:
        sums.update(energy.by_period)
    return sums


def _registers_month(energy: MonthEnergy, periods: Sequence[str], words: Words) -> MonthRow:
    month = date.fromisoformat(f"{energy.month}-01")
    note = words.count("chart.missing_days", energy.lacking) if energy.lacking else ""
    energies = [_kwh(energy.by_period.get(period), words) for period in periods]
    return MonthRow(words.month_name(month), energies, _kwh(energy.total, words), note)


def _kwh(watt_hours: int | None, words: Words) -> str:
    return _UNKNOWN if watt_hours is None else words.kwh(watt_hours * MILLIWATT_HOURS_PER_WH, _PLACES)


def _registers_notes(entries: Sequence[Entry], shown: Sequence[MonthEnergy], words: Words) -> Iterator[str]:
    """Yield notes on the days that the totals lack, and on each break in the registers, such as a replaced meter."""
    if lacking := sum(energy.lacking for energy in shown):
        yield words.count("registers.lacking", lacking)
    for sequence_break in find_breaks(entries):
        yield words(_BREAKS[sequence_break.cause], day=words.day(sequence_break.day))


def build_billed(measures: MeasureStore, account_id: str, series: Series, at: Span, words: Words) -> BilledCard | None:
    """Return the card with the billed periods of the year shown on the page; None if no period is stored."""
    periods = read_entries(measures, account_id, series)
    if not periods:
        return None
    year = Span.containing(View.YEAR, at.start)
    days = DateWindow(year.start, year.end)
    daily = read_entries(measures, account_id, daily_of(supplier=series.description.supplier), days)
    compared = {month.key: month for month in compare_months(daily, periods)}
    rows = [period for period in reversed(periods) if interval_days(period).overlap(days)]
    places = count_places([period.amount for period in rows], least=0)
    months = [one for one in months_of_intervals(periods) if one.is_whole and one.key[:4] == str(year.start.year)]
    amounts = [*(month.amount for month in months), *(month.daily for month in compared.values())]
    places_of_months = count_places(amounts, least=0)
    shown = compared.get(f"{at.start:%Y-%m}") if at.view is not View.YEAR else None
    return BilledCard(
        series=series,
        year=str(year.start.year),
        last=words(
            "gas.billed.last", period=_period_label(periods[-1], words), energy=words.energy(periods[-1].amount)
        ),
        deviation=_describe_deviation(shown, words) if shown else "",
        rows=[_period_row(period, places, words) for period in rows],
        months=[_billed_month(month, compared.get(month.key), places_of_months, words) for month in months],
    )


def _period_row(period: Entry, places: int, words: Words) -> PeriodRow:
    details = period.details or {}
    return PeriodRow(
        label=_period_label(period, words),
        energy=words.kwh(period.amount, places),
        volume=with_unit(details["volume"], "m³", words) if "volume" in details else _UNKNOWN,
        coefficient=with_unit(details["coefficient"], "", words).strip() if "coefficient" in details else _UNKNOWN,
        quality=in_words("quality", details["quality"], words) if "quality" in details else "",
    )


def _period_label(period: Entry, words: Words) -> str:
    days = interval_days(period)
    return words("gas.billed.period", start=words.medium_day(days.start), end=words.medium_day(days.end))


def _billed_month(month: IntervalMonth, comparison: MonthComparison | None, places: int, words: Words) -> BilledMonth:
    first = calendar_month(month.key).start
    label, published = words.month_name(first), words.kwh(month.amount, places)
    if comparison is None:
        return BilledMonth(label, published, _UNKNOWN, _UNKNOWN, "")
    note = "" if comparison.agrees else words("gas.billed.deviates")
    daily, difference = words.kwh(comparison.daily, places), words.signed_kwh(comparison.difference, places)
    return BilledMonth(label, published, daily, difference, note)


def _describe_deviation(month: MonthComparison, words: Words) -> str:
    """Return a sentence that compares the sum of a month's days with the energy published for the month."""
    if month.difference == 0:
        key = "gas.billed.equal"
    else:
        key = "gas.billed.close" if month.agrees else "gas.billed.deviation"
    places = count_places([month.daily, month.published], least=0)
    return words(
        key,
        month=words.month(date.fromisoformat(f"{month.key}-01")),
        daily=words.energy(month.daily, places),
        published=words.energy(month.published, places),
        difference=words.signed_kwh(month.difference, places) + "\N{NO-BREAK SPACE}kWh",
    )


def to_contract(series: Series, entries: Sequence[Entry], words: Words) -> ContractCard | None:
    """Return the card with the current and earlier contracts; None if none is stored. ``entries``: oldest first."""
    if not entries:
        return None
    describe = describe_gas_contract if series.is_gas else _describe_power_contract
    since = _day_in_words((entries[-1].details or {}).get("activated_on") or "", words)
    facts = {**describe(entries[-1], words), "contract.since": since}
    changes = [
        (words.day(date.fromisoformat(entry.key)), _in_short(entry, describe(entry, words)))
        for entry in reversed(entries)
    ]
    shown = [(name, value) for name, value in facts.items() if value]
    title = "gas.contract.title" if series.is_gas else "contract.title"
    return ContractCard(title, shown, changes if len(changes) > 1 else [])


def _describe_power_contract(entry: Entry, words: Words) -> dict[str, str]:
    details = entry.details or {}
    return {
        "contract.power": words.power(entry.amount) if entry.amount else "",
        "contract.tariff": _describe_tariff(details.get("tariff") or "", words),
        "contract.off_peak": describe_off_peak(details.get("off_peak_hours") or "", words),
    }


def describe_off_peak(text: str, words: Words) -> str:
    """Return off-peak hours such as ``22:00 – 06:00, 12:30 – 14:00``; a text of another form stays as it was sent."""
    ranges = [
        words("chart.from_to", start=f"{start:%H:%M}", end=f"{end:%H:%M}") for start, end in parse_off_peak_hours(text)
    ]
    # No-break spaces keep each range on one line.
    return ", ".join(ranges).replace(" – ", "\N{NO-BREAK SPACE}–\N{NO-BREAK SPACE}") or text


def _describe_tariff(tariff: str, words: Words) -> str:
    name = words.known(f"tariff.{tariff}", "")
    return f"{name} ({tariff})" if name else tariff


def _in_short(entry: Entry, facts: Mapping[str, str]) -> str:
    """Return the facts of a contract in a few words; the tariff of electricity as it was sent."""
    tariff = (entry.details or {}).get("tariff")
    return ", ".join(filter(None, (tariff if name == "contract.tariff" else fact for name, fact in facts.items())))


def _day_in_words(text: str, words: Words) -> str:
    try:
        return words.day(date.fromisoformat(text))
    except ValueError:
        return text


def describe_gas_contract(entry: Entry, words: Words) -> dict[str, str]:
    """Return the facts of a gas contract, each with the text key of its name; unknown values are empty."""
    details = entry.details or {}
    return {
        "gas.contract.frequency": in_words("frequency", details.get("frequency") or "", words),
        "gas.contract.tariff": in_words("transport_tariff", details.get("transport_tariff") or "", words),
        # 0 stands for an unknown annual consumption.
        "gas.contract.yearly": words.energy(entry.amount, 0) if entry.amount else "",
    }
