"""Pretend gas homes: a PCE and a seed always give the same boiler, meter and consumption.

The volume of a day is that of heating (by the degrees below the temperature at which heating begins) and of hot water.
Everything is summed in whole litres, so the index is the sum of all days before, and a day's energy the difference of
two rounded sums: days add up to their period to the kWh.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Final

from worker.domain.measures.readings import ONE_DAY
from worker.simulator.homes.gas.periods import PeriodCuts
from worker.simulator.homes.gas.readings import ESTIMATED, MEASURED, PROVISIONAL, GasReading
from worker.simulator.homes.weather import outside_celsius

FIRST_DAY: Final = date(2015, 1, 1)  # Nothing is known of the days before.
_HEATING_BEGINS_AT: Final = 16.5
_LITRES: Final = 1_000  # In a m³.
_ENERGY_UNITS: Final = 100_000  # In a kWh: litres times hundredths of the coefficient.
_SUMMER: Final = range(6, 10)
_ONE_ABSENT_IN: Final = 128  # Days of summer.
_ONE_CORRECTED_IN: Final = 12  # Days, when they become final.


@dataclass(frozen=True, slots=True)
class _GasHousehold:
    """What a home burns: litres per degree and day, and litres of a day's hot water; none while it is on holiday."""

    heating: int
    water: int
    away_from: int
    reading_day: int
    frequency: str
    activated_on: date
    communicating_from: date
    first_index: int
    no_daily_code: str


@dataclass(frozen=True)
class PretendGasHome:
    """One pretend gas home.  ``decimals``: a newer meter, whose volumes and energies are not whole."""

    pce: str
    seed: int
    decimals: bool = False
    _litres_sums: array[int] = field(default_factory=lambda: array("q", [0]), compare=False, repr=False)
    _energy_sums: array[int] = field(default_factory=lambda: array("q", [0]), compare=False, repr=False)

    @property
    def activated_on(self) -> date:
        """The day on which the supply began."""
        return self._household.activated_on

    @property
    def communicating_from(self) -> date:
        """The day from which its meter sends a value each day; before it somebody read it twice a year."""
        return self._household.communicating_from

    @property
    def reading_day(self) -> int:
        """The day of the month on which the meter is read."""
        return self._household.reading_day

    @property
    def frequency(self) -> str:
        """How often its meter is read: one home in eight has no communicating meter."""
        return self._household.frequency

    @property
    def no_daily_code(self) -> str:
        """The code with which GRDF refuses its daily values where it has none."""
        return self._household.no_daily_code

    @cached_property
    def annual_reference(self) -> int:
        """The annual reference consumption (CAR), in kWh: what a usual year takes."""
        return self._energy_before(date(2024, 1, 1)) - self._energy_before(date(2023, 1, 1))

    def day(self, day: date) -> GasReading | None:
        """Return the final values of a gas day; None before all data, all numbers None on a day without data."""
        if day < FIRST_DAY:
            return None
        if self._is_absent(day):
            return GasReading.absent(day, day + ONE_DAY)
        litres = self._sums_before(day + ONE_DAY)[0] - self._sums_before(day)[0]
        energy, coefficient = (
            Decimal(self._energy_before(day + ONE_DAY) - self._energy_before(day)),
            coefficient_of(day),
        )
        volume = Decimal(round(litres / _LITRES))
        if self.decimals:
            volume = round(Decimal(litres) / _LITRES, 2)
            energy = round(volume * coefficient, 2)
        # After a day without data the meter's state in the morning is unknown.
        index_start = None if self._is_absent(day - ONE_DAY) else self.index(day)
        return GasReading(day, day + ONE_DAY, energy, volume, coefficient, index_start, self.index(day + ONE_DAY))

    def provisional(self, day: date) -> GasReading | None:
        """Return what is told of a gas day before its month is final: now and then an estimate."""
        reading = self.day(day)
        if reading is None or reading.energy is None:
            return reading
        energy, quality = reading.energy, MEASURED
        if self.is_corrected(day):
            energy, quality = max(Decimal(0), energy + (self._noise(day)[1] % 7 - 3 or 4)), ESTIMATED
        return reading._replace(energy=energy, quality=quality, status=PROVISIONAL)

    def is_corrected(self, day: date) -> bool:
        """Return whether the final value of a day is another one than the first that was told."""
        noise = self._noise(day)
        reading = self.day(day)
        return noise[2] % _ONE_CORRECTED_IN == 0 and reading is not None and bool(reading.energy)

    def cut_into(self, cuts: PeriodCuts, first: date, last: date) -> Sequence[GasReading]:
        """Return the billed periods that lie between two days."""
        return [self.period(start, end) for start, end in cuts.between(max(first, FIRST_DAY), last)]

    def period(self, start: date, end: date) -> GasReading:
        """Return a billed period: the energy is that of its volume, as the distributor computes it."""
        index_start, index_end = self.index(start), self.index(end)
        coefficient = coefficient_of(start)
        if (end - start).days > 31:
            months = {coefficient_of(start + timedelta(days=rank)) for rank in range(0, (end - start).days, 28)}
            coefficient = round(sum(months, Decimal(0)) / len(months), 2)
        volume = index_end - index_start
        return GasReading(start, end, Decimal(round(volume * coefficient)), volume, coefficient, index_start, index_end)

    def index(self, day: date) -> Decimal:
        """Return what the meter shows in the morning of a day, in whole m³."""
        litres = self._household.first_index * _LITRES + self._sums_before(max(day, FIRST_DAY))[0]
        return Decimal(litres // _LITRES)

    @cached_property
    def _household(self) -> _GasHousehold:
        digest = blake2b(f"gas {self.seed}:{self.pce}".encode(), digest_size=12).digest()
        people = 1 + digest[0] % 5
        return _GasHousehold(
            heating=150 + digest[1] * 2,
            water=people * (100 + digest[2] // 2) if digest[3] % 6 else 0,
            away_from=190 + digest[4] % 40,
            reading_day=2 + digest[5] % 4,  # So that a month is final by the 10th of the next.
            frequency="6M" if digest[6] % 8 == 0 else "1M",
            activated_on=date(2008 + digest[7] % 7, 1 + digest[8] % 12, 1 + digest[9] % 28),
            communicating_from=date(2018 + digest[10] % 4, 1 + digest[8] % 12, 1),
            first_index=digest[11] * 10,
            no_daily_code="1000010" if digest[4] % 2 else "1000008",
        )

    def _noise(self, day: date) -> bytes:
        return blake2b(f"{self.seed}:{self.pce}:{day}".encode(), digest_size=4).digest()

    def _is_absent(self, day: date) -> bool:
        return day.month in _SUMMER and self._noise(day)[3] % _ONE_ABSENT_IN == 0

    def _litres(self, day: date) -> int:
        home = self._household
        if 0 <= day.timetuple().tm_yday - home.away_from < 14:
            return 0
        variation = 205 + self._noise(day)[0] * 102 // 255  # In 256ths: 0.80 to 1.20.
        return int(home.heating * _cold(day) + home.water) * variation // 256

    def _sums_before(self, day: date) -> tuple[int, int]:
        """Return the litres of all days before a day, and their energy in its smallest unit."""
        rank = (day - FIRST_DAY).days
        while len(self._litres_sums) <= rank:
            next_day = FIRST_DAY + timedelta(days=len(self._litres_sums) - 1)
            burned = self._litres(next_day)
            self._litres_sums.append(self._litres_sums[-1] + burned)
            self._energy_sums.append(self._energy_sums[-1] + burned * int(coefficient_of(next_day) * 100))
        return self._litres_sums[rank], self._energy_sums[rank]

    def _energy_before(self, day: date) -> int:
        return round(self._sums_before(day)[1] / _ENERGY_UNITS)


@lru_cache(maxsize=256)
def pretend_gas_home(pce: str, seed: int, decimals: bool) -> PretendGasHome:
    """Return the pretend home of a PCE; the last ones keep the sums that they have made."""
    return PretendGasHome(pce, seed, decimals)


@lru_cache(maxsize=8192)
def _cold(day: date) -> float:
    return max(0.0, _HEATING_BEGINS_AT - outside_celsius(day))


@lru_cache(maxsize=1024)
def _coefficient_of_month(year: int, month: int) -> Decimal:
    return Decimal(1105 + blake2b(f"coefficient {year}-{month}".encode(), digest_size=1).digest()[0] % 25) / 100


def coefficient_of(day: date) -> Decimal:
    """Return the kWh that a m³ holds on a day: the same in all homes, another one each month."""
    return _coefficient_of_month(day.year, day.month)


def postcode_of(pce: str) -> str:
    """Return the postcode at which a PCE lies, which a declaration must name; it depends on the number alone."""
    digest = blake2b(f"postcode {pce}".encode(), digest_size=2).digest()
    return f"{1 + digest[0] % 95:02d}{digest[1] % 100:02d}0"
