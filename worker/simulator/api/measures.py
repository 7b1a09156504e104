"""Measure endpoints of all generations, which answer from the same meters and clock, and the bodies of their answers.

Source of the JSON of 2026: Enedis, swagger of "Mesure synchrone auto" v2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import DateWindow
from worker.domain.measures.series import Series
from worker.simulator.api.errors import ERROR_TABLE, Generation, Refused
from worker.simulator.api.gateway import authorize_call, gateway_route
from worker.simulator.api.requests import RESOURCES, MeasureQuery, Resource, check_query, read_query
from worker.simulator.consents import Consent
from worker.simulator.homes.meters import Meter
from worker.simulator.homes.series import Number
from worker.simulator.state import SimulatorState

# Recorded answers of Data Connect 2026 came with this type, so a client must not rely on it.
_BINARY_CONTENT_TYPE: Final = "application/octet-stream"
_READING_TYPES: Final = {
    Series.LOAD_CURVE: {"unit": "W", "measurement_kind": "power", "aggregate": "average"},
    Series.DAILY: {"unit": "Wh", "measurement_kind": "energy", "aggregate": "sum", "measuring_period": "P1D"},
}
# Names of a row's fields: a daily value has the first two; v4 and v5 leave out two of the quality marks.
_FIELDS_V5: Final = ("value", "date", "interval_length", "measure_type")
_FIELDS_2026: Final = ("v", "d", "p", "n", "iv", "ec")
_PHYSICAL_QUANTITIES: Final = {Series.LOAD_CURVE: ("PA", "W"), Series.DAILY: ("EA", "Wh")}
_HEAD_FIELDS: Final[Mapping[Series, Mapping[str, str]]] = {
    Series.LOAD_CURVE: {"modeCalcul": "MESURE"},
    Series.DAILY: {"typeValeur": "GLOBALE", "modeCalcul": "DIFF.INDEX", "pas": "P1D"},
}


def data_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of the measure endpoints."""
    return [_data_route(simulator, resource) for resource in RESOURCES]


def _data_route(simulator: SimulatorState, resource: Resource) -> Route:
    generation, api = resource.generation, resource.api

    async def answer(request: Request) -> Response:
        consent = authorize_call(simulator, request, generation, api)
        try:
            response: Response = JSONResponse(_measures(resource, simulator, request, consent))
        except Refused as refused:
            response = refused.refusal.respond(generation)
        if generation is Generation.V2026:
            response.headers["content-type"] = _BINARY_CONTENT_TYPE
        return response

    return gateway_route(simulator, ["GET"], resource.path, answer, generation, api)


def _measures(resource: Resource, simulator: SimulatorState, request: Request, consent: Consent | None) -> Json:
    query = read_query(resource, request.query_params)
    check_query(simulator, query, consent)
    rows = _read_rows(simulator.meters.get(query.usage_point), query)
    if not rows:
        raise Refused(ERROR_TABLE["no_data_found"])
    return _to_body_2026(query, rows) if resource.generation is Generation.V2026 else _to_body_v5(query, rows)


def _read_rows(meter: Meter, query: MeasureQuery) -> list[Json]:
    """Return the rows of the days asked for; none where nothing is published."""
    days = [*DateWindow(query.start, query.end).dates()]
    rows: list[tuple[str, ...]]
    if query.resource.series is Series.DAILY:
        value_of = meter.production if query.resource.production else meter.daily
        rows = [(_to_text(wh), str(day)) for day in days if (wh := value_of(day)) is not None]
    else:
        rows = [
            (_to_text(point.watts), point.label, f"PT{point.minutes}M", point.nature, point.likelihood, point.state)
            for day in days
            for point in meter.curve(day)
        ]
    names = _FIELDS_2026 if query.resource.generation is Generation.V2026 else _FIELDS_V5
    return [dict(zip(names, row, strict=False)) for row in rows]


def _to_text(number: Number) -> str:
    """Return a number as Enedis sends it: text, without a decimal point where it is whole."""
    return str(int(number)) if number == int(number) else str(number)


def _to_body_2026(query: MeasureQuery, rows: list[Json]) -> Json:
    physical_quantity, unit = _PHYSICAL_QUANTITIES[query.resource.series]
    return {
        "idPrm": query.usage_point,
        "etapeMetier": "BRUT",
        "periode": {"dateDebut": query.start.isoformat(), "dateFin": query.end.isoformat()},
        **_HEAD_FIELDS[query.resource.series],
        "grandeur": [
            {
                "grandeurMetier": "PROD" if query.resource.production else "CONS",
                "grandeurPhysique": physical_quantity,
                "unite": unit,
                "points": rows,
                "calendrier": [],
            }
        ],
        "contexte": [],
    }


def _to_body_v5(query: MeasureQuery, rows: list[Json]) -> Json:
    """Return a measure answer of v4 and v5, which share one body; nothing in it tells production."""
    return {
        "meter_reading": {
            "usage_point_id": query.usage_point,
            "start": query.start.isoformat(),
            "end": query.end.isoformat(),
            "quality": "BRUT",
            "reading_type": _READING_TYPES[query.resource.series],
            "interval_reading": rows,
        }
    }
