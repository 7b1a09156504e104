"""Control routes of the simulator below ``/__sim__/``: faults, clock, quota, switches, report and true values.

They are ours; no path of Enedis begins like this. Those of gas, for meters, switches, rights, quota and report, are
below ``/__sim__/gas/``.

Any page that a browser shows may send requests to this machine. So without a token a request must name a host of this
machine, which a page of another site can't (its own name, though it resolved to 127.0.0.1, stands there), and changes
come as ``application/json``, which a browser sends to another site only where that allows it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_jsonable_python
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from simulator.call_gate import is_usage_point
from simulator.electricity_meters import expected_values
from simulator.gas_meters import expected_gas
from simulator.grdf_endpoints import is_pce
from simulator.running_state import (
    AUTHORIZED,
    BY_HOLDER,
    BY_SUPPLIER,
    CLIENT_CONNECT,
    OWN,
    TIERS_DIRECT,
    USUAL_LIMIT,
    AccessRight,
    CallQuota,
    CallReport,
    SimulatorState,
)
from simulator.switches import InjectedFault, SwitchModel
from worker.domain.access_right import ProofState, RightState
from worker.domain.answers import Json
from worker.domain.series import Series, of_supplier
from worker.domain.windows import PARIS, DateWindow

Action = Callable[[SimulatorState, Request, Json], object]
_BASE: Final = "/__sim__"
_JSON: Final = "application/json"
HEALTH: Final = "/health"  # It has no content, and the supervisor of the process calls it.
Scope = Literal["informatives", "publiees", "contractuelles", "techniques"]


def admin_route(simulator: SimulatorState, path: str, **actions: Action) -> Route:
    """Return a route with one action for each HTTP method; a wrong body is answered with 400 and the reason."""

    async def endpoint(request: Request) -> JSONResponse:
        # Starlette adds HEAD to every GET, and the server leaves its body out.
        action = actions["GET" if request.method == "HEAD" else request.method]
        if refusal := path != HEALTH and _refuse(simulator.options.admin_token, request):
            return refusal
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


def _refuse(token: str | None, request: Request) -> JSONResponse | None:
    """Return the refusal of a request that may not control the simulator, or None."""
    if token is not None:
        sent = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not secrets.compare_digest(sent.encode(), token.encode()):
            reason = "send Authorization: Bearer TOKEN, with the token of --admin-token or the one printed at the start"
            return JSONResponse({"error": reason}, 401, {"WWW-Authenticate": "Bearer"})
    elif not is_loopback(_host_of(request)):
        return JSONResponse(
            {"error": "without --admin-token, /__sim__/ works from this machine only: use 127.0.0.1"}, 403
        )
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method == "POST" and kind != _JSON:
        return JSONResponse({"error": f"send JSON, with Content-Type: {_JSON}"}, 415)
    return None


def _host_of(request: Request) -> str:
    """Return the host that the request names, without its port."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, judged by its name only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _DailyLimits(SwitchModel):
    per_second: int | None = None
    per_day: int | None = None


class _NewRight(SwitchModel):
    """A right that exists from the start; without days, it has the longest possible."""

    pce: str
    state: RightState = RightState.ACTIVE
    role: Literal["AUTORISE_CONTRAT_FOURNITURE", "DETENTEUR_CONTRAT_FOURNITURE"] = OWN
    parcours: Literal["TIERS_DIRECT", "CLIENT_CONNECT"] = TIERS_DIRECT
    first_day: date | None = None
    last_day: date | None = None
    data_from: date | None = None
    covers: tuple[Scope, ...] = ("informatives", "publiees", "contractuelles", "techniques")


class _Action(SwitchModel):
    """What happens to a right; ``by``: who ends it, ``until``: the last day for the requested proof."""

    do: Literal[
        "accept",
        "refuse",
        "revoke",
        "make_obsolete",
        "recheck",
        "expire",
        "ask_proof",
        "accept_proof",
        "reject_proof",
    ]
    by: Literal["TITULAIRE", "GRDF", "TIERS"] | None = None
    until: date | None = None


def gas_admin_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes below ``/__sim__/gas/``."""
    return [
        admin_route(simulator, "/gas/switches", GET=_gas_switches, POST=_set_gas_switches, DELETE=_reset_gas_switches),
        admin_route(
            simulator,
            "/gas/meters/{pce}",
            GET=_gas_meter,
            POST=_set_gas_meter,
            DELETE=_reset_gas_meter,
        ),
        admin_route(simulator, "/gas/rights", GET=_rights, POST=_add_right, DELETE=_clear_rights),
        admin_route(simulator, "/gas/rights/{right}", GET=_right, POST=_change_right),
        admin_route(simulator, "/gas/quota", GET=_gas_quota, POST=_set_gas_quota),
        admin_route(simulator, "/gas/report", GET=_gas_report, DELETE=_reset_gas_report),
    ]


def known_pce(simulator: SimulatorState, pce: str) -> str:
    """Return the PCE.  Raises ValueError for one that is malformed or unknown."""
    if not is_pce(pce):
        raise ValueError("a PCE has 14 digits, or GI and 6 digits")
    if not simulator.gas.meters.knows(pce) and not simulator.gas.meters.switches_of(pce).unknown:
        raise ValueError("no recording of this PCE: with --data, pretend homes need --pretend-homes")
    return pce


def _gas_switches(simulator: SimulatorState, request: Request, body: Json) -> object:
    return simulator.gas.switches


def _set_gas_switches(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.gas.switches = simulator.gas.switches.with_changes(body)
    return simulator.gas.switches


def _reset_gas_switches(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.gas.switches = type(simulator.gas.switches)()
    return simulator.gas.switches


def _gas_meter(simulator: SimulatorState, request: Request, body: Json) -> object:
    """Return the switches of a meter, the postcode that a declaration must name, and how the meter is read."""
    meter = simulator.gas.meters.get(known_pce(simulator, str(request.path_params["pce"])))
    cuts = meter.cuts
    return meter.switches.model_dump() | {
        "postcode": meter.postcode,
        "frequency": meter.frequency,
        "reading_day": cuts.reading_day,
        "activated_on": meter.activated_on,
        "communicating_from": cuts.communicating_from,
        "annual_reference": meter.annual_reference,
    }


def _set_gas_meter(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.gas.meters.change_switches(known_pce(simulator, str(request.path_params["pce"])), body)
    return _gas_meter(simulator, request, body)


def _reset_gas_meter(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.gas.meters.reset_switches(known_pce(simulator, str(request.path_params["pce"])))
    return _gas_meter(simulator, request, body)


def _rights(simulator: SimulatorState, request: Request, body: Json) -> object:
    """Return all rights, oldest first; ``?pce=`` those of one meter."""
    rights, pce = simulator.gas.rights.all(sandbox=True), request.query_params.get("pce")
    return [_shown(right) for right in rights if pce in (None, right.pce)]


def _add_right(simulator: SimulatorState, request: Request, body: Json) -> object:
    new = _NewRight.model_validate_json(json.dumps(body))
    right = AccessRight(
        pce=known_pce(simulator, new.pce),
        created_at=simulator.clock.now(),
        state=new.state,
        role=new.role,
        journey=new.parcours,
        covers=frozenset(new.covers),
        company="EXEMPLE SARL",
    )
    right.first_day, right.last_day = new.first_day or right.first_day, new.last_day or right.last_day
    right.data_from = new.data_from or right.data_from
    return _shown(simulator.gas.rights.add(right))


def _clear_rights(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.gas.rights.clear()
    return _rights(simulator, request, body)


def _right(simulator: SimulatorState, request: Request, body: Json) -> object:
    return _shown(_find(simulator, request))


def _change_right(simulator: SimulatorState, request: Request, body: Json) -> object:
    """Let something happen to a right: ``{"do": "accept"}``, or ``{"do": "revoke", "by": "TITULAIRE"}``."""
    right, action = _find(simulator, request), _Action.model_validate_json(json.dumps(body))
    now = simulator.clock.now()
    if action.do == "accept":
        right.end(RightState.ACTIVE, None, now)
    elif action.do in _ENDS:
        state, usual = _ENDS[action.do]
        right.end(state, action.by or usual, now)
    elif action.do == "expire":
        right.end(RightState.OBSOLETE, None, now)
    elif action.do == "ask_proof":
        simulator.gas.rights.ask_proof(right, action.until)
    else:
        right.proof = ProofState.ACCEPTED if action.do == "accept_proof" else ProofState.REJECTED
    return _shown(right)


# What ends a right, with who usually does it.
_ENDS: Final[Mapping[str, tuple[RightState, str]]] = {
    "refuse": (RightState.REFUSED, BY_HOLDER),
    "revoke": (RightState.REVOKED, BY_HOLDER),
    "make_obsolete": (RightState.OBSOLETE, BY_SUPPLIER),
    "recheck": (RightState.TO_CHECK, BY_SUPPLIER),
}


def _find(simulator: SimulatorState, request: Request) -> AccessRight:
    """Return the right with the id in the path, or the newest one of the PCE there.  Raises ValueError."""
    name = str(request.path_params["right"])
    rights = simulator.gas.rights.of_pce(name, sandbox=True) if is_pce(name) else [simulator.gas.rights.find(name)]
    if not rights or rights[0] is None:
        raise ValueError("no such right: give its id, or the PCE of a declared one")
    return rights[0]


def _shown(right: AccessRight) -> Json:
    return {
        "id": right.id,
        "pce": right.pce,
        "state": right.state,
        "role": right.role,
        "parcours": right.journey,
        "first_day": right.first_day,
        "last_day": right.last_day,
        "data_from": right.data_from,
        "covers": sorted(right.covers),
        "created_at": right.created_at,
        "mailed_at": right.mailed_at if right.role == AUTHORIZED and right.journey != CLIENT_CONNECT else None,
        "ended_by": right.ended_by,
        "proof": right.proof,
        "proof_until": right.proof_until,
        "proofs": right.proofs,
    }


def _gas_quota(simulator: SimulatorState, request: Request, body: Json) -> object:
    return _DailyLimits(per_second=simulator.gas.quota.per_second, per_day=simulator.gas.quota.per_day)


def _set_gas_quota(simulator: SimulatorState, request: Request, body: Json) -> object:
    """Set the quota, reset the count: ``{"per_second": 1, "per_day": 6000}``; null or a missing field is no limit."""
    limits = _DailyLimits.model_validate(body or {})
    simulator.gas.quota = CallQuota(per_second=limits.per_second, per_day=limits.per_day)
    return limits


def _gas_report(simulator: SimulatorState, request: Request, body: Json) -> object:
    return simulator.gas.report.as_json()


def _reset_gas_report(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.gas.report = CallReport()
    return simulator.gas.report.as_json()


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
    """Refuse every access token from now on, of gas and RTE too; with ``?refresh=1`` every refresh token too."""
    simulator.tokens.expire_access_tokens()
    simulator.gas.tokens.expire_access_tokens()
    simulator.rte_tokens.expire_access_tokens()
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
