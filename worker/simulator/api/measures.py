"""The data endpoints of all generations, over one store, one clock and the same curves."""

from __future__ import annotations

from datetime import date
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import ONE_DAY
from worker.simulator.api.answers import Quantity, body_2026, body_v5, index_body, rows_of
from worker.simulator.api.contracts import PATHS_2026, V3_PATHS, V5_PATHS, Answer
from worker.simulator.api.errors import NO_DATA, Generation, Refusal, invalid_request, to_json
from worker.simulator.api.gateway import SupplierCaller, behind_gateway, let_through, single_parameters
from worker.simulator.api.requests import (
    MEASURES_2026,
    OLDER_API,
    RESOURCES,
    Question,
    Resource,
    is_usage_point,
    read_question,
    usage_point_of,
)
from worker.simulator.api.rules import AnyRefusal, refusal_of, refusal_of_usage_point
from worker.simulator.homes.meters import Meter
from worker.simulator.homes.series import Direction, MeasureKind, Number
from worker.simulator.state import SimulatorState

_BINARY: Final = "application/octet-stream"  # so C's answers came (upstream-apis, 1.12); never decide on it
_INDEXES: Final = {
    Resource(Generation.V2026, f"/{MEASURES_2026}/v2/{name}", MeasureKind.DAILY, direction, MEASURES_2026)
    for name, direction in (
        ("index_consommation", Direction.CONSUMPTION),
        ("index_production", Direction.PRODUCTION),
    )
}
_OLDEST_INDEX: Final = date(2010, 1, 1)


def data_routes(world: SimulatorState) -> list[Route]:
    return [
        *(_measure_route(world, resource) for resource in (*RESOURCES, *_INDEXES)),
        *(_customer_route(world, Generation.V4, path, answer, OLDER_API) for path, answer in V3_PATHS.items()),
        *(_customer_route(world, Generation.V5, path, answer, OLDER_API) for path, answer in V5_PATHS.items()),
        *(
            _customer_route(world, Generation.V2026, path, answer, path.split("/")[1])
            for path, answer in PATHS_2026.items()
        ),
    ]


def _measure_route(world: SimulatorState, resource: Resource) -> Route:
    async def measure(request: Request) -> Response:
        caller = let_through(world, request, resource.generation, resource.api)
        if isinstance(caller, Response):
            return caller
        question = read_question(resource, single_parameters(request))
        answer = question if isinstance(question, Refusal) else _answer(world, question, caller)
        return _send(world, resource.generation, answer)

    endpoint = behind_gateway(world, measure, resource.path, resource.generation, resource.api)
    return Route(resource.path, endpoint, methods=["GET"])


def _answer(world: SimulatorState, question: Question, caller: SupplierCaller) -> Json | AnyRefusal:
    if (refusal := refusal_of(world, question, caller.consent)) is not None:
        return refusal
    meter = world.meters.get(question.usage_point)
    if question.resource in _INDEXES:
        indexes = _midnight_indexes(meter, question)
        return index_body(question, indexes) if indexes else NO_DATA
    rows = rows_of(meter, question)
    if not rows:
        return NO_DATA
    if question.resource.generation is not Generation.V2026:
        return body_v5(question, rows, meter.switches.quality)
    return body_2026(
        question,
        [] if meter.switches.empty_answer else _quantities(meter, question),
        meter.switches.quality,
        meter.switches.without_marks,
    )


def _quantities(meter: Meter, question: Question) -> list[Quantity]:
    """What was asked for; with a switch the other direction comes along, and first."""
    asked = question.resource.direction
    wanted = [asked]
    if meter.switches.both_directions:
        wanted = [direction for direction in Direction if direction is not asked] + wanted
    return [Quantity(direction, rows_of(meter, question, direction)) for direction in wanted]


def _midnight_indexes(meter: Meter, question: Question) -> list[tuple[str, Number]]:
    """The register at the midnights of the days asked for: all that was counted since the contract began."""
    index: Number = 0
    indexes: list[tuple[str, Number]] = []
    day = meter.activated_on or _OLDEST_INDEX
    while day < question.end:
        if day >= question.start and day <= meter.last_day:
            indexes.append((day.isoformat(), index))
        index += meter.daily(question.resource.direction, day) or 0
        day += ONE_DAY
    return indexes


def _customer_route(world: SimulatorState, generation: Generation, path: str, answer: Answer, api: str) -> Route:
    """A contract or customer endpoint; the newest has the meter in its path, and nowhere else."""

    async def customer(request: Request) -> Response:
        caller = let_through(world, request, generation, api)
        if isinstance(caller, Response):
            return caller
        usage_point = request.path_params.get("prm") or usage_point_of(single_parameters(request))
        if generation is Generation.V2026 and request.query_params:
            return _send(world, generation, invalid_request(""))
        if not usage_point or not is_usage_point(usage_point):
            return _send(world, generation, invalid_request("usage_point_id parameter must be 14 digits long"))
        refusal = refusal_of_usage_point(world, usage_point, caller.consent)
        body = refusal or answer(usage_point, world.meters.get(usage_point))
        return _send(world, generation, [body] if generation is Generation.V4 and refusal is None else body)

    return Route(path, behind_gateway(world, customer, path, generation, api), methods=["GET"])


def _send(world: SimulatorState, generation: Generation, answer: Json | AnyRefusal) -> Response:
    response = answer.respond(generation) if isinstance(answer, AnyRefusal) else to_json(answer)
    if generation is Generation.V2026 and not world.switches.json_content_type:
        response.headers["content-type"] = _BINARY
    return response
