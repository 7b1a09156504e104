"""Endpoints of daily values (informatives) and of billed periods (publiées), which answer with streams of records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import ONE_DAY, DateWindow
from worker.simulator.api.errors import Generation
from worker.simulator.api.gas import refusals
from worker.simulator.api.gas.bodies import (
    respond_with_stream,
    to_daily_record,
    to_published_record,
    to_refusal_record,
)
from worker.simulator.api.gas.requests import (
    API,
    BASES,
    GasQuery,
    authorize_call,
    clip,
    echo,
    find_refusal,
    is_sandbox,
    read_query,
)
from worker.simulator.api.gas.rights_bodies import to_record
from worker.simulator.api.gateway import gateway_route
from worker.simulator.homes.gas.meters import GasMeter
from worker.simulator.homes.gas.readings import GasReading
from worker.simulator.rights import AccessRight
from worker.simulator.state import SimulatorState


class _Endpoint(NamedTuple):
    """One endpoint; ``years``: how far back it goes."""

    name: str
    scope: str
    years: int
    to_record: Callable[[GasReading, dict[str, Json]], dict[str, Json]]


_DAILY: Final = _Endpoint("donnees_consos_informatives", "informatives", 3, to_daily_record)
_PUBLISHED: Final = _Endpoint("donnees_consos_publiees", "publiees", 5, to_published_record)


def gas_data_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of both endpoints, of production and sandbox."""
    return [_route(simulator, base, endpoint) for base in BASES for endpoint in (_DAILY, _PUBLISHED)]


def _route(simulator: SimulatorState, base: str, endpoint: _Endpoint) -> Route:
    async def answer(request: Request) -> Response:
        authorize_call(simulator, request)
        query = read_query(request, simulator.clock.today(), endpoint.years)
        records = _records(simulator, endpoint, query, is_sandbox(request))
        return respond_with_stream(_with_quirks(simulator, query, records), simulator.gas.switches)

    return gateway_route(simulator, ["GET"], f"{base}/pce/{{pce}}/{endpoint.name}", answer, Generation.ADICT, API)


def _records(simulator: SimulatorState, endpoint: _Endpoint, query: GasQuery, sandbox: bool) -> list[dict[str, Json]]:
    head = dict(echo(query))
    meter = simulator.gas.meters.get(query.pce)
    code, right = find_refusal(simulator, meter, endpoint.scope, sandbox)
    if right is None and code == refusals.NO_RIGHT and simulator.gas.switches.no_right_status == 403:
        raise refusals.authentication_error(403, refusals.STATUSES[code])
    if endpoint is _DAILY and not code and meter.daily_refusal is not None:
        code = meter.daily_refusal
    if code or right is None:
        return [to_refusal_record(code, head)]
    readings = _readings(simulator, endpoint, meter, query.window, right)
    records = [
        _failed(reading, head) if reading.start in meter.switches.failing_days else endpoint.to_record(reading, head)
        for reading in readings
    ]
    return records or [to_refusal_record(refusals.NO_DATA, head)]


def _readings(
    simulator: SimulatorState, endpoint: _Endpoint, meter: GasMeter, window: DateWindow, right: AccessRight
) -> Sequence[GasReading]:
    allowed = clip(window, right)
    if allowed is None:
        return []
    if endpoint is _DAILY:
        return meter.days(allowed)
    which = simulator.gas.switches.periods
    return [period for period in meter.periods() if _is_asked_for(period, allowed, which)]


def _is_asked_for(period: GasReading, window: DateWindow, which: str) -> bool:
    """Return whether an answer holds a period; how GRDF chooses them is unknown, so it is a switch."""
    begins = window.start <= period.start < window.end
    if which == "overlap":
        return period.start < window.end and window.start < period.end
    return begins and (which == "begin" or period.end <= window.end)


def _failed(reading: GasReading, head: dict[str, Json]) -> dict[str, Json]:
    """Return the record that stands for a period that the server couldn't read."""
    period = {"valeur": None, "date_debut": str(reading.start), "date_fin": str(reading.end)}
    return to_refusal_record(refusals.FAILED, {**head, "periode": period})


def _with_quirks(simulator: SimulatorState, query: GasQuery, records: list[dict[str, Json]]) -> list[Json]:
    switches = simulator.gas.switches
    if switches.duplicate_day and records[0]["consommation"]:
        start = date.fromisoformat(records[0]["consommation"]["date_debut_consommation"][:10])
        absent = to_daily_record(GasReading.absent(start, start + ONE_DAY), dict(echo(query)))
        records = [records[0], absent, *records[1:]]
    if switches.energy_as_text:
        for record in records:
            if record["consommation"] and record["consommation"]["energie"] is not None:
                record["consommation"]["energie"] = str(record["consommation"]["energie"])
    rights = simulator.gas.rights.of_pce(query.pce, sandbox=True) if switches.right_in_stream else []
    return [*records, *(to_record(right, switches) | refusals.treatment(refusals.DONE) for right in rights[:1])]
