"""The meter's registers on the account's page: by tariff period, what the meter showed and the sums of month and year.

Periods are named as the supplier sends them, with an explanation where one is known (``register.<name>``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from worker.domain.documents import MILLIWATT_HOURS_PER_WH, Entry
from worker.domain.series import Direction, Series
from worker.domain.tariffs import BreakCause, MonthEnergy, day_energies, find_breaks, month_energies, read_registers
from worker.domain.windows import ONE_DAY, DateWindow
from worker.stores.measures.measure_store import MeasureStore
from worker.texts import load_texts
from worker.web.pages.measures import Span, View, read_entries
from worker.web.pages.navigation import title_of
from worker.web.texts import Words

_PLACES: Final = 3
_KEY_LENGTHS: Final = {View.MONTH: 7, View.YEAR: 4}
_BREAKS: Final = {
    BreakCause.FELL_BACK: "registers.break.fell_back",
    BreakCause.CALENDAR_CHANGED: "registers.break.calendar",
    BreakCause.METER_REPLACED: "registers.break.meter",
}


@dataclass(frozen=True, slots=True)
class RegisterRow:
    """A tariff period, or the total: what the meter showed, and the energy of the month or year that is shown."""

    name: str
    about: str
    index: str
    energy: str


@dataclass(frozen=True, slots=True)
class MonthRow:
    """A month: the energy of each tariff period, of all of them, and a remark."""

    label: str
    energies: list[str]
    total: str
    note: str


@dataclass(frozen=True, slots=True)
class RegistersCard:
    """Everything that the template shows. ``shown``: the title of the month or year whose energy is in ``rows``."""

    series: Series
    direction: Direction
    calendar: str
    day: str
    shown: str
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
    span = year if at.view is View.YEAR else Span.containing(View.MONTH, at.start)
    within = [energy for energy in months if energy.month.startswith(span.start.isoformat()[: _KEY_LENGTHS[span.view]])]
    last, sums = entries[-1], _sums(within)
    registers = read_registers(last)
    periods = list(dict.fromkeys([*registers, *(period for energy in months for period in energy.by_period)]))
    return RegistersCard(
        series=series,
        direction=series.description.direction,
        calendar=(last.details or {}).get("calendar") or "",
        day=words.day(date.fromisoformat(last.key)),
        shown=title_of(span, words),
        year=str(year.start.year),
        rows=[
            RegisterRow(name, _about(name, words), _kwh(registers.get(name), words), _kwh(sums.get(name), words))
            for name in periods
        ],
        total=RegisterRow(
            words("registers.total"),
            "",
            words.kwh(last.amount, _PLACES),
            _kwh(sum(energy.total for energy in within) if within else None, words),
        ),
        periods=periods,
        months=[_month_row(energy, periods, words) for energy in months],
        notes=list(_notes(entries, within, words)),
    )


def _sums(months: Sequence[MonthEnergy]) -> Mapping[str, int]:
    """Return the energy of the months by tariff period, in Wh."""
    sums = Counter[str]()
    for energy in months:
        sums.update(energy.by_period)
    return sums


def _month_row(energy: MonthEnergy, periods: Sequence[str], words: Words) -> MonthRow:
    month = date.fromisoformat(f"{energy.month}-01")
    note = words.count("chart.missing_days", energy.lacking) if energy.lacking else ""
    energies = [_kwh(energy.by_period.get(period), words) for period in periods]
    return MonthRow(words.month_name(month), energies, _kwh(energy.total, words), note)


def _kwh(watt_hours: int | None, words: Words) -> str:
    return "–" if watt_hours is None else words.kwh(watt_hours * MILLIWATT_HOURS_PER_WH, _PLACES)


def _about(period: str, words: Words) -> str:
    """Return what a tariff period is in plain words; empty where we do not know its name."""
    key = f"register.{period}"
    return words(key) if key in load_texts() else ""


def _notes(entries: Sequence[Entry], shown: Sequence[MonthEnergy], words: Words) -> Iterator[str]:
    """Yield what the totals lack: days without a value, and where counting starts again."""
    if lacking := sum(energy.lacking for energy in shown):
        yield words.count("registers.lacking", lacking)
    for sequence_break in find_breaks(entries):
        yield words(_BREAKS[sequence_break.cause], day=words.day(sequence_break.day))
