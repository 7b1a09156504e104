"""Gateway of the simulated supplier: counts calls, applies injected faults, checks token and quota."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.simulator.api.errors import ERROR_TABLE, Generation, Refusal, Refused, throttled
from worker.simulator.api.requests import usage_point_of
from worker.simulator.consents import Consent
from worker.simulator.faults import take_fault
from worker.simulator.quota import ReachedLimit
from worker.simulator.state import SimulatorState

Handler = Callable[[Request], Awaitable[Response]]


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


def authorize_call(simulator: SimulatorState, request: Request, generation: Generation, api: str) -> Consent | None:
    """Return the consent of a user's token, which v4 asks for, or None for the application's.

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
