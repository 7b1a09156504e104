"""Recorded gas homes: the days and periods of the files ``PCE.gas_daily.csv`` and ``PCE.gas_published.csv``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import chain

from worker.simulator.homes.gas.periods import PeriodCuts
from worker.simulator.homes.gas.readings import GasReading

_USUAL_READING_DAY = 3


@dataclass(slots=True)
class RecordedGasHome:
    """Recorded gas home, served as it is; a kind of values without a file has none at all."""

    days: dict[date, GasReading] = field(default_factory=dict)
    periods: list[GasReading] = field(default_factory=list)

    @property
    def activated_on(self) -> date:
        """The day on which its records begin."""
        return min(reading.start for reading in chain(self.days.values(), self.periods))

    @property
    def communicating_from(self) -> date:
        """The day on which its daily values begin."""
        return min(self.days, default=date.max)

    @property
    def frequency(self) -> str:
        """How often its meter is read: a home without daily values has no communicating meter."""
        return "1M" if self.days else "6M"

    @property
    def reading_day(self) -> int:
        """The day of the month on which it was read last, apart from the first of a month."""
        starts = [period.start.day for period in self.periods if period.start.day not in (1, 29, 30, 31)]
        return starts[-1] if starts else _USUAL_READING_DAY

    @property
    def no_daily_code(self) -> str:
        """The code with which GRDF refuses its daily values where it has none."""
        return "1000008"

    @property
    def annual_reference(self) -> int:
        """The annual reference consumption (CAR), in kWh: what the last periods of a year add up to."""
        total = Decimal(0)
        for period in reversed(self.periods):
            if (self.periods[-1].end - period.start).days > 366:
                break
            total += period.energy or 0
        return round(total)

    def day(self, day: date) -> GasReading | None:
        """Return the recorded values of a gas day; None where there are none."""
        return self.days.get(day)

    def provisional(self, day: date) -> GasReading | None:
        """Return what was told of a gas day before its month was final: the same."""
        return self.days.get(day)

    def cut_into(self, cuts: PeriodCuts, first: date, last: date) -> Sequence[GasReading]:
        """Return the recorded periods that lie between two days; their cuts are those of the file."""
        return [period for period in self.periods if first <= period.start and period.end <= last]


def merge_gas(homes: Mapping[str, RecordedGasHome]) -> dict[str, RecordedGasHome]:
    """Return the homes with their periods in order, each once."""
    for home in homes.values():
        home.periods = sorted({period.start: period for period in home.periods}.values())
    return dict(homes)
