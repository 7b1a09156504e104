"""Control routes of the simulator below ``/__sim__/``: faults, clock, quota, switches, report and true values.

They are ours; no path of Enedis begins like this.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import ONE_DAY, PARIS
from worker.simulator.api.errors import ERROR_TABLE, to_json_response
from worker.simulator.api.requests import is_usage_point
from worker.simulator.faults import InjectedFault
from worker.simulator.homes.meters import Meter
from worker.simulator.homes.series import Direction
from worker.simulator.state import SimulatorState

Action = Callable[[SimulatorState, Request, Json], Json]
_BASE: Final = "/__sim__"


def admin_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes below ``/__sim__/``."""
    return [
        _route(simulator, "/health", GET=_health),
        _route(simulator, "/faults", GET=_faults, POST=_add_fault, DELETE=_clear_faults),
        _route(simulator, "/clock", GET=_clock, POST=_set_clock),
        _route(simulator, "/quota", GET=_quota, POST=_set_quota),
        _route(simulator, "/switches", GET=_switches, POST=_set_switches),
        _route(simulator, "/meters/{usage_point}", GET=_meter, POST=_set_meter, DELETE=_reset_meter),
        _route(simulator, "/tokens", DELETE=_expire_tokens),
        _route(simulator, "/report", GET=_report, DELETE=_reset_report),
        _route(simulator, "/truth/{usage_point}", GET=_truth),
    ]


def _route(simulator: SimulatorState, path: str, **actions: Action) -> Route:
    """Return a route with one action for each HTTP method; a wrong body is answered with 400 and the reason."""

    async def endpoint(request: Request) -> Response:
        try:
            body = await request.body()
            return to_json_response(actions[request.method](simulator, request, json.loads(body) if body else {}))
        except (ValueError, OverflowError) as error:
            # Broken JSON is a ValueError, a date beyond the calendar an OverflowError.
            return to_json_response({"error": str(error)}, 400)

    return Route(_BASE + path, _answer_head(endpoint), methods=list(actions))


def _answer_head(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint with an empty answer to HEAD, which Starlette adds to every GET."""

    async def handle(request: Request) -> Response:
        if request.method == "HEAD":
            return Response(b"", 200)
        return await endpoint(request)

    return handle


def _health(simulator: SimulatorState, request: Request, body: Json) -> Json:
    return {
        "ok": True,
        "simulator": "enedis",
        "now": simulator.clock.local_now().isoformat(),
        "recorded": len(simulator.meters.recorded_numbers()),
    }


def _faults(simulator: SimulatorState, request: Request, body: Json) -> Json:
    return simulator.faults.as_json()


def _add_fault(simulator: SimulatorState, request: Request, body: Json) -> Json:
    for raw in body if isinstance(body, list) else [body]:
        simulator.faults.add(InjectedFault.from_json(raw))
    return simulator.faults.as_json()


def _clear_faults(simulator: SimulatorState, request: Request, body: Json) -> Json:
    simulator.faults.clear()
    return []


def _clock(simulator: SimulatorState, request: Request, body: Json) -> Json:
    return {
        "now": simulator.clock.local_now().isoformat(),
        "today": str(simulator.clock.today()),
        "last_published": str(simulator.meters.last_published()),
    }


def _set_clock(simulator: SimulatorState, request: Request, body: Json) -> Json:
    """Move the clock: ``{"now": "2024-07-25T09:00+02:00"}``, local without offset, or ``{"advance_s": 3600}``."""
    if not isinstance(body, dict) or len(body) != 1 or not body.keys() <= {"now", "advance_s"}:
        raise ValueError('send {"now": "2024-07-25T09:00+02:00"} or {"advance_s": 3600}')
    if "now" in body:
        now = datetime.fromisoformat(str(body["now"]))
        simulator.clock.set(now if now.tzinfo is not None else now.replace(tzinfo=PARIS))
    else:
        simulator.clock.advance(float(body["advance_s"]))
    return _clock(simulator, request, body)


def _quota(simulator: SimulatorState, request: Request, body: Json) -> Json:
    return {"per_second": simulator.quota.per_second, "per_hour": simulator.quota.per_hour}


def _set_quota(simulator: SimulatorState, request: Request, body: Json) -> Json:
    """Set the quota: ``{"per_second": 5, "per_hour": 1000}``; null or a missing field is no limit."""
    limits = body or {}
    if not isinstance(limits, dict) or not limits.keys() <= {"per_second", "per_hour"}:
        raise ValueError('send {"per_second": 5, "per_hour": 1000}, or null for no quota')
    if not all(limit is None or type(limit) is int for limit in limits.values()):
        raise ValueError("a limit is a whole number or null")
    simulator.quota.set(limits.get("per_second"), limits.get("per_hour"))
    return _quota(simulator, request, body)


def _switches(simulator: SimulatorState, request: Request, body: Json) -> Json:
    return _to_plain_json(asdict(simulator.switches))


def _set_switches(simulator: SimulatorState, request: Request, body: Json) -> Json:
    simulator.switches = simulator.switches.with_changes(body)
    return _switches(simulator, request, body)


def _meter(simulator: SimulatorState, request: Request, body: Json) -> Json:
    meter = simulator.meters.get(_usage_point(request))
    switches = _to_plain_json(asdict(meter.switches))
    return switches | {"activated_on": _to_plain_json(meter.activated_on), "last_day": str(meter.last_day)}


def _set_meter(simulator: SimulatorState, request: Request, body: Json) -> Json:
    if isinstance(body, dict) and body.get("refusal") not in (None, *ERROR_TABLE):
        raise ValueError(f"no refusal {body['refusal']!r}; there are {', '.join(ERROR_TABLE)}")
    simulator.meters.change_switches(_usage_point(request), body)
    return _meter(simulator, request, body)


def _reset_meter(simulator: SimulatorState, request: Request, body: Json) -> Json:
    simulator.meters.reset_switches(_usage_point(request))
    return _meter(simulator, request, body)


def _expire_tokens(simulator: SimulatorState, request: Request, body: Json) -> Json:
    """Refuse every access token from now on; with ``?refresh=1`` every refresh token too."""
    simulator.tokens.expire_access_tokens()
    if request.query_params.get("refresh") == "1":
        simulator.tokens.expire_refresh_tokens()
    return {"ok": True}


def _report(simulator: SimulatorState, request: Request, body: Json) -> Json:
    return simulator.report.as_json()


def _reset_report(simulator: SimulatorState, request: Request, body: Json) -> Json:
    simulator.report.reset()
    return simulator.report.as_json()


def _truth(simulator: SimulatorState, request: Request, body: Json) -> Json:
    """Return the true values of the days ``start`` to ``end`` (excluded) that are published by now.

    ``?measured=1`` adds the values that are not published yet; ``direction=production`` asks for the production;
    ``series=daily`` leaves the curve out, which takes longer.
    """
    usage_point, query = _usage_point(request), request.query_params
    start = date.fromisoformat(query.get("start") or "")
    end = min(date.fromisoformat(query.get("end") or ""), simulator.clock.today())
    direction = Direction(query.get("direction", Direction.CONSUMPTION))
    with_unpublished = query.get("measured") == "1"
    meter = (
        simulator.meters.get_with_unpublished(usage_point) if with_unpublished else simulator.meters.get(usage_point)
    )
    days = [start + rank * ONE_DAY for rank in range((end - start).days)]
    daily = {str(day): wh for day in days if (wh := meter.daily(direction, day)) is not None}
    return {"daily": daily} | (
        {} if query.get("series") == "daily" else {"load_curve": _true_curve(meter, direction, days)}
    )


def _true_curve(meter: Meter, direction: Direction, days: list[date]) -> list[Json]:
    """Return ``[start in UTC, minutes, W]`` of each step once, in time order."""
    null_every = meter.switches.null_every
    steps = {}
    for day in days:
        for rank, point in enumerate(meter.curve(direction, day), start=1):
            if null_every and rank % null_every == 0:
                continue
            start = (point.end - timedelta(minutes=point.minutes)).astimezone(UTC)
            steps[start] = [start.strftime("%Y-%m-%dT%H:%M:%SZ"), point.minutes, point.watts]
    return [steps[start] for start in sorted(steps)]


def _usage_point(request: Request) -> str:
    usage_point = str(request.path_params["usage_point"])
    if not is_usage_point(usage_point):
        raise ValueError("a usage point has 14 digits")
    return usage_point


def _to_plain_json(value: Json) -> Json:
    """Return the value with dates as text and tuples as lists."""
    if isinstance(value, dict):
        return {str(key): _to_plain_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_to_plain_json(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value
