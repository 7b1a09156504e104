"""The proxy's redirect of a supplier's callback to the caller, with the caller's own state.

With v4 the caller gets the supplier's code as it is. v5 and 2026 send no code that can be exchanged, but the caller's
OAuth flow needs one: it gets a code of ours, which stands for the facts of the callback. No browser session is opened
here. The facts are stored encrypted, for a quarter of an hour.
"""

from __future__ import annotations

import json
from urllib.parse import urlencode

from fastapi import Response
from fastapi.responses import RedirectResponse

from worker.clients.enedis.consent import Callback
from worker.runtime.process import Runtime
from worker.stores.redis.consent_flows import ConsentFlow, ConsentFlows


def forward_callback(runtime: Runtime, flows: ConsentFlows, callback: Callback) -> Response | None:
    """Redirect to the caller. Return None where another request has just taken the state."""
    flow = flows.take(callback.state)
    if flow is None:
        return None
    address = _return_address(runtime, flows, flow, callback)
    flows.keep_redirect(callback.state, runtime.sealer.seal(address))
    return RedirectResponse(address, 302)


def repeat_forward(runtime: Runtime, flows: ConsentFlows, state: str) -> Response | None:
    """Answer a repeated callback with the same redirect. Return None where it wasn't a caller's."""
    sealed_address = flows.find_redirect(state)
    return None if sealed_address is None else RedirectResponse(runtime.sealer.unseal(sealed_address), 302)


def _return_address(runtime: Runtime, flows: ConsentFlows, flow: ConsentFlow, callback: Callback) -> str:
    target = str(flow.redirect_uri)
    query = {"state": flow.caller_state or "", **_return_parameters(runtime, flows, target, callback)}
    return f"{target}{'&' if '?' in target else '?'}{urlencode(query)}"


def _return_parameters(runtime: Runtime, flows: ConsentFlows, target: str, callback: Callback) -> dict[str, str]:
    if callback.failure or (runtime.clients.account_tokens and callback.code is None):
        return {"error": callback.failure or "server_error", "error_description": "the consent was not given"}
    ids = {"usage_point_id": ",".join(callback.usage_points), "autorisation_id": str(callback.autorisation_id or "")}
    parameters = {name: value for name, value in ids.items() if value}
    if runtime.clients.account_tokens:
        return {"code": str(callback.code), **parameters}
    facts = {
        "usage_points": list(callback.usage_points),
        "autorisation_id": callback.autorisation_id,
        "redirect_uri": target,
    }
    return {"code": flows.issue_code(runtime.sealer.seal(json.dumps(facts))), **parameters}
