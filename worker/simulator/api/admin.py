"""``/__sim__/``: ours, and kept away from the imitated paths.  Switches faults and clock, and tells what was seen."""

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
from worker.simulator.api.errors import TABLE, to_json
from worker.simulator.api.requests import is_usage_point
from worker.simulator.faults import InjectedFault
from worker.simulator.homes.meters import Meter
from worker.simulator.homes.series import Direction
from worker.simulator.state import SimulatorState

Action = Callable[[SimulatorState, Request, Json], Json]
_BASE: Final = "/__sim__"


def admin_routes(world: SimulatorState) -> list[Route]:
    return [
        _route(world, "/health", GET=_health),
        _route(world, "/faults", GET=_faults, POST=_add_fault, DELETE=_clear_faults),
        _route(world, "/clock", GET=_clock, POST=_set_clock),
        _route(world, "/quota", GET=_quota, POST=_set_quota),
        _route(world, "/switches", GET=_switches, POST=_set_switches),
        _route(world, "/meters/{usage_point}", GET=_meter, POST=_set_meter, DELETE=_reset_meter),
        _route(world, "/tokens", DELETE=_expire_tokens),
        _route(world, "/report", GET=_report, DELETE=_reset_report),
        _route(world, "/truth/{usage_point}", GET=_truth),
    ]


def _route(world: SimulatorState, path: str, **actions: Action) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            body = await request.body()
            return to_json(actions[request.method](world, request, json.loads(body) if body else {}))
        except (ValueError, OverflowError) as error:  # also JSON that is none, and dates beyond the calendar
            return to_json({"error": str(error)}, 400)

    return Route(_BASE + path, _as_handler(endpoint), methods=list(actions))


def _as_handler(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        if request.method == "HEAD":
            return Response(b"", 200)
        return await endpoint(request)

    return handle


def _health(world: SimulatorState, request: Request, body: Json) -> Json:
    return {
        "ok": True,
        "simulator": "enedis",
        "now": world.clock.local().isoformat(),
        "recorded": len(world.meters.recorded_numbers()),
    }


def _faults(world: SimulatorState, request: Request, body: Json) -> Json:
    return world.faults.as_json()


def _add_fault(world: SimulatorState, request: Request, body: Json) -> Json:
    for raw in body if isinstance(body, list) else [body]:
        world.faults.add(InjectedFault.from_json(raw))
    return world.faults.as_json()


def _clear_faults(world: SimulatorState, request: Request, body: Json) -> Json:
    world.faults.clear()
    return []


def _clock(world: SimulatorState, request: Request, body: Json) -> Json:
    return {
        "now": world.clock.local().isoformat(),
        "today": str(world.clock.today()),
        "last_published": str(world.meters.last_published()),
    }


def _set_clock(world: SimulatorState, request: Request, body: Json) -> Json:
    """``{"now": "2024-07-25T09:00+02:00"}``, naive is local, or ``{"advance_s": 3600}``."""
    if not isinstance(body, dict) or len(body) != 1 or not body.keys() <= {"now", "advance_s"}:
        raise ValueError('send {"now": "2024-07-25T09:00+02:00"} or {"advance_s": 3600}')
    if "now" in body:
        now = datetime.fromisoformat(str(body["now"]))
        world.clock.set(now if now.tzinfo is not None else now.replace(tzinfo=PARIS))
    else:
        world.clock.advance(float(body["advance_s"]))
    return _clock(world, request, body)


def _quota(world: SimulatorState, request: Request, body: Json) -> Json:
    return {"per_second": world.quota.per_second, "per_hour": world.quota.per_hour}


def _set_quota(world: SimulatorState, request: Request, body: Json) -> Json:
    """``{"per_second": 5, "per_hour": 1000}``; null or left out is no limit; ``null`` alone lifts both."""
    limits = body or {}
    if not isinstance(limits, dict) or not limits.keys() <= {"per_second", "per_hour"}:
        raise ValueError('send {"per_second": 5, "per_hour": 1000}, or null for no quota')
    if not all(limit is None or type(limit) is int for limit in limits.values()):
        raise ValueError("a limit is a whole number or null")
    world.quota.set(limits.get("per_second"), limits.get("per_hour"))
    return _quota(world, request, body)


def _switches(world: SimulatorState, request: Request, body: Json) -> Json:
    return _plain(asdict(world.switches))


def _set_switches(world: SimulatorState, request: Request, body: Json) -> Json:
    world.switches = world.switches.changed(body)
    return _switches(world, request, body)


def _meter(world: SimulatorState, request: Request, body: Json) -> Json:
    meter = world.meters.get(_usage_point(request))
    known = _plain(asdict(meter.switches))
    return known | {"activated_on": _plain(meter.activated_on), "last_day": str(meter.last_day)}


def _set_meter(world: SimulatorState, request: Request, body: Json) -> Json:
    if isinstance(body, dict) and body.get("refusal") not in (None, *TABLE):
        raise ValueError(f"no refusal {body['refusal']!r}; there are {', '.join(TABLE)}")
    world.meters.switch(_usage_point(request), body)
    return _meter(world, request, body)


def _reset_meter(world: SimulatorState, request: Request, body: Json) -> Json:
    world.meters.reset(_usage_point(request))
    return _meter(world, request, body)


def _expire_tokens(world: SimulatorState, request: Request, body: Json) -> Json:
    """Every access token is refused from now on; with ``?refresh=1`` every refresh token too."""
    world.tokens.expire_all()
    if request.query_params.get("refresh") == "1":
        world.tokens.forget_refresh()
    return {"ok": True}


def _report(world: SimulatorState, request: Request, body: Json) -> Json:
    return world.report.as_json()


def _reset_report(world: SimulatorState, request: Request, body: Json) -> Json:
    world.report.reset()
    return world.report.as_json()


def _truth(world: SimulatorState, request: Request, body: Json) -> Json:
    """What a perfect copy would hold of the days ``start`` to ``end`` (excluded), as published by now.

    With ``?measured=1`` also what is measured and not out yet; ``direction=production`` for what was fed in;
    ``series=daily`` without the curve, which takes time.
    """
    usage_point, query = _usage_point(request), request.query_params
    start = date.fromisoformat(query.get("start") or "")
    end = min(date.fromisoformat(query.get("end") or ""), world.clock.today())
    direction = Direction(query.get("direction", Direction.CONSUMPTION))
    late = query.get("measured") == "1"
    meter = world.meters.get_measured(usage_point) if late else world.meters.get(usage_point)
    days = [start + rank * ONE_DAY for rank in range((end - start).days)]
    daily = {str(day): wh for day in days if (wh := meter.daily(direction, day)) is not None}
    return {"daily": daily} | (
        {} if query.get("series") == "daily" else {"load_curve": _true_curve(meter, direction, days)}
    )


def _true_curve(meter: Meter, direction: Direction, days: list[date]) -> list[Json]:
    """``[start in UTC, minutes, W]`` of each step, in time order, none twice."""
    every = meter.switches.null_every
    steps = {}
    for day in days:
        for rank, point in enumerate(meter.curve(direction, day), start=1):
            if every and rank % every == 0:
                continue
            start = (point.end - timedelta(minutes=point.minutes)).astimezone(UTC)
            steps[start] = [start.strftime("%Y-%m-%dT%H:%M:%SZ"), point.minutes, point.watts]
    return [steps[start] for start in sorted(steps)]


def _usage_point(request: Request) -> str:
    usage_point = str(request.path_params["usage_point"])
    if not is_usage_point(usage_point):
        raise ValueError("a usage point has 14 digits")
    return usage_point


def _plain(value: Json) -> Json:
    """Dates and tuples as JSON has them."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    return value.isoformat() if isinstance(value, date) else value
