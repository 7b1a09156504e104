"""The meter's registers on the account's page: by tariff period, what the meter showed and the sums of month and year.

Periods are named as the supplier sends them, with an explanation where one is known (``register.<name>``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from worker.domain.measures.documents import Entry
from worker.domain.measures.readings import ONE_DAY, DateWindow
from worker.domain.measures.registers import (
    BreakCause,
    MonthEnergy,
    SequenceBreak,
    day_energies,
    find_breaks,
    month_energies,
)
from worker.domain.measures.series import Direction, Series
from worker.stores.measures.base import MeasureStore
from worker.texts import load_texts
from worker.web.pages.charts import title_of
from worker.web.pages.measures import Span, View, read_entries
from worker.web.texts import Words

_AMOUNTS_PER_WATT_HOUR: Final = 1000
_PLACES: Final = 3
_BREAKS: Final = {
    BreakCause.FELL_BACK: "registers.break.fell_back",
    BreakCause.CALENDAR_CHANGED: "registers.break.calendar",
    BreakCause.METER_REPLACED: "registers.break.meter",
}


@dataclass(frozen=True, slots=True)
class RegisterRow:
    """A tariff period, or the total: what the meter showed, and the energy of month and year."""

    name: str
    about: str
    index: str
    month: str
    year: str


@dataclass(frozen=True, slots=True)
class MonthRow:
    """A month: the energy of each tariff period, of all of them, and a remark."""

    label: str
    energies: list[str]
    total: str
    note: str


@dataclass(frozen=True, slots=True)
class RegistersCard:
    """Everything that the template shows. ``month`` is empty where a year is shown."""

    series: Series
    direction: Direction
    calendar: str
    day: str
    month: str
    year: str
    rows: list[RegisterRow]
    total: RegisterRow
    periods: list[str]
    months: list[MonthRow]
    notes: list[str]


def build_registers(
    measures: MeasureStore, account_id: str, series: Series, at: Span, words: Words, today: date
) -> RegistersCard | None:
    """Return the registers of the span's year; None where none is stored."""
    year = Span.containing(View.YEAR, at.start)
    # The midnight that ends the year's last day is the next day's.
    entries = read_entries(measures, account_id, series, DateWindow(year.start, year.end + ONE_DAY))
    return to_registers(series, entries, at, words, today) if entries else None


def to_registers(series: Series, entries: Sequence[Entry], at: Span, words: Words, today: date) -> RegistersCard:
    """Return the card of ``at``; ``entries``: those of its year, in order."""
    year = Span.containing(View.YEAR, at.start)
    days = [energy for energy in day_energies(entries) if year.start <= energy.day < year.end]
    months = month_energies(days, today)
    last = entries[-1]
    details = last.details or {}
    shown = {} if at.view is View.YEAR else {energy.month: energy for energy in months}
    month = shown.get(at.start.isoformat()[:7])
    registers: Mapping[str, int] = details.get("registers") or {}
    periods = list(dict.fromkeys([*registers, *(period for energy in months for period in energy.by_period)]))
    sums = Counter[str]()
    for energy in months:
        sums.update(energy.by_period)
    rows = [
        RegisterRow(
            period,
            _about(period, words),
            _kwh(registers.get(period), words),
            _kwh(month.by_period.get(period) if month else None, words),
            _kwh(sums.get(period), words),
        )
        for period in periods
    ]
    total = RegisterRow(
        words("registers.total"),
        "",
        words.kwh(last.amount, _PLACES),
        _kwh(month.total if month else None, words),
        _kwh(sum(energy.total for energy in months) if months else None, words),
    )
    return RegistersCard(
        series=series,
        direction=series.description.direction,
        calendar=details.get("calendar") or "",
        day=words.day(date.fromisoformat(last.key)),
        month="" if at.view is View.YEAR else title_of(Span.containing(View.MONTH, at.start), words),
        year=str(at.start.year),
        rows=rows,
        total=total,
        periods=periods,
        months=[_month_row(energy, periods, words) for energy in months],
        notes=[_describe_break(found, words) for found in find_breaks(entries)],
    )


def _month_row(energy: MonthEnergy, periods: Sequence[str], words: Words) -> MonthRow:
    month = date.fromisoformat(f"{energy.month}-01")
    note = words.count("chart.missing_days", energy.lacking) if energy.lacking else ""
    energies = [_kwh(energy.by_period.get(period), words) for period in periods]
    return MonthRow(words.month_name(month), energies, _kwh(energy.total, words), note)


def _kwh(watt_hours: int | None, words: Words) -> str:
    return "–" if watt_hours is None else words.kwh(watt_hours * _AMOUNTS_PER_WATT_HOUR, _PLACES)


def _about(period: str, words: Words) -> str:
    """Return what a tariff period is in plain words; empty where we do not know its name."""
    key = f"register.{period}"
    return words(key) if key in load_texts() else ""


def _describe_break(found: SequenceBreak, words: Words) -> str:
    return words(_BREAKS[found.cause], day=words.day(found.day))
