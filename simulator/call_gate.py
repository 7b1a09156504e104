"""Gate before each answer: it counts the call, applies injected faults, checks token and quota, and reads parameters.

Token and quota come first; then come the formats of meter and dates, then the other rules of measure requests.  Enedis
does not publish this order; it is inferred from answers that clients have reported.

Source: Enedis, swaggers of "Daily consumption", "Daily production", "Consumption load curve", "Production load curve"
and "Daily consumption max power" (v5) and of "Mesure synchrone auto" (v2).  How far back registers go is published
nowhere; it is as for daily values.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final, NamedTuple

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.electricity_meters import Meter
from simulator.enedis_refusals import ERROR_TABLE, Generation, Refusal, Refused, invalid_request, throttled
from simulator.running_state import HolderConsent, ReachedLimit, SimulatorState
from simulator.switches import take_fault
from worker.domain.series import Direction, Series

_USAGE_POINT: Final = re.compile(r"[0-9]{14}", re.ASCII)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_EXTRA_HISTORY: Final = timedelta(days=15)
_MEASURES_2026: Final = "mesure_synchrone_auto"
OLDER_API: Final = "data"  # All of v4 and v5 shares one quota.
_PEAK_PARAMETERS: Final = {"mesuresPas": ("P1D", "P1M"), "grandeurPhysique": ("PMA", "TOUT")}
_PARAMETERS_V4_V5: Final = ("usage_point_id", "start", "end")
_PARAMETERS_2026: Final = ("pointId", "dateDebut", "dateFin")
Handler = Callable[[Request], Awaitable[Response]]


class SeriesEndpoint(NamedTuple):
    """What the measure endpoints of a series have in common.

    ``name``: in v4 and v5, with ``short_name`` in v5; None if they have no such series.  ``longest_days``: how many
    days a call may ask for.  ``further``: the parameters that 2026 requires beside meter and days, with their values.
    """

    series: Series
    name: str | None
    short_name: str
    name_2026: str
    history_months: int = 36
    longest_days: int | None = None
    further: Mapping[str, tuple[str, ...]] = {}

    @property
    def direction(self) -> Direction:
        """Which way the energy flows."""
        return self.series.description.direction

    @property
    def is_curve(self) -> bool:
        """Whether the meter measures it only where its holder has agreed to a curve."""
        return self.series.has_steps


class Resource(NamedTuple):
    """Measure endpoint of one generation; ``api`` names the quota that it belongs to."""

    generation: Generation
    path: str
    measure: SeriesEndpoint
    api: str


@dataclass(frozen=True, slots=True)
class MeasureQuery:
    """Well-formed request for the days of one series, ``end`` excluded; no rule has checked it yet.

    ``further``: the values of the further parameters of its measure.
    """

    resource: Resource
    usage_point: str
    start: date
    end: date
    further: Mapping[str, str]


_MEASURES: Final = (
    SeriesEndpoint(Series.LOAD_CURVE, "consumption_load_curve", "clc", "courbe_de_charge_consommation", 24, 7),
    SeriesEndpoint(Series.DAILY, "daily_consumption", "dc", "consommation_quotidienne"),
    SeriesEndpoint(Series.PRODUCTION_LOAD_CURVE, "production_load_curve", "plc", "courbe_de_charge_production", 24, 7),
    SeriesEndpoint(Series.PRODUCTION_DAILY, "daily_production", "dp", "production_quotidienne"),
    SeriesEndpoint(
        Series.MAX_POWER,
        "daily_consumption_max_power",
        "dcmp",
        "puissance_conso_max_quotidienne",
        further=_PEAK_PARAMETERS,
    ),
    SeriesEndpoint(Series.REGISTERS, None, "", "index_consommation"),
    SeriesEndpoint(Series.PRODUCTION_REGISTERS, None, "", "index_production"),
)


def _resources_of(measure: SeriesEndpoint) -> list[Resource]:
    path_2026 = f"/{_MEASURES_2026}/v2/{measure.name_2026}"
    resources = [Resource(Generation.V2026, path_2026, measure, _MEASURES_2026)]
    if measure.name is not None:
        path_v5 = f"/metering_data_{measure.short_name}/v5/{measure.name}"
        resources += [
            Resource(Generation.V4, f"/v4/metering_data/{measure.name}", measure, OLDER_API),
            Resource(Generation.V5, path_v5, measure, OLDER_API),
        ]
    return resources


RESOURCES: Final = tuple(resource for measure in _MEASURES for resource in _resources_of(measure))


def is_usage_point(text: str) -> bool:
    """Return whether the text is a meter number: 14 digits."""
    return _USAGE_POINT.fullmatch(text) is not None


def usage_point_of(request: Request) -> str | None:
    """Return the meter that a call names in its query or its path, for every generation; None without one."""
    parameters, path = request.query_params, request.path_params
    return parameters.get("usage_point_id") or parameters.get("pointId") or path.get("prm") or path.get("pce")


def read_usage_point(text: str | None) -> str:
    """Return the meter number.  Raises Refused for none, and for one that is malformed."""
    if not text:
        raise Refused(invalid_request("usage_point_id parameter is required"))
    if not is_usage_point(text):
        raise Refused(invalid_request("usage_point_id parameter must be 14 digits long"))
    return text


def read_query(resource: Resource, parameters: Mapping[str, str]) -> MeasureQuery:
    """Return the query; the meter is checked first, then the dates.  Raises Refused for a malformed one."""
    is_2026 = resource.generation is Generation.V2026
    further = resource.measure.further if is_2026 else {}
    # Data Connect 2026 refuses a missing or unknown parameter.
    if is_2026 and set(parameters) != {*_PARAMETERS_2026, *further}:
        raise Refused(invalid_request(""))
    if any(parameters[name] not in values for name, values in further.items()):
        raise Refused(invalid_request(""))
    point_name, start_name, end_name = _PARAMETERS_2026 if is_2026 else _PARAMETERS_V4_V5
    usage_point = read_usage_point(parameters.get(point_name))
    start, end = _read_day("Start", parameters.get(start_name)), _read_day("End", parameters.get(end_name))
    return MeasureQuery(resource, usage_point, start, end, {name: parameters[name] for name in further})


def _read_day(word: str, text: str | None) -> date:
    if not text:
        raise Refused(invalid_request(f"{word} date parameter is required"))
    try:
        return date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError:
        raise Refused(invalid_request(f"{word} date parameter must be in the format YYYY-MM-DD")) from None


def check_query(simulator: SimulatorState, query: MeasureQuery, consent: HolderConsent | None) -> Meter:
    """Return the meter.  Raises Refused for the first rule that the query breaks.

    ``consent`` is that of a user's token.
    """
    today = simulator.clock.today()
    _refuse_if({"end_too_late": query.end > today, "start_after_end": query.start >= query.end})
    meter = check_meter(simulator, query.usage_point, consent)
    measure, days = query.resource.measure, (query.end - query.start).days
    earliest = _months_before(today, measure.history_months) - _EXTRA_HISTORY
    _refuse_if(
        {
            "ADAM-ERR0069": not meter.measures(measure.direction),
            "ADAM-ERR0126": measure.longest_days is not None and days > measure.longest_days,
            "ADAM-ERR0125": query.start < earliest,
            "ADAM-ERR0123": meter.activated_on is not None and query.start < meter.activated_on,
            "no_data_found": measure.is_curve and not meter.switches.curve_enabled,
        }
    )
    return meter


def check_meter(simulator: SimulatorState, usage_point: str, consent: HolderConsent | None) -> Meter:
    """Return the meter.  Raises Refused where its holder does not consent, or the supplier refuses it."""
    meter = simulator.meters.get(usage_point)
    is_of_another = consent is not None and usage_point not in consent.usage_points
    has_ended = meter.switches.consent_revoked or simulator.consents.has_ended(usage_point)
    _refuse_if(
        {
            "ADAM-DC-0008": is_of_another or has_ended,
            "unauthorized_user": not simulator.meters.knows(usage_point),
            meter.switches.refusal or "": meter.switches.refusal is not None,
        }
    )
    return meter


def _refuse_if(rules: Mapping[str, bool]) -> None:
    """Raise Refused with the row of the error table of the first rule that is broken."""
    for name, is_broken in rules.items():
        if is_broken:
            raise Refused(ERROR_TABLE[name])


def _months_before(day: date, months: int) -> date:
    """Return the same day some months earlier, or the last day of that month."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def gateway_route(
    simulator: SimulatorState,
    methods: Sequence[str],
    path: str,
    handler: Handler,
    generation: Generation,
    api: str | None = None,
) -> Route:
    """Return a route with call counts and injected faults; ``api`` names the quota that counts its calls."""

    async def respond(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as refused:
            return refused.refusal.respond(generation)

    async def respond_with_fault(request: Request, usage_point: str | None) -> Response:
        fault = take_fault(simulator.faults, request.url.path, usage_point)
        if fault is None:
            return await respond(request)
        await anyio.sleep(fault.wait_s)
        if fault.kind == "throttled":
            return _throttled(simulator, ReachedLimit.hourly(simulator.clock.now())).respond(generation)
        return fault.canned_response(generation) or fault.corrupt(await respond(request))

    async def endpoint(request: Request) -> Response:
        usage_point = usage_point_of(request)
        # Each supplier has a report of its own; it may have been reset since the call came.
        of_supplier = simulator.gas if generation is Generation.ADICT else simulator
        of_supplier.report.add_call(usage_point, api, simulator.clock.now())
        response = await respond_with_fault(request, usage_point)
        of_supplier.report.add_status(response.status_code)
        return response

    return Route(path, endpoint, methods=list(methods))


def authorize_call(
    simulator: SimulatorState, request: Request, generation: Generation, api: str
) -> HolderConsent | None:
    """Return the consent of a user's token, which v4 requires, or None for the application's.

    Checks the token, then whether the application may call this API, then the quota.  Raises Refused.
    """
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    token = simulator.tokens.find(secret.strip()) if scheme.lower() == "bearer" else None
    if token is None or (token.consent is not None) is not (generation is Generation.V4):
        raise Refused(ERROR_TABLE["bad_token"])
    if api in simulator.switches.unsubscribed_apis:
        raise Refused(ERROR_TABLE["900908"])
    if (limit := simulator.quota.take(api, simulator.clock.now())) is not None:
        raise Refused(_throttled(simulator, limit))
    return token.consent


def _throttled(simulator: SimulatorState, limit: ReachedLimit) -> Refusal:
    return throttled(limit.per_second, limit.opens_at, simulator.clock.now())
