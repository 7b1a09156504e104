"""The series that the fleet collects, from the settings and from what the suppliers offer.

A file of its own, because metrics and the planner need it without the rest of a runtime.
"""

from __future__ import annotations

from config.settings import Settings
from worker.domain.series import Series, suppliers_of
from worker.runtime.supplier import chosen_presets


def fleet_series(settings: Settings) -> tuple[Series, ...]:
    """Return the series of RELEVE_SERIES that their supplier offers; what it doesn't offer is never asked for."""
    return tuple(series for series in settings.collected_series() if is_offered(settings, series))


def is_offered(settings: Settings, series: Series) -> bool:
    """Return whether the supplier of a series is set up and offers it, in the generation that the settings choose."""
    presets = chosen_presets(settings)
    return any(presets[supplier].offers(series) for supplier in suppliers_of(series) if supplier in presets)


def missing_series(settings: Settings) -> list[Series]:
    """Return the series of RELEVE_SERIES that their supplier does not offer."""
    return [series for series in settings.named_series() if not is_offered(settings, series)]
