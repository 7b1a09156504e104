"""The series that the fleet collects, from the settings and from what the suppliers offer.

A file of its own, because metrics and the planner need it without the rest of a runtime.
"""

from __future__ import annotations

from config.settings import Settings
from worker.clients.suppliers import ENEDIS, SUPPLIERS
from worker.domain.measures.series import Series


def fleet_series(settings: Settings) -> tuple[Series, ...]:
    """Return the series of RELEVE_SERIES that their supplier offers; what it doesn't offer is never asked for."""
    return tuple(series for series in settings.collected_series() if is_offered(settings, series))


def is_offered(settings: Settings, series: Series) -> bool:
    """Return whether the supplier of a series offers it: of Enedis, in the generation of RELEVE_PRESET."""
    supplier = SUPPLIERS[series.description.supplier]
    presets = [ENEDIS.presets[settings.preset]] if supplier is ENEDIS else supplier.presets.values()
    return any(preset.offers(series) for preset in presets)


def missing_series(settings: Settings) -> list[Series]:
    """Return the series of RELEVE_SERIES that their supplier does not offer."""
    return [series for series in settings.collected_series() if series not in fleet_series(settings)]
