"""What the registers of a pretend home's meter show: sums of its half-hours by tariff period, to the watt-hour.

The months that no correction touches are summed once a home, for a meter counts over years.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from worker.domain.measures.readings import ONE_DAY, DateWindow
from worker.domain.measures.series import Direction
from worker.simulator.homes.contracts import Contract
from worker.simulator.homes.households import PretendHome


class RegisterReading(NamedTuple):
    """What a meter shows at the midnight that begins a day.

    ``contract``: that of the registers, whose Wh are in the order of its periods; None where a meter of production
    counts a total alone.
    """

    contract: Contract | None
    registers: tuple[int, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Registers:
    """The registers of one direction of a home's meter.

    ``contracts`` in time order: a change of the tariff starts new registers, the total counts on.  From ``replaced_on``
    a new meter counts from zero.  ``corrected``: the Wh of each of ``corrected_days`` by tariff period; a correction
    moves the registers from that day on.
    """

    home: PretendHome
    direction: Direction
    contracts: Sequence[Contract]
    replaced_on: date | None
    corrected_days: frozenset[date]
    corrected: Callable[[Contract, date], tuple[int, ...]]

    def read(self, window: DateWindow) -> Iterator[tuple[date, RegisterReading]]:
        """Yield the readings of the midnights that begin these days, as far as there is a meter."""
        restarts = {contract.since for contract in self.contracts} | {self.replaced_on}
        reading: RegisterReading | None = None
        for day in window.dates():
            if day < self._first_day:
                continue
            if reading is None or day in restarts:
                reading = self._index(day)
            else:
                energy = self._energy(self._contract_of(day - ONE_DAY), day - ONE_DAY, day)
                registers = _add([reading.registers, energy])
                reading = reading._replace(registers=registers, total=reading.total + sum(energy))
            yield day, reading if self.direction is Direction.CONSUMPTION else reading._replace(contract=None)

    @property
    def _first_day(self) -> date:
        return max(self.home.meter_installed_on, self.contracts[0].since)

    def _contract_of(self, day: date) -> Contract:
        return next(contract for contract in reversed(self.contracts) if contract.since <= day)

    def _index(self, day: date) -> RegisterReading:
        """Return the reading of a midnight, counted from the start of the meter and of its calendar."""
        is_replaced = self.replaced_on is not None and self.replaced_on <= day
        meter_start = self.replaced_on if is_replaced and self.replaced_on else self._first_day
        contract = self._contract_of(day)
        registers, total = (0,) * self._width(contract), 0
        end = day
        same_calendar = True
        for part in reversed([part for part in self.contracts if part.since <= day]):
            same_calendar = same_calendar and part.tariff is contract.tariff
            start = max(part.since, meter_start)
            if start < end:
                energy = self._energy(part, start, end)
                total += sum(energy)
                registers = _add([registers, energy]) if same_calendar else registers
            end = min(end, part.since)
        return RegisterReading(contract, registers, total)

    def _width(self, contract: Contract) -> int:
        return len(contract.periods) if self.direction is Direction.CONSUMPTION else 1

    def _energy(self, contract: Contract, start: date, end: date) -> tuple[int, ...]:
        """Return the Wh between two midnights by tariff period, with the corrections."""
        parts = [energy_between(self.home, self.direction, contract, start, end)]
        for day in self.corrected_days:
            if start <= day < end:
                before = energy_of_day(self.home, self.direction, contract, day)
                after = self.corrected(contract, day)
                parts.append(tuple(new - old for new, old in zip(after, before, strict=True)))
        return _add(parts)


def energy_of_day(home: PretendHome, direction: Direction, contract: Contract, day: date) -> tuple[int, ...]:
    """Return the uncorrected Wh of a day by tariff period; what is fed in has one register."""
    if direction is Direction.PRODUCTION:
        return (home.production(day) or 0,)
    if len(contract.periods) == 1:
        return (home.daily(day) or 0,)
    points = home.curve(day)
    return contract.split(day, points) if points else (0,) * len(contract.periods)


@lru_cache(maxsize=32_768)
def _energy_of_month(
    home: PretendHome, direction: Direction, contract: Contract, year: int, month: int
) -> tuple[int, ...]:
    first = date(year, month, 1)
    return _energy(home, direction, contract, first, _next_month(first))


def _energy(home: PretendHome, direction: Direction, contract: Contract, start: date, end: date) -> tuple[int, ...]:
    """Return the uncorrected Wh of the days from ``start`` to ``end`` (excluded) by tariff period."""
    days = (start + rank * ONE_DAY for rank in range((end - start).days))
    energies = [energy_of_day(home, direction, contract, day) for day in days]
    width = 1 if direction is Direction.PRODUCTION else len(contract.periods)
    return _add([(0,) * width, *energies])


def energy_between(
    home: PretendHome, direction: Direction, contract: Contract, start: date, end: date
) -> tuple[int, ...]:
    """Return the uncorrected Wh between two midnights by tariff period, whole months from memory."""
    parts = []
    while (month := _next_month(start)) <= end:
        if start.day == 1:
            parts.append(_energy_of_month(home, direction, contract, start.year, start.month))
        else:
            parts.append(_energy(home, direction, contract, start, month))
        start = month
    return _add([*parts, _energy(home, direction, contract, start, end)])


def _add(energies: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*energies, strict=True)))


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)
