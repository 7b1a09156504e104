"""The three ways in which the generations ask for the same series: paths and parameter names.

Source: upstream-apis, 1.2, 1.5 and 1.12.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Final, NamedTuple

from worker.simulator.api.errors import Generation, Refusal, invalid_request
from worker.simulator.homes.series import Direction, MeasureKind

_USAGE_POINT: Final = re.compile(r"[0-9]{14}", re.ASCII)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


class Resource(NamedTuple):
    """One measure endpoint; ``api`` names the quota and the subscription that it falls under."""

    generation: Generation
    path: str
    kind: MeasureKind
    direction: Direction
    api: str


@dataclass(frozen=True, slots=True)
class Question:
    """Days of one series, ``end`` excluded; not yet checked against any rule."""

    resource: Resource
    usage_point: str
    start: date
    end: date


_NAMES: Final = {
    (MeasureKind.LOAD_CURVE, Direction.CONSUMPTION): ("consumption_load_curve", "clc"),
    (MeasureKind.DAILY, Direction.CONSUMPTION): ("daily_consumption", "dc"),
    (MeasureKind.MAX_POWER, Direction.CONSUMPTION): ("daily_consumption_max_power", "dcmp"),
    (MeasureKind.LOAD_CURVE, Direction.PRODUCTION): ("production_load_curve", "plc"),
    (MeasureKind.DAILY, Direction.PRODUCTION): ("daily_production", "dp"),
}
_NAMES_2026: Final = {
    (MeasureKind.LOAD_CURVE, Direction.CONSUMPTION): "courbe_de_charge_consommation",
    (MeasureKind.DAILY, Direction.CONSUMPTION): "consommation_quotidienne",
    (MeasureKind.MAX_POWER, Direction.CONSUMPTION): "puissance_conso_max_quotidienne",
    (MeasureKind.LOAD_CURVE, Direction.PRODUCTION): "courbe_de_charge_production",
    (MeasureKind.DAILY, Direction.PRODUCTION): "production_quotidienne",
}
MEASURES_2026: Final = "mesure_synchrone_auto"
OLDER_API: Final = "data"  # one quota for all of v4 and v5

RESOURCES: Final = (
    *(
        Resource(Generation.V4, f"/v4/metering_data/{name}", kind, direction, OLDER_API)
        for (kind, direction), (name, _) in _NAMES.items()
    ),
    *(
        Resource(Generation.V5, f"/metering_data_{short}/v5/{name}", kind, direction, OLDER_API)
        for (kind, direction), (name, short) in _NAMES.items()
    ),
    *(
        Resource(Generation.V2026, f"/{MEASURES_2026}/v2/{name}", kind, direction, MEASURES_2026)
        for (kind, direction), name in _NAMES_2026.items()
    ),
)

_OLDER: Final = ("usage_point_id", "start", "end")
_NEWER: Final = ("pointId", "dateDebut", "dateFin")
_MAX_POWER_ONLY: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"mesuresPas": ("P1D", "P1M"), "grandeurPhysique": ("PMA", "TOUT")}
)


def is_usage_point(text: str) -> bool:
    return _USAGE_POINT.fullmatch(text) is not None


def usage_point_of(parameters: Mapping[str, str]) -> str | None:
    """The meter that a call names in its query, whatever the generation."""
    return parameters.get("usage_point_id") or parameters.get("pointId")


def read_question(resource: Resource, parameters: Mapping[str, str]) -> Question | Refusal:
    """The question, or why it is malformed: meter first, then dates."""
    newest = resource.generation is Generation.V2026
    if newest and not _in_swagger(resource, parameters):
        return invalid_request("")
    point_name, start_name, end_name = _NEWER if newest else _OLDER
    usage_point = parameters.get(point_name)
    if not usage_point:
        return invalid_request("usage_point_id parameter is required")
    if not is_usage_point(usage_point):
        return invalid_request("usage_point_id parameter must be 14 digits long")
    days = []
    for word, name in (("Start", start_name), ("End", end_name)):
        day = _read_day(word, parameters.get(name))
        if isinstance(day, Refusal):
            return day
        days.append(day)
    return Question(resource, usage_point, days[0], days[1])


def _in_swagger(resource: Resource, parameters: Mapping[str, str]) -> bool:
    """The newest generation takes exactly the parameters that it knows."""
    special = _MAX_POWER_ONLY if resource.kind is MeasureKind.MAX_POWER else {}
    if set(parameters) != {*_NEWER, *special}:
        return False
    return all(parameters[name] in values for name, values in special.items())


def _read_day(word: str, text: str | None) -> date | Refusal:
    if not text:
        return invalid_request(f"{word} date parameter is required")
    try:
        return date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError:
        return invalid_request(f"{word} date parameter must be in the format YYYY-MM-DD")
