"""What a perfect copy of a gas meter would hold of each series, for tests and checks to compare with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import DateWindow
from worker.domain.measures.series import Series
from worker.simulator.homes.gas.meters import GasMeter
from worker.simulator.homes.gas.readings import (
    CORRECTED,
    ESTIMATED,
    FINAL,
    MEASURED,
    PROVISIONAL,
    GasReading,
    to_number,
)

# The words that documents have for those of GRDF.
_QUALITIES: Final[Mapping[str, str]] = {MEASURED: "measured", ESTIMATED: "estimated", CORRECTED: "corrected"}
_STATUSES: Final[Mapping[str, str]] = {PROVISIONAL: "provisional", FINAL: "final"}


def expected_gas(meter: GasMeter, series: Series, window: DateWindow | None) -> Json:
    """Return the true values that are published of a window, under the names of the documents' fields.

    =================== ======================================================================================
    series              values
    =================== ======================================================================================
    ``gas_daily``       by gas day ``{"load", "volume", "coefficient", "index_start", "index_end", "quality",
                        "status"}``; kWh and m³; without a field that is not told
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
