"""The series that the fleet collects, from the settings and from what the supplier's preset offers.

A file of its own, because metrics and the planner need it without the rest of a runtime.
"""

from __future__ import annotations

from config.settings import Settings
from worker.clients.suppliers import ENEDIS
from worker.domain.measures.series import Series


def fleet_series(settings: Settings) -> tuple[Series, ...]:
    """Return the series of RELEVE_SERIES that the preset offers; what it doesn't offer is never asked for."""
    preset = ENEDIS.presets[settings.preset]
    return tuple(series for series in settings.collected_series() if preset.offers(series))


def missing_series(settings: Settings) -> list[Series]:
    """Return the series of RELEVE_SERIES that the preset does not offer."""
    return [series for series in settings.collected_series() if series not in fleet_series(settings)]
