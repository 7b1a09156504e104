"""Measure, contract and customer endpoints of all generations; they answer from the same meters and clock."""

from __future__ import annotations

from datetime import date
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import ONE_DAY
from worker.simulator.api.answers import Quantity, read_rows, to_body_2026, to_body_v5, to_index_body
from worker.simulator.api.contracts import PATHS_2026, V3_PATHS, V5_PATHS, BodyBuilder
from worker.simulator.api.errors import NO_DATA, Generation, Refusal, invalid_request, to_json_response
from worker.simulator.api.gateway import SupplierCaller, authorize_call, query_parameters, wrap_in_gateway
from worker.simulator.api.requests import (
    MEASURES_2026,
    OLDER_API,
    RESOURCES,
    MeasureQuery,
    Resource,
    is_usage_point,
    read_query,
    usage_point_of,
)
from worker.simulator.api.rules import AnyRefusal, find_refusal, find_usage_point_refusal
from worker.simulator.homes.meters import Meter
from worker.simulator.homes.series import Direction, MeasureKind, Number
from worker.simulator.state import SimulatorState

# Recorded answers of Data Connect 2026 came with this type, so a client must not rely on it.
_BINARY_CONTENT_TYPE: Final = "application/octet-stream"
_INDEXES: Final = {
    Resource(Generation.V2026, f"/{MEASURES_2026}/v2/{name}", MeasureKind.DAILY, direction, MEASURES_2026)
    for name, direction in (
        ("index_consommation", Direction.CONSUMPTION),
        ("index_production", Direction.PRODUCTION),
    )
}
_OLDEST_INDEX: Final = date(2010, 1, 1)


def data_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of the measure, contract and customer endpoints."""
    return [
        *(_measure_route(simulator, resource) for resource in (*RESOURCES, *_INDEXES)),
        *(_customer_route(simulator, Generation.V4, path, build, OLDER_API) for path, build in V3_PATHS.items()),
        *(_customer_route(simulator, Generation.V5, path, build, OLDER_API) for path, build in V5_PATHS.items()),
        *(
            _customer_route(simulator, Generation.V2026, path, build, path.split("/")[1])
            for path, build in PATHS_2026.items()
        ),
    ]


def _measure_route(simulator: SimulatorState, resource: Resource) -> Route:
    async def measure(request: Request) -> Response:
        caller = authorize_call(simulator, request, resource.generation, resource.api)
        if isinstance(caller, Response):
            return caller
        query = read_query(resource, query_parameters(request))
        answer = query if isinstance(query, Refusal) else _answer_query(simulator, query, caller)
        return _to_response(simulator, resource.generation, answer)

    endpoint = wrap_in_gateway(simulator, measure, resource.path, resource.generation, resource.api)
    return Route(resource.path, endpoint, methods=["GET"])


def _answer_query(simulator: SimulatorState, query: MeasureQuery, caller: SupplierCaller) -> Json | AnyRefusal:
    if (refusal := find_refusal(simulator, query, caller.consent)) is not None:
        return refusal
    meter = simulator.meters.get(query.usage_point)
    if query.resource in _INDEXES:
        indexes = _midnight_indexes(meter, query)
        return to_index_body(query, indexes) if indexes else NO_DATA
    rows = read_rows(meter, query)
    if not rows:
        return NO_DATA
    if query.resource.generation is not Generation.V2026:
        return to_body_v5(query, rows, meter.switches.quality)
    return to_body_2026(
        query,
        [] if meter.switches.empty_answer else _quantities(meter, query),
        meter.switches.quality,
        meter.switches.without_marks,
    )


def _quantities(meter: Meter, query: MeasureQuery) -> list[Quantity]:
    """Return the rows asked for; a switch puts the other direction in front of them."""
    directions = [query.resource.direction]
    if meter.switches.both_directions:
        directions = [other for other in Direction if other is not query.resource.direction] + directions
    return [Quantity(direction, read_rows(meter, query, direction)) for direction in directions]


def _midnight_indexes(meter: Meter, query: MeasureQuery) -> list[tuple[str, Number]]:
    """Return the index at the midnight of each day asked for: the Wh counted since the contract began."""
    index: Number = 0
    indexes: list[tuple[str, Number]] = []
    day = meter.activated_on or _OLDEST_INDEX
    while day < query.end:
        if day >= query.start and day <= meter.last_day:
            indexes.append((day.isoformat(), index))
        index += meter.daily(query.resource.direction, day) or 0
        day += ONE_DAY
    return indexes


def _customer_route(
    simulator: SimulatorState, generation: Generation, path: str, build: BodyBuilder, api: str
) -> Route:
    """Return a contract or customer endpoint; Data Connect 2026 takes the meter only in the path."""

    async def customer(request: Request) -> Response:
        caller = authorize_call(simulator, request, generation, api)
        if isinstance(caller, Response):
            return caller
        usage_point = request.path_params.get("prm") or usage_point_of(query_parameters(request))
        if generation is Generation.V2026 and request.query_params:
            return _to_response(simulator, generation, invalid_request(""))
        if not usage_point or not is_usage_point(usage_point):
            return _to_response(
                simulator, generation, invalid_request("usage_point_id parameter must be 14 digits long")
            )
        refusal = find_usage_point_refusal(simulator, usage_point, caller.consent)
        body = refusal or build(usage_point, simulator.meters.get(usage_point))
        return _to_response(simulator, generation, [body] if generation is Generation.V4 and refusal is None else body)

    return Route(path, wrap_in_gateway(simulator, customer, path, generation, api), methods=["GET"])


def _to_response(simulator: SimulatorState, generation: Generation, answer: Json | AnyRefusal) -> Response:
    response = answer.respond(generation) if isinstance(answer, AnyRefusal) else to_json_response(answer)
    if generation is Generation.V2026 and not simulator.switches.json_content_type:
        response.headers["content-type"] = _BINARY_CONTENT_TYPE
    return response
