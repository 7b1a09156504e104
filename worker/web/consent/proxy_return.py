"""The proxy's way back: from the supplier's page on to the caller, with the caller's own state.

v4's code is the supplier's and goes on as it is.  The later generations send none that can be exchanged, and the
caller's code flow needs one (semantics, 6.1): it gets a code of ours, which stands for what the callback said.
Nobody is let in here and nothing is kept of the meter but that, sealed, for a quarter of an hour.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from fastapi import Response
from fastapi.responses import RedirectResponse

from worker.clients.enedis.consent import Callback
from worker.errors import WorkerError
from worker.runtime.process import Runtime
from worker.stores.redis.consent_flows import ConsentFlow, ConsentFlows


def forward(runtime: Runtime, handshakes: ConsentFlows, callback: Callback) -> Response | None:
    """To the caller; None where another request has taken the state at this moment."""
    taken = handshakes.take(callback.state)
    if taken is None:
        return None
    address = _address(runtime, handshakes, taken, callback)
    handshakes.finish(callback.state, "", {"to": runtime.sealer.seal(address)})
    return RedirectResponse(address, 302)


def forward_again(runtime: Runtime, handshakes: ConsentFlows, state: str) -> Response | None:
    """The same callback once more gets the same answer; None where it was no caller's."""
    outcome = handshakes.outcome(state, "")
    if not outcome:
        return None
    return RedirectResponse(runtime.sealer.unseal(outcome["to"]), 302)


def hand_over(runtime: Runtime, handshakes: ConsentFlows, facts: dict[str, Any]) -> str:
    return handshakes.hand_over({"sealed": runtime.sealer.seal(json.dumps(facts))})


def redeem(runtime: Runtime, handshakes: ConsentFlows, code: str) -> dict[str, Any] | None:
    """What a code of ours stands for, once."""
    found = handshakes.redeem(code)
    if found is None:
        return None
    try:
        facts: dict[str, Any] = json.loads(runtime.sealer.unseal(found["sealed"]))
    except WorkerError:  # sealed under a key that is gone: the person goes through the page again
        return None
    return facts


def unredeem(runtime: Runtime, handshakes: ConsentFlows, code: str, facts: dict[str, Any]) -> None:
    handshakes.unredeem(code, {"sealed": runtime.sealer.seal(json.dumps(facts))})


def _address(runtime: Runtime, handshakes: ConsentFlows, handshake: ConsentFlow, callback: Callback) -> str:
    target = str(handshake.redirect_uri)
    query = {"state": handshake.caller_state or "", **_answer(runtime, handshakes, target, callback)}
    return f"{target}{'&' if '?' in target else '?'}{urlencode(query)}"


def _answer(runtime: Runtime, handshakes: ConsentFlows, target: str, callback: Callback) -> dict[str, str]:
    if callback.failure or (runtime.account_tokens and callback.code is None):
        return {"error": callback.failure or "server_error", "error_description": "the consent was not given"}
    told = {"usage_point_id": ",".join(callback.usage_points), "autorisation_id": str(callback.autorisation_id or "")}
    named = {name: value for name, value in told.items() if value}
    if runtime.account_tokens:
        return {"code": str(callback.code), **named}
    facts = {
        "usage_points": list(callback.usage_points),
        "autorisation_id": callback.autorisation_id,
        "redirect_uri": target,
    }
    return {"code": hand_over(runtime, handshakes, facts), **named}
