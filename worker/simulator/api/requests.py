"""Measure requests of the three generations: paths, parameter names and their formats.

Source: Enedis, swaggers of "Daily consumption" and "Consumption load curve" (v5) and "Mesure synchrone auto" (v2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Final, NamedTuple

from starlette.requests import Request

from worker.simulator.api.errors import Generation, Refused, invalid_request
from worker.simulator.homes.series import Direction, MeasureKind

_USAGE_POINT: Final = re.compile(r"[0-9]{14}", re.ASCII)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


class Resource(NamedTuple):
    """Measure endpoint; ``api`` names the quota and the subscription that it belongs to."""

    generation: Generation
    path: str
    kind: MeasureKind
    direction: Direction
    api: str


@dataclass(frozen=True, slots=True)
class MeasureQuery:
    """Well-formed request for the days of one series, ``end`` excluded; no rule has checked it yet."""

    resource: Resource
    usage_point: str
    start: date
    end: date


MEASURES_2026: Final = "mesure_synchrone_auto"
OLDER_API: Final = "data"  # All of v4 and v5 shares one quota.
# Kind, direction, name in v4 and v5, short name in v5, name in 2026.
_SERIES: Final = (
    (MeasureKind.LOAD_CURVE, Direction.CONSUMPTION, "consumption_load_curve", "clc", "courbe_de_charge_consommation"),
    (MeasureKind.DAILY, Direction.CONSUMPTION, "daily_consumption", "dc", "consommation_quotidienne"),
    (
        MeasureKind.MAX_POWER,
        Direction.CONSUMPTION,
        "daily_consumption_max_power",
        "dcmp",
        "puissance_conso_max_quotidienne",
    ),
    (MeasureKind.LOAD_CURVE, Direction.PRODUCTION, "production_load_curve", "plc", "courbe_de_charge_production"),
    (MeasureKind.DAILY, Direction.PRODUCTION, "daily_production", "dp", "production_quotidienne"),
)
RESOURCES: Final = tuple(
    resource
    for kind, direction, name, short_name, name_2026 in _SERIES
    for resource in (
        Resource(Generation.V4, f"/v4/metering_data/{name}", kind, direction, OLDER_API),
        Resource(Generation.V5, f"/metering_data_{short_name}/v5/{name}", kind, direction, OLDER_API),
        Resource(Generation.V2026, f"/{MEASURES_2026}/v2/{name_2026}", kind, direction, MEASURES_2026),
    )
)

_PARAMETERS_V4_V5: Final = ("usage_point_id", "start", "end")
_PARAMETERS_2026: Final = ("pointId", "dateDebut", "dateFin")
_MAX_POWER_ONLY: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"mesuresPas": ("P1D", "P1M"), "grandeurPhysique": ("PMA", "TOUT")}
)


def is_usage_point(text: str) -> bool:
    """Return whether the text is a meter number: 14 digits."""
    return _USAGE_POINT.fullmatch(text) is not None


def usage_point_of(request: Request) -> str | None:
    """Return the meter that a call names in its query or its path, for every generation; None without one."""
    query = request.query_params
    return query.get("usage_point_id") or query.get("pointId") or request.path_params.get("prm")


def read_query(resource: Resource, parameters: Mapping[str, str]) -> MeasureQuery:
    """Return the query; the meter is checked first, then the dates.  Raises Refused for a malformed one."""
    is_2026 = resource.generation is Generation.V2026
    if is_2026 and not _has_swagger_parameters(resource, parameters):
        raise Refused(invalid_request(""))
    point_name, start_name, end_name = _PARAMETERS_2026 if is_2026 else _PARAMETERS_V4_V5
    usage_point = check_usage_point_format(parameters.get(point_name))
    start, end = _read_day("Start", parameters.get(start_name)), _read_day("End", parameters.get(end_name))
    return MeasureQuery(resource, usage_point, start, end)


def check_usage_point_format(text: str | None) -> str:
    """Return a meter number of 14 digits.  Raises Refused for anything else."""
    if not text:
        raise Refused(invalid_request("usage_point_id parameter is required"))
    if not is_usage_point(text):
        raise Refused(invalid_request("usage_point_id parameter must be 14 digits long"))
    return text


def _has_swagger_parameters(resource: Resource, parameters: Mapping[str, str]) -> bool:
    """Return whether the parameters are those of the swagger: Data Connect 2026 refuses a missing or unknown one."""
    special = _MAX_POWER_ONLY if resource.kind is MeasureKind.MAX_POWER else {}
    if set(parameters) != {*_PARAMETERS_2026, *special}:
        return False
    return all(parameters[name] in values for name, values in special.items())


def _read_day(word: str, text: str | None) -> date:
    if not text:
        raise Refused(invalid_request(f"{word} date parameter is required"))
    try:
        return date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError:
        raise Refused(invalid_request(f"{word} date parameter must be in the format YYYY-MM-DD")) from None
