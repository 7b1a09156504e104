"""The supplier's gateway: counts every call, plays the faults on order, checks token, subscription and quota."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import anyio
from starlette.requests import Request
from starlette.responses import Response

from worker.simulator.api.errors import NOT_SUBSCRIBED, Generation, bad_token, throttled
from worker.simulator.api.requests import usage_point_of
from worker.simulator.consents import Consent
from worker.simulator.faults import InjectedFault
from worker.simulator.quota import Limit
from worker.simulator.state import SimulatorState

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class SupplierCaller:
    """Who calls: a user, by the consent behind the token, or the application as such."""

    consent: Consent | None = None


def behind_gateway(
    world: SimulatorState, handler: Handler, path: str, generation: Generation, api: str | None = None
) -> Handler:
    """``handler`` as it is reached from outside; ``api`` names the quota that its calls are counted under."""

    async def endpoint(request: Request) -> Response:
        usage_point = usage_point_of(single_parameters(request)) or request.path_params.get("prm")
        world.report.add_call(path, usage_point, api, world.clock.now())
        fault = world.faults.take(request.url.path, usage_point)
        response = await _answer(world, handler, request, generation, fault)
        world.report.add_status(response.status_code)
        return response

    return endpoint


async def _answer(
    world: SimulatorState, handler: Handler, request: Request, generation: Generation, fault: InjectedFault | None
) -> Response:
    if fault is None:
        return await handler(request)
    if fault.wait_s:
        await anyio.sleep(fault.wait_s)
    if (canned := _canned(world, generation, fault)) is not None:
        return canned
    response = await handler(request)
    return fault.spoil(response) if fault.spoils else response


def _canned(world: SimulatorState, generation: Generation, fault: InjectedFault) -> Response | None:
    if fault.kind == "throttled":
        return _too_many(world, generation, Limit.of_hour(world.clock.now()))
    if fault.kind == "bad_token":
        return bad_token(generation)
    return fault.canned(generation)


def let_through(world: SimulatorState, request: Request, generation: Generation, api: str) -> SupplierCaller | Response:
    """The caller, or the gateway's refusal: token first, then subscription, then quota."""
    caller = _caller(world, request, generation)
    if caller is None:
        return bad_token(generation)
    if api in world.switches.unsubscribed:
        return NOT_SUBSCRIBED.respond(generation)
    limit = world.quota.take(api, world.clock.now())
    return caller if limit is None else _too_many(world, generation, limit)


def _too_many(world: SimulatorState, generation: Generation, limit: Limit) -> Response:
    return throttled(generation, limit.per_second, limit.opens_at, world.clock.now(), world.switches.sla_wording)


def _caller(world: SimulatorState, request: Request, generation: Generation) -> SupplierCaller | None:
    """The oldest generation takes users' tokens alone, the others the application's."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    if generation is Generation.V4:
        consent = world.tokens.user(token.strip())
        return SupplierCaller(consent) if consent is not None else None
    return SupplierCaller() if world.tokens.application(token.strip()) else None


def single_parameters(request: Request) -> Mapping[str, str]:
    """The query; of a name that comes several times, the last."""
    return dict(request.query_params)
