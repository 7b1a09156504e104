"""Measure and contract endpoints of all generations; they answer from the same meters and clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import ONE_DAY
from worker.simulator.api.answers import read_rows, to_body_2026, to_body_v5, to_index_body
from worker.simulator.api.contracts import CONTRACT_PATHS, BodyBuilder
from worker.simulator.api.errors import ERROR_TABLE, Generation, Refused, invalid_request
from worker.simulator.api.gateway import authorize_call, gateway_route
from worker.simulator.api.requests import (
    MEASURES_2026,
    OLDER_API,
    RESOURCES,
    MeasureQuery,
    Resource,
    check_usage_point_format,
    read_query,
    usage_point_of,
)
from worker.simulator.api.rules import check_query, check_usage_point
from worker.simulator.consents import Consent
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
    """Return the routes of the measure and contract endpoints."""
    return [
        *(
            _data_route(simulator, resource.generation, resource.path, resource.api, partial(_measures, resource))
            for resource in (*RESOURCES, *_INDEXES)
        ),
        *(
            _data_route(
                simulator,
                generation,
                path,
                path.split("/")[1] if generation is Generation.V2026 else OLDER_API,
                partial(_contract, generation, build),
            )
            for generation, paths in CONTRACT_PATHS.items()
            for path, build in paths.items()
        ),
    ]


def _data_route(
    simulator: SimulatorState,
    generation: Generation,
    path: str,
    api: str,
    build: Callable[[SimulatorState, Request, Consent | None], Json],
) -> Route:
    """Return an endpoint that answers with what ``build`` returns, or refuses as it raises."""

    async def answer(request: Request) -> Response:
        consent = authorize_call(simulator, request, generation, api)
        try:
            response: Response = JSONResponse(build(simulator, request, consent))
        except Refused as refused:
            response = refused.refusal.respond(generation)
        if generation is Generation.V2026 and not simulator.switches.json_content_type:
            response.headers["content-type"] = _BINARY_CONTENT_TYPE
        return response

    return gateway_route(simulator, ["GET"], path, answer, generation, api)


def _measures(resource: Resource, simulator: SimulatorState, request: Request, consent: Consent | None) -> Json:
    query = read_query(resource, request.query_params)
    check_query(simulator, query, consent)
    meter = simulator.meters.get(query.usage_point)
    if resource in _INDEXES:
        indexes = _midnight_indexes(meter, query)
        if indexes:
            return to_index_body(query, indexes)
        raise Refused(ERROR_TABLE["no_data_found"])
    rows = read_rows(meter, query)
    if not rows:
        raise Refused(ERROR_TABLE["no_data_found"])
    if resource.generation is not Generation.V2026:
        return to_body_v5(query, rows, meter.switches.quality)
    # A switch puts the other direction in front of the one asked for.
    both = sorted(Direction, key=lambda direction: direction is resource.direction)
    directions = both if meter.switches.both_directions else [resource.direction]
    quantities = {direction: read_rows(meter, query, direction) for direction in directions}
    if meter.switches.empty_answer:
        quantities = {}
    return to_body_2026(query, quantities, meter.switches.quality, meter.switches.without_marks)


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


def _contract(
    generation: Generation, build: BodyBuilder, simulator: SimulatorState, request: Request, consent: Consent | None
) -> Json:
    """Return the body of a contract endpoint; Data Connect 2026 takes the meter only in the path."""
    if generation is Generation.V2026 and request.query_params:
        raise Refused(invalid_request(""))
    usage_point = check_usage_point_format(usage_point_of(request))
    check_usage_point(simulator, usage_point, consent)
    body = build(usage_point, simulator.meters.get(usage_point))
    return [body] if generation is Generation.V4 else body
