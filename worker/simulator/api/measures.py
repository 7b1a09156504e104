"""Measure endpoints of all generations, which answer from the same meters and clock."""

from __future__ import annotations

from itertools import groupby
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import DateWindow
from worker.domain.measures.series import Granularity
from worker.simulator.api.bodies import Row, to_body_2026, to_body_v5, to_index_body
from worker.simulator.api.errors import ERROR_TABLE, Generation, Refused
from worker.simulator.api.gateway import authorize_call, gateway_route
from worker.simulator.api.requests import RESOURCES, MeasureQuery, Resource, check_query, read_query
from worker.simulator.consents import Consent
from worker.simulator.homes.meters import Meter
from worker.simulator.homes.series import Number, to_label
from worker.simulator.state import SimulatorState

# Recorded answers of Data Connect 2026 came with this type, so a client must not rely on it.
BINARY_CONTENT_TYPE: Final = "application/octet-stream"


def data_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of the measure endpoints."""
    return [_data_route(simulator, resource) for resource in RESOURCES]


def _data_route(simulator: SimulatorState, resource: Resource) -> Route:
    generation, api = resource.generation, resource.api

    async def answer(request: Request) -> Response:
        consent = authorize_call(simulator, request, generation, api)
        try:
            query = read_query(resource, request.query_params)
            response: Response = JSONResponse(measures_of(simulator, query, consent))
        except Refused as refused:
            response = refused.refusal.respond(generation)
        if generation is Generation.V2026:
            response.headers["content-type"] = BINARY_CONTENT_TYPE
        return response

    return gateway_route(simulator, ["GET"], resource.path, answer, generation, api)


def measures_of(simulator: SimulatorState, query: MeasureQuery, consent: Consent | None) -> Json:
    """Return the answer to a query; ``consent`` is that of a user's token. Raises Refused."""
    resource, meter = query.resource, check_query(simulator, query, consent)
    if resource.measure.series.description.granularity is Granularity.REGISTER:
        readings = meter.registers(DateWindow(query.start, query.end), resource.measure.direction)
        if readings:
            return to_index_body(query, list(readings.items()))
    elif rows := _read_rows(meter, query):
        return to_body_2026(query, rows) if resource.generation is Generation.V2026 else to_body_v5(query, rows)
    raise Refused(ERROR_TABLE["no_data_found"])


def _read_rows(meter: Meter, query: MeasureQuery) -> list[Row]:
    """Return the rows of the days asked for; none where nothing is published."""
    measure, window = query.resource.measure, DateWindow(query.start, query.end)
    match measure.series.description.granularity:
        case Granularity.DAY:
            values = ((day, meter.daily(day, measure.direction)) for day in window.dates())
            return [(_to_text(wh), str(day)) for day, wh in values if wh is not None]
        case Granularity.INSTANT:
            return _read_peaks(meter, window, monthly=query.further.get("mesuresPas") == "P1M")
    return [
        (_to_text(point.watts), point.label, f"PT{point.minutes}M", point.nature, point.likelihood, point.state)
        for day in window.dates()
        for point in meter.curve(day, measure.direction)
    ]


def _read_peaks(meter: Meter, window: DateWindow, monthly: bool) -> list[Row]:
    """Return the maximum power of each day, or of the days of each month."""
    peaks = [peak for day in window.dates() if (peak := meter.max_power(day)) is not None]
    if monthly:
        months = groupby(peaks, key=lambda peak: to_label(peak.at)[:7])
        peaks = [max(of_month, key=lambda peak: peak.volt_amperes) for _, of_month in months]
    return [(str(peak.volt_amperes), to_label(peak.at)) for peak in peaks]


def _to_text(number: Number) -> str:
    """Return a number as Enedis sends it: text, without a decimal point where it is whole."""
    return str(int(number)) if number == int(number) else str(number)
