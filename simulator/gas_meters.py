"""Gas meters (PCE) as GRDF shows them today: what is published by now, provisional or final, with corrections and gaps.

Source of the times: the digest of GRDF's kit as its public clients tell it.  The hour of the day is inferred.

``expected_values`` is what a perfect copy of a gas meter would hold of each series, for tests and checks to compare
with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from hashlib import blake2b
from typing import Final

from simulator.gas_homes import (
    BUSINESS_DAYS_ON,
    CORRECTED,
    ESTIMATED,
    FINAL,
    FIRST_DAY,
    MEASURED,
    PROVISIONAL,
    GasMeterSwitches,
    GasReading,
    PeriodCuts,
    PretendGasHome,
    first_of_next_month,
    postcode_of,
    pretend_gas_home,
    to_number,
)
from simulator.gas_recordings import SANDBOX_METERS, RecordedGasHome
from simulator.switches import SimulatedClock, SimulatorOptions
from worker.domain.answers import Json
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, DateWindow

_DEFAULT_SWITCHES: Final = GasMeterSwitches()
PUBLISHED_AT: Final = time(8)  # Local time.
_LONGEST_DELAY_DAYS: Final = 3
GasHome = PretendGasHome | RecordedGasHome
# The words that documents have for those of GRDF.
_QUALITIES: Final[Mapping[str, str]] = {MEASURED: "measured", ESTIMATED: "estimated", CORRECTED: "corrected"}
_STATUSES: Final[Mapping[str, str]] = {PROVISIONAL: "provisional", FINAL: "final"}


@dataclass(frozen=True, slots=True)
class GasMeter:
    """One PCE as GRDF shows it at ``now``, a naive moment of Europe/Paris."""

    pce: str
    home: GasHome
    switches: GasMeterSwitches
    now: datetime

    @property
    def frequency(self) -> str:
        """How often it is read: 6M, 1M, MM or JJ."""
        return self.switches.frequency or self.home.frequency

    @property
    def activated_on(self) -> date:
        """The day on which the supply began."""
        return self.switches.activated_on or self.home.activated_on

    @property
    def postcode(self) -> str:
        """The postcode that a declaration must name."""
        return self.switches.postcode or postcode_of(self.pce)

    @property
    def transport_tariff(self) -> str:
        """The tariff of the distribution, by the annual reference consumption."""
        return next(
            tariff for tariff, limit in (("T1", 6_000), ("T2", 300_000), ("T3", 5_000_000)) if self._car < limit
        )

    @property
    def annual_reference(self) -> int:
        """The annual reference consumption (CAR), in kWh."""
        return self._car

    @property
    def daily_refusal(self) -> str | None:
        """The code with which its daily values are refused if it has none; None if it has some."""
        if self.frequency in ("1M", "MM"):
            return None
        return self.switches.no_daily_code or self.home.no_daily_code

    @property
    def _car(self) -> int:
        return self.home.annual_reference

    @property
    def cuts(self) -> PeriodCuts:
        """Where its billed periods are cut."""
        return PeriodCuts(
            self.frequency,
            self.switches.reading_day or self.home.reading_day,
            self.switches.communicating_from or self.home.communicating_from,
            self.switches.replaced_on,
        )

    def day(self, day: date) -> GasReading | None:
        """Return what is published of a gas day; None if nothing is (a published day without data is not None)."""
        cuts = self.cuts
        unseen = day < max(cuts.communicating_from, self.activated_on) or day in self.switches.missing_days
        if self.daily_refusal is not None or unseen or not self._is_published(self._day_published_on(day)):
            return None
        if day in self.switches.absent_days:
            return GasReading.absent(day, day + ONE_DAY)
        is_final = self._is_published(cuts.final_on(day))
        reading = self.home.day(day) if is_final else self.home.provisional(day)
        if reading is None:
            return None
        if is_final and isinstance(self.home, PretendGasHome) and self.home.is_corrected(day):
            reading = reading._replace(quality="Corrigé")
        for correction in self.switches.corrections:
            reading = correction.apply(reading) if correction.day == day else reading
        return self._with_index(reading._replace(status=FINAL if is_final else PROVISIONAL))

    def days(self, window: DateWindow) -> list[GasReading]:
        """Return what is published of the gas days of a window, in their order."""
        return [reading for day in window.dates() if (reading := self.day(day)) is not None]

    def periods(self) -> list[GasReading]:
        """Return all billed periods that are published by now, oldest first."""
        cuts, first = self.cuts, max(self.activated_on, FIRST_DAY)
        if first > self.now.date():
            return []
        readings = []
        for period in self.home.cut_into(cuts, first, self.now.date()):
            if not self._is_published(cuts.published_on(period.end)):
                continue
            reading = period
            if self.frequency == "JJ" and not self._is_published(cuts.final_on(period.start)):
                reading = reading._replace(status=PROVISIONAL)
            for correction in self.switches.published_corrections:
                reading = correction.apply(reading) if correction.day == period.start else reading
            readings.append(self._with_index(reading))
        return readings

    def _day_published_on(self, day: date) -> date:
        """Return when a day's first value is published: one to three days later; for a business, in the next month."""
        if self.frequency == "MM":
            return first_of_next_month(day).replace(day=BUSINESS_DAYS_ON)
        digest = blake2b(f"delay {self.pce} {day}".encode(), digest_size=1).digest()
        return day + (1 + digest[0] % _LONGEST_DELAY_DAYS) * ONE_DAY

    def _is_published(self, day: date) -> bool:
        return self.now >= datetime.combine(day + self.switches.delay_days * ONE_DAY, PUBLISHED_AT)

    def _with_index(self, reading: GasReading) -> GasReading:
        """Return the reading with the indexes of the meter that is there: a new one counts from zero."""
        replaced_on = self.switches.replaced_on
        if replaced_on is None or not isinstance(self.home, PretendGasHome) or reading.end <= replaced_on:
            return reading
        before = self.home.index(replaced_on)
        return reading._replace(
            index_start=None if reading.index_start is None else reading.index_start - before,
            index_end=None if reading.index_end is None else reading.index_end - before,
        )


class GasMeters:
    """All gas meters: the recorded ones, those of the sandbox, and a pretend home for any other PCE.

    Beside recordings, homes are only invented if the options say so.
    """

    def __init__(
        self, recorded: Mapping[str, RecordedGasHome], clock: SimulatedClock, options: SimulatorOptions
    ) -> None:
        self.recorded = recorded
        self._clock = clock
        self._options = options
        self._switches: dict[str, GasMeterSwitches] = {}

    def knows(self, pce: str) -> bool:
        """Return whether there is such a meter."""
        is_customer = self._options.sandbox and pce in SANDBOX_METERS
        is_there = self._options.invents_homes or is_customer or pce in self.recorded
        return is_there and not self.switches_of(pce).unknown

    def get(self, pce: str) -> GasMeter:
        """Return the meter as GRDF shows it now."""
        switches = self.switches_of(pce)
        home = self.recorded.get(pce) or pretend_gas_home(pce, self._options.seed, switches.decimals)
        return GasMeter(pce, home, switches, self._clock.local_now().replace(tzinfo=None))

    def switches_of(self, pce: str) -> GasMeterSwitches:
        """Return the meter's switches: those that were set, else the sandbox's, else the defaults."""
        customer = SANDBOX_METERS.get(pce)
        return self._switches.get(pce, customer.switches if customer else _DEFAULT_SWITCHES)

    def change_switches(self, pce: str, changes: Mapping[str, Json]) -> None:
        """Change some switches of a meter until they are reset.  Raises ValueError."""
        self._switches[pce] = self.switches_of(pce).with_changes(changes)

    def reset_switches(self, pce: str) -> None:
        """Reset a meter to the switches that it had at the start."""
        self._switches.pop(pce, None)


def expected_gas(meter: GasMeter, series: Series, window: DateWindow | None) -> Json:
    """Return the true values that are published of a window, under the names of the documents' fields.

    =================== ======================================================================================
    series              values
    =================== ======================================================================================
    ``gas_daily``       by gas day ``{"load", "volume", "coefficient", "index_start", "index_end", "quality",
                        "status"}``; kWh and m³; without the fields that are not given
    ``gas_published``   the same and ``"ends_on"``, by the first day of the period
    ``gas_contract``    by day ``{"load", "frequency", "transport_tariff", "activated_on"}``
    =================== ======================================================================================
    """
    if window is None:
        return {}
    if series.has_intervals:
        periods = [period for period in meter.periods() if window.start <= period.start < window.end]
        return {str(period.start): {**_facts(period), "ends_on": str(period.end)} for period in periods}
    if series.is_state:
        return {str(day): _contract(meter) for day in window.dates()}
    readings = meter.days(window)
    return {str(reading.start): _facts(reading) for reading in readings if reading.energy is not None}


def _facts(reading: GasReading) -> dict[str, Json]:
    facts = {
        "load": to_number(reading.energy),
        "volume": to_number(reading.volume),
        "coefficient": to_number(reading.coefficient),
        "index_start": to_number(reading.index_start),
        "index_end": to_number(reading.index_end),
        "quality": _QUALITIES[reading.quality],
        "status": _STATUSES[reading.status],
    }
    return {name: value for name, value in facts.items() if value is not None}


def _contract(meter: GasMeter) -> dict[str, Json]:
    return {
        "load": meter.annual_reference,
        "frequency": meter.frequency,
        "transport_tariff": meter.transport_tariff,
        "activated_on": str(meter.activated_on),
    }
