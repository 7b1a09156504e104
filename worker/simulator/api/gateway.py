"""Gateway of the simulated supplier: counts calls, applies injected faults, checks token, subscription and quota."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import anyio
from starlette.requests import Request
from starlette.responses import Response

from worker.simulator.api.errors import NOT_SUBSCRIBED, Generation, to_bad_token_response, to_throttled_response
from worker.simulator.api.requests import usage_point_of
from worker.simulator.consents import Consent
from worker.simulator.faults import InjectedFault
from worker.simulator.quota import ReachedLimit
from worker.simulator.state import SimulatorState

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class SupplierCaller:
    """Caller of an endpoint: a user with a consent, or the application, without one."""

    consent: Consent | None = None


def wrap_in_gateway(
    simulator: SimulatorState, handler: Handler, path: str, generation: Generation, api: str | None = None
) -> Handler:
    """Return ``handler`` with call counts and injected faults; ``api`` names the quota that counts its calls."""

    async def endpoint(request: Request) -> Response:
        usage_point = usage_point_of(query_parameters(request)) or request.path_params.get("prm")
        simulator.report.add_call(path, usage_point, api, simulator.clock.now())
        fault = simulator.faults.take(request.url.path, usage_point)
        response = await _answer_with_fault(simulator, handler, request, generation, fault)
        simulator.report.add_status(response.status_code)
        return response

    return endpoint


async def _answer_with_fault(
    simulator: SimulatorState, handler: Handler, request: Request, generation: Generation, fault: InjectedFault | None
) -> Response:
    if fault is None:
        return await handler(request)
    if fault.wait_s:
        await anyio.sleep(fault.wait_s)
    if (response := _canned_response(simulator, generation, fault)) is not None:
        return response
    response = await handler(request)
    return fault.corrupt(response) if fault.corrupts_response else response


def _canned_response(simulator: SimulatorState, generation: Generation, fault: InjectedFault) -> Response | None:
    if fault.kind == "throttled":
        return _throttle(simulator, generation, ReachedLimit.hourly(simulator.clock.now()))
    if fault.kind == "bad_token":
        return to_bad_token_response(generation)
    return fault.canned_response(generation)


def authorize_call(
    simulator: SimulatorState, request: Request, generation: Generation, api: str
) -> SupplierCaller | Response:
    """Return the caller, or the gateway's refusal; checks the token, then the subscription, then the quota."""
    caller = _identify_caller(simulator, request, generation)
    if caller is None:
        return to_bad_token_response(generation)
    if api in simulator.switches.unsubscribed:
        return NOT_SUBSCRIBED.respond(generation)
    limit = simulator.quota.take(api, simulator.clock.now())
    return caller if limit is None else _throttle(simulator, generation, limit)


def _throttle(simulator: SimulatorState, generation: Generation, limit: ReachedLimit) -> Response:
    return to_throttled_response(
        generation, limit.per_second, limit.opens_at, simulator.clock.now(), simulator.switches.sla_wording
    )


def _identify_caller(simulator: SimulatorState, request: Request, generation: Generation) -> SupplierCaller | None:
    """Return the caller behind the token, or None; v4 accepts only users' tokens, the others the application's."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    if generation is Generation.V4:
        consent = simulator.tokens.consent_of_user_token(token.strip())
        return SupplierCaller(consent) if consent is not None else None
    return SupplierCaller() if simulator.tokens.is_application_token(token.strip()) else None


def query_parameters(request: Request) -> Mapping[str, str]:
    """Return the parameters of the URL; where a name comes several times, the last value."""
    return dict(request.query_params)
