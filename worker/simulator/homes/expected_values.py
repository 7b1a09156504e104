"""What a perfect copy of a meter would hold of each series, for tests and checks to compare with."""

from __future__ import annotations

from datetime import UTC, timedelta

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import PARIS, DateWindow
from worker.domain.measures.series import Direction, Granularity, Series
from worker.simulator.homes.meters import Meter


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
