"""Control routes of the simulator below ``/__sim__/``: faults, clock, quota, switches, report and true values.

They are ours; no path of Enedis begins like this.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import PARIS, DateWindow
from worker.domain.measures.series import Series, of_supplier
from worker.simulator.api.admin_routes import HEALTH, admin_route
from worker.simulator.api.gas.admin import gas_admin_routes, known_pce
from worker.simulator.api.requests import is_usage_point
from worker.simulator.bans import USUAL_LIMIT
from worker.simulator.faults import InjectedFault
from worker.simulator.homes.expected_values import expected_values
from worker.simulator.homes.gas.expected_values import expected_gas
from worker.simulator.quota import CallQuota, CallReport
from worker.simulator.state import SimulatorState


class _Limits(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    per_second: int | None = None
    per_hour: int | None = None


class _BanLimit(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    limit: int = Field(USUAL_LIMIT, ge=1)


def admin_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes below ``/__sim__/``."""
    return [
        admin_route(simulator, HEALTH, GET=_health),
        admin_route(simulator, "/faults", GET=_faults, POST=_add_faults, DELETE=_clear_faults),
        admin_route(simulator, "/clock", GET=_clock, POST=_set_clock),
        admin_route(simulator, "/quota", GET=_quota, POST=_set_quota),
        admin_route(simulator, "/switches", GET=_switches, POST=_set_switches),
        admin_route(simulator, "/meters/{usage_point}", GET=_meter, POST=_set_meter, DELETE=_reset_meter),
        admin_route(simulator, "/tokens", DELETE=_expire_tokens),
        admin_route(simulator, "/bans", GET=_bans, POST=_set_bans, DELETE=_forget_bans),
        admin_route(simulator, "/report", GET=_report, DELETE=_reset_report),
        admin_route(simulator, "/truth/{usage_point}", GET=_truth),
        *gas_admin_routes(simulator),
    ]


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
    """Set the quota, reset the count: ``{"per_second": 5, "per_hour": 1000}``; null or a missing field is no limit."""
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
    """Refuse every access token from now on, of gas too; with ``?refresh=1`` every refresh token too."""
    simulator.tokens.expire_access_tokens()
    simulator.gas.tokens.expire_access_tokens()
    if request.query_params.get("refresh") == "1":
        simulator.tokens.expire_refresh_tokens()
    return {"ok": True}


def _bans(simulator: SimulatorState, request: Request, body: Json) -> object:
    bans = simulator.bans
    return {"limit": bans.limit, "banned": sorted(bans.banned), "most_calls_in_half_a_day": bans.most_calls()}


def _set_bans(simulator: SimulatorState, request: Request, body: Json) -> object:
    """Set how many calls of an address in half a day ban it: ``{"limit": 100}``; the bans that there are stay."""
    simulator.bans.limit = _BanLimit.model_validate(body).limit
    return _bans(simulator, request, body)


def _forget_bans(simulator: SimulatorState, request: Request, body: Json) -> object:
    """Lift the bans of addresses, and restart their counts."""
    simulator.bans.forget()
    return _bans(simulator, request, body)


def _report(simulator: SimulatorState, request: Request, body: Json) -> object:
    return simulator.report.as_json()


def _reset_report(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.report = CallReport()
    return simulator.report.as_json()


def _truth(simulator: SimulatorState, request: Request, body: Json) -> object:
    """Return the true values of the days ``start`` to ``end`` (excluded) that are published by now.

    ``?series=daily,max_power`` names those wanted; without it they are ``daily`` and ``load_curve``.  For series of gas
    the path names a PCE.
    """
    query = request.query_params
    start = date.fromisoformat(query.get("start") or "")
    end = min(date.fromisoformat(query.get("end") or ""), simulator.clock.today())
    wanted = [Series(name) for name in (query.get("series") or "daily,load_curve").split(",")]
    window = DateWindow(start, end) if start < end else None
    return {series: _expected(simulator, request, series, window) for series in wanted}


def _expected(simulator: SimulatorState, request: Request, series: Series, window: DateWindow | None) -> Json:
    if series in of_supplier("grdf"):
        pce = known_pce(simulator, str(request.path_params["usage_point"]))
        return expected_gas(simulator.gas.meters.get(pce), series, window)
    return expected_values(simulator.meters.get(_usage_point(simulator, request)), series, window)


def _usage_point(simulator: SimulatorState, request: Request) -> str:
    usage_point = str(request.path_params["usage_point"])
    if not is_usage_point(usage_point):
        raise ValueError("a usage point has 14 digits")
    if not simulator.meters.knows(usage_point):
        raise ValueError("no recording of this meter: with --data, pretend homes need --pretend-homes")
    return usage_point
