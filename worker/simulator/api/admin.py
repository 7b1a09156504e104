"""Control routes of the simulator below ``/__sim__/``: faults, clock, quota, switches, report and true values.

They are ours; no path of Enedis begins like this.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_jsonable_python
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import PARIS, DateWindow
from worker.domain.measures.series import Series
from worker.simulator.api.requests import is_usage_point
from worker.simulator.faults import InjectedFault
from worker.simulator.homes.expected_values import expected_values
from worker.simulator.quota import CallQuota, CallReport
from worker.simulator.state import SimulatorState

Action = Callable[[SimulatorState, Request, Json], object]
_BASE: Final = "/__sim__"


class _Limits(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    per_second: int | None = None
    per_hour: int | None = None


def admin_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes below ``/__sim__/``."""
    return [
        _route(simulator, "/health", GET=_health),
        _route(simulator, "/faults", GET=_faults, POST=_add_faults, DELETE=_clear_faults),
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

    async def endpoint(request: Request) -> JSONResponse:
        # Starlette adds HEAD to every GET, and the server leaves its body out.
        action = actions["GET" if request.method == "HEAD" else request.method]
        try:
            body = await request.body()
            return JSONResponse(to_jsonable_python(action(simulator, request, json.loads(body) if body else {})))
        except ValidationError as error:
            first = error.errors()[0]
            return JSONResponse({"error": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}, 400)
        except (ValueError, OverflowError) as error:
            # Broken JSON is a ValueError, a date beyond the calendar an OverflowError.
            return JSONResponse({"error": str(error)}, 400)

    return Route(_BASE + path, endpoint, methods=list(actions))


def _health(simulator: SimulatorState, request: Request, body: Json) -> object:
    return {"ok": True, "simulator": "enedis", "now": simulator.clock.local_now()}


def _faults(simulator: SimulatorState, request: Request, body: Json) -> object:
    return simulator.faults


def _add_faults(simulator: SimulatorState, request: Request, body: Json) -> object:
    faults = body if isinstance(body, list) else [body]
    simulator.faults += [InjectedFault.model_validate(fault) for fault in faults]
    return simulator.faults


def _clear_faults(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.faults.clear()
    return simulator.faults


def _clock(simulator: SimulatorState, request: Request, body: Json) -> object:
    clock = simulator.clock
    return {"now": clock.local_now(), "today": clock.today(), "last_published": simulator.meters.last_published()}


def _set_clock(simulator: SimulatorState, request: Request, body: Json) -> object:
    """Move the clock: ``{"now": "2024-07-25T09:00+02:00"}``, local without offset, or ``{"advance_s": 3600}``."""
    if not isinstance(body, dict) or len(body) != 1 or not body.keys() <= {"now", "advance_s"}:
        raise ValueError('send {"now": "2024-07-25T09:00+02:00"} or {"advance_s": 3600}')
    if "now" in body:
        now = datetime.fromisoformat(str(body["now"]))
        simulator.clock.set(now if now.tzinfo is not None else now.replace(tzinfo=PARIS))
    else:
        simulator.clock.set(simulator.clock.now() + timedelta(seconds=float(body["advance_s"])))
    return _clock(simulator, request, body)


def _quota(simulator: SimulatorState, request: Request, body: Json) -> object:
    return _Limits(per_second=simulator.quota.per_second, per_hour=simulator.quota.per_hour)


def _set_quota(simulator: SimulatorState, request: Request, body: Json) -> object:
    """Set the quota and count anew: ``{"per_second": 5, "per_hour": 1000}``; null or a missing field is no limit."""
    limits = _Limits.model_validate(body or {})
    simulator.quota = CallQuota(limits.per_second, limits.per_hour)
    return limits


def _switches(simulator: SimulatorState, request: Request, body: Json) -> object:
    return simulator.switches


def _set_switches(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.switches = simulator.switches.with_changes(body)
    return simulator.switches


def _meter(simulator: SimulatorState, request: Request, body: Json) -> object:
    meter = simulator.meters.get(_usage_point(simulator, request))
    return meter.switches.model_dump() | {"activated_on": meter.activated_on, "last_day": meter.last_day}


def _set_meter(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.meters.change_switches(_usage_point(simulator, request), body)
    return _meter(simulator, request, body)


def _reset_meter(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.meters.reset_switches(_usage_point(simulator, request))
    return _meter(simulator, request, body)


def _expire_tokens(simulator: SimulatorState, request: Request, body: Json) -> object:
    """Refuse every access token from now on; with ``?refresh=1`` every refresh token too."""
    simulator.tokens.expire_access_tokens()
    if request.query_params.get("refresh") == "1":
        simulator.tokens.expire_refresh_tokens()
    return {"ok": True}


def _report(simulator: SimulatorState, request: Request, body: Json) -> object:
    return simulator.report.as_json()


def _reset_report(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.report = CallReport()
    return simulator.report.as_json()


def _truth(simulator: SimulatorState, request: Request, body: Json) -> object:
    """Return the true values of the days ``start`` to ``end`` (excluded) that are published by now.

    ``?series=daily,max_power`` names those wanted; without it they are ``daily`` and ``load_curve``.
    """
    usage_point, query = _usage_point(simulator, request), request.query_params
    start = date.fromisoformat(query.get("start") or "")
    end = min(date.fromisoformat(query.get("end") or ""), simulator.clock.today())
    wanted = [Series(name) for name in (query.get("series") or "daily,load_curve").split(",")]
    meter = simulator.meters.get(usage_point)
    return {
        series: expected_values(meter, series, DateWindow(start, end) if start < end else None) for series in wanted
    }


def _usage_point(simulator: SimulatorState, request: Request) -> str:
    usage_point = str(request.path_params["usage_point"])
    if not is_usage_point(usage_point):
        raise ValueError("a usage point has 14 digits")
    if not simulator.meters.knows(usage_point):
        raise ValueError("no recording of this meter, and no pretend homes beside recordings without --pretend-homes")
    return usage_point
