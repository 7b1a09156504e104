"""Meters as the supplier shows them today: with corrections, gaps and the publication delay.

``expected_values`` is what a perfect copy of a meter would hold of each series, for tests and checks to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, time, timedelta
from typing import Final

from simulator.electricity_homes import (
    HALF_HOUR,
    USUAL_HOURS,
    Contract,
    HighestPower,
    Number,
    Point,
    PretendHome,
    RegisterReading,
    Registers,
    Tariff,
    energy_wh,
    regroup,
    rescale,
)
from simulator.electricity_recordings import METERS, RecordedMeter
from simulator.switches import ContractChange, MeterSwitches, SimulatedClock, SimulatorOptions
from worker.domain.answers import Json
from worker.domain.series import Direction, Granularity, Series
from worker.domain.windows import ONE_DAY, PARIS, DateWindow

_DEFAULT_SWITCHES: Final = MeterSwitches()
PUBLISHED_AT: Final = time(8)  # Local time: Enedis publishes the previous day at about 08:00.
# What a meter measured; days are civil days of Europe/Paris.
MeterSeries = PretendHome | RecordedMeter


@dataclass(frozen=True, slots=True)
class Meter:
    """One meter as the supplier shows it today; ``last_day`` is the last day that is published."""

    series: MeterSeries
    switches: MeterSwitches
    last_day: date

    @property
    def activated_on(self) -> date | None:
        """Start of the contract; None if it is unknown."""
        return self.switches.activated_on or self.series.activated_on

    def daily(self, day: date, direction: Direction = Direction.CONSUMPTION) -> Number | None:
        """Return the Wh of a day; None if it has no value or is not published yet."""
        return self._corrected_daily(day, direction) if self._has_day(day) else None

    def curve(self, day: date, direction: Direction = Direction.CONSUMPTION) -> list[Point]:
        """Return the published points of a day in time order; none if the curve is not collected."""
        if not self._has_day(day) or not self.switches.curve_enabled:
            return []
        points = self._corrected_curve(day, direction)
        # Recordings keep their own steps.
        if self.switches.step != HALF_HOUR and isinstance(self.series, PretendHome):
            points = regroup(day, points, self.switches.step)
        holes = [hole for hole in self.switches.holes if hole.whole_day is None]
        return [point for point in points if not any(hole.start < point.label <= hole.end for hole in holes)]

    def max_power(self, day: date) -> HighestPower | None:
        """Return the maximum power of a day, that of the highest half-hour, even one that the curve lacks."""
        contract = self.contract(day)
        if contract is None or not self._has_day(day) or not isinstance(self.series, PretendHome):
            return None
        points = self._corrected_curve(day, Direction.CONSUMPTION)
        return self.series.peak(day, points, contract.subscribed_kva) if points else None

    def registers(self, window: DateWindow, direction: Direction) -> dict[date, RegisterReading]:
        """Return what the meter showed at the midnights that begin the published days; it counts through holes."""
        if not isinstance(self.series, PretendHome) or not self.measures(direction):
            return {}
        registers = Registers(
            self.series,
            direction,
            self._contracts(),
            self.switches.replaced_on,
            frozenset(one.day for one in self.switches.corrections if one.direction is direction),
            lambda contract, day: self._corrected_energy(contract, day, direction),
        )
        return {day: reading for day, reading in registers.read(window) if self._has_day(day)}

    def contract(self, day: date) -> Contract | None:
        """Return the contract in force on a day; None if it is unknown."""
        return next((contract for contract in reversed(self._contracts()) if contract.since <= day), None)

    def measures(self, direction: Direction) -> bool:
        """Return whether the meter measures energy that flows this way."""
        return self.series.consumes if direction is Direction.CONSUMPTION else self.series.feeds_in

    def has_curve(self, direction: Direction) -> bool:
        """Return whether a curve of this direction is collected."""
        if not self.switches.curve_enabled:
            return False
        if isinstance(self.series, RecordedMeter):
            return direction is Direction.CONSUMPTION and bool(self.series.curves)
        return self.measures(direction)

    def _contracts(self) -> list[Contract]:
        """Return the contracts of a pretend home in time order."""
        if not isinstance(self.series, PretendHome):
            return []
        first = self.series.contract
        contracts = [replace(first, since=self.activated_on or first.since)]
        for change in sorted(self.switches.contract_changes, key=lambda change: change.day):
            contract = _changed(contracts[-1], change)
            # What changed before the start holds from the start; of two changes on one day only the sum is seen.
            contracts = [*(one for one in contracts if one.since < contract.since), contract]
        return contracts

    def _has_day(self, day: date) -> bool:
        return (
            (self.activated_on or date.min) <= day <= self.last_day
            and day.weekday() not in self.switches.weekday_holes
            and all(hole.whole_day != day for hole in self.switches.holes)
        )

    def _corrected_daily(self, day: date, direction: Direction) -> Number | None:
        is_consumption = direction is Direction.CONSUMPTION
        wh = self.series.daily(day) if is_consumption else self.series.production(day)
        correction = self.switches.correction_of(day, direction)
        return wh if wh is None or correction is None else correction.apply(wh)

    def _corrected_curve(self, day: date, direction: Direction) -> list[Point]:
        is_consumption = direction is Direction.CONSUMPTION
        points = list(self.series.curve(day) if is_consumption else self.series.production_curve(day))
        correction = self.switches.correction_of(day, direction)
        if correction is None or not points:
            return points
        wh = self._corrected_daily(day, direction)
        return rescale(points, correction.apply(energy_wh(points)) if wh is None else int(wh))

    def _corrected_energy(self, contract: Contract, day: date, direction: Direction) -> tuple[int, ...]:
        """Return the corrected Wh of a day by tariff period; what is fed in has one register."""
        points = self._corrected_curve(day, direction)
        if direction is Direction.PRODUCTION:
            return (int(energy_wh(points)),)
        return contract.split(day, points) if points else (0,) * len(contract.periods)


def _changed(contract: Contract, change: ContractChange) -> Contract:
    tariff = change.tariff or contract.tariff
    usual_hours = contract.off_peak_hours if tariff is contract.tariff else USUAL_HOURS[tariff]
    return Contract(
        max(change.day, contract.since),
        change.subscribed_kva or contract.subscribed_kva,
        tariff,
        None if tariff is Tariff.BASE else change.off_peak_hours or usual_hours,
    )


class Meters:
    """All meters: the recorded ones, those of the sandbox, and a pretend home for any other number.

    Beside recordings, homes are only invented if the options say so; an unknown meter measures nothing.
    """

    def __init__(
        self, recorded_meters: Mapping[str, RecordedMeter], clock: SimulatedClock, options: SimulatorOptions
    ) -> None:
        self._recorded_meters = recorded_meters
        self._clock = clock
        self._switches: dict[str, MeterSwitches] = {}
        self._options = options

    def knows(self, usage_point: str) -> bool:
        """Return whether there is such a meter."""
        is_customer = self._options.sandbox and usage_point in METERS
        return self._options.invents_homes or is_customer or usage_point in self._recorded_meters

    def get(self, usage_point: str) -> Meter:
        """Return the meter as the supplier shows it now."""
        last_day = self.last_published() - self.switches_of(usage_point).delay_days * ONE_DAY
        return Meter(self._series_of(usage_point), self.switches_of(usage_point), last_day)

    def _series_of(self, usage_point: str) -> MeterSeries:
        recorded = self._recorded_meters.get(usage_point)
        if recorded is not None or not self.knows(usage_point):
            return recorded or RecordedMeter()
        consumes = usage_point not in METERS or METERS[usage_point].consumes
        return PretendHome(usage_point, self._options.seed, consumes, self.switches_of(usage_point).panels_wp)

    def switches_of(self, usage_point: str) -> MeterSwitches:
        """Return the meter's switches: those that were set, else the sandbox's, else the defaults."""
        of_start = METERS[usage_point].switches if usage_point in METERS else _DEFAULT_SWITCHES
        return self._switches.get(usage_point, of_start)

    def change_switches(self, usage_point: str, changes: Mapping[str, Json]) -> None:
        """Change some switches of a meter until they are reset.  Raises ValueError."""
        self._switches[usage_point] = self.switches_of(usage_point).with_changes(changes)

    def reset_switches(self, usage_point: str) -> None:
        """Reset a meter to the switches that it had at the start."""
        self._switches.pop(usage_point, None)

    def last_published(self) -> date:
        """Return the last day that a meter without delay has published."""
        local = self._clock.local_now()
        return local.date() - (ONE_DAY if local.time() >= PUBLISHED_AT else 2 * ONE_DAY)


def expected_values(meter: Meter, series: Series, window: DateWindow | None) -> Json:
    """Return the true values of the days of a window that are published.

    =============================== ============================================================================
    series                          values
    =============================== ============================================================================
    a curve                         ``[start in UTC, minutes, W]`` of each step once, in time order
    daily energy                    Wh by day
    ``max_power``                   by day ``{"va", "at"}``, its instant with the offset of Europe/Paris
    registers                       by day ``{"total", "calendar", "registers"}`` in Wh, at the midnight that begins it
    ``contract``                    by day ``{"subscribed_kva", "tariff", "off_peak_hours", "activated_on"}``
    =============================== ============================================================================
    """
    direction = series.description.direction
    if window is None:
        return [] if series.has_steps else {}
    match series.description.granularity:
        case Granularity.STEP:
            return _expected_curve(meter, window, direction)
        case Granularity.DAY:
            return {str(day): wh for day in window.dates() if (wh := meter.daily(day, direction)) is not None}
        case Granularity.REGISTER:
            return _expected_registers(meter, window, direction)
        case Granularity.INSTANT:
            return _expected_peaks(meter, window)
    return _expected_contracts(meter, window)


def _expected_curve(meter: Meter, window: DateWindow, direction: Direction) -> list[Json]:
    steps = {}
    for day in window.dates():
        for point in meter.curve(day, direction):
            start = (point.end - timedelta(minutes=point.minutes)).astimezone(UTC)
            steps[start] = [start.strftime("%Y-%m-%dT%H:%M:%SZ"), point.minutes, point.watts]
    return [steps[start] for start in sorted(steps)]


def _expected_registers(meter: Meter, window: DateWindow, direction: Direction) -> Json:
    return {
        str(day): {
            "total": reading.total,
            "calendar": reading.contract and reading.contract.calendar.number,
            "registers": dict(zip(reading.contract.periods, reading.registers, strict=True))
            if reading.contract
            else {},
        }
        for day, reading in meter.registers(window, direction).items()
    }


def _expected_peaks(meter: Meter, window: DateWindow) -> Json:
    peaks = {day: peak for day in window.dates() if (peak := meter.max_power(day)) is not None}
    return {
        str(day): {"va": peak.volt_amperes, "at": peak.at.astimezone(PARIS).isoformat()} for day, peak in peaks.items()
    }


def _expected_contracts(meter: Meter, window: DateWindow) -> Json:
    contracts = {day: contract for day in window.dates() if (contract := meter.contract(day)) is not None}
    return {
        str(day): {
            "subscribed_kva": contract.subscribed_kva,
            "tariff": contract.calendar.tariff_label,
            "off_peak_hours": contract.off_peak_hours,
            "activated_on": meter.activated_on and meter.activated_on.isoformat(),
        }
        for day, contract in contracts.items()
    }
