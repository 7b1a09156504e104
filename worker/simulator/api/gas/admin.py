"""Control routes of gas below ``/__sim__/gas/``: meters, switches, rights, quota and report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Final, Literal

from starlette.requests import Request
from starlette.routing import Route

from worker.domain.consent.rights import ProofState, RightState
from worker.domain.measures.answers import Json
from worker.simulator.api.admin_routes import admin_route
from worker.simulator.api.gas.requests import is_pce
from worker.simulator.quota import CallQuota, CallReport
from worker.simulator.rights import (
    AUTHORIZED,
    BY_HOLDER,
    BY_SUPPLIER,
    CLIENT_CONNECT,
    OWN,
    TIERS_DIRECT,
    AccessRight,
)
from worker.simulator.state import SimulatorState
from worker.simulator.switches import SwitchModel

Scope = Literal["informatives", "publiees", "contractuelles", "techniques"]


class _DailyLimits(SwitchModel):
    per_second: int | None = None
    per_day: int | None = None


class _NewRight(SwitchModel):
    """A right that is simply there; its days reach as far as they can where they are not named."""

    pce: str
    state: RightState = RightState.ACTIVE
    role: Literal["AUTORISE_CONTRAT_FOURNITURE", "DETENTEUR_CONTRAT_FOURNITURE"] = OWN
    parcours: Literal["TIERS_DIRECT", "CLIENT_CONNECT"] = TIERS_DIRECT
    first_day: date | None = None
    last_day: date | None = None
    data_from: date | None = None
    covers: tuple[Scope, ...] = ("informatives", "publiees", "contractuelles", "techniques")


class _Action(SwitchModel):
    """What happens to a right; ``by``: who ends it, ``until``: the last day for the proof that is asked for."""

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
        admin_route(simulator, "/gas/switches", GET=_switches, POST=_set_switches, DELETE=_reset_switches),
        admin_route(simulator, "/gas/meters/{pce}", GET=_meter, POST=_set_meter, DELETE=_reset_meter),
        admin_route(simulator, "/gas/rights", GET=_rights, POST=_add_right, DELETE=_clear_rights),
        admin_route(simulator, "/gas/rights/{right}", GET=_right, POST=_change_right),
        admin_route(simulator, "/gas/quota", GET=_quota, POST=_set_quota),
        admin_route(simulator, "/gas/report", GET=_report, DELETE=_reset_report),
    ]


def known_pce(simulator: SimulatorState, pce: str) -> str:
    """Return the PCE.  Raises ValueError for one that is malformed or unknown."""
    if not is_pce(pce):
        raise ValueError("a PCE has 14 digits, or GI and 6 digits")
    if not simulator.gas.meters.knows(pce) and not simulator.gas.meters.switches_of(pce).unknown:
        raise ValueError("no recording of this PCE: with --data, pretend homes need --pretend-homes")
    return pce


def _switches(simulator: SimulatorState, request: Request, body: Json) -> object:
    return simulator.gas.switches


def _set_switches(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.gas.switches = simulator.gas.switches.with_changes(body)
    return simulator.gas.switches


def _reset_switches(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.gas.switches = type(simulator.gas.switches)()
    return simulator.gas.switches


def _meter(simulator: SimulatorState, request: Request, body: Json) -> object:
    """Return the switches of a meter, and what it is: the postcode that a declaration must name, and how it is read."""
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


def _set_meter(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.gas.meters.change_switches(known_pce(simulator, str(request.path_params["pce"])), body)
    return _meter(simulator, request, body)


def _reset_meter(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.gas.meters.reset_switches(known_pce(simulator, str(request.path_params["pce"])))
    return _meter(simulator, request, body)


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


def _quota(simulator: SimulatorState, request: Request, body: Json) -> object:
    return _DailyLimits(per_second=simulator.gas.quota.per_second, per_day=simulator.gas.quota.per_day)


def _set_quota(simulator: SimulatorState, request: Request, body: Json) -> object:
    """Set the quota, reset the count: ``{"per_second": 1, "per_day": 6000}``; null or a missing field is no limit."""
    limits = _DailyLimits.model_validate(body or {})
    simulator.gas.quota = CallQuota(per_second=limits.per_second, per_day=limits.per_day)
    return limits


def _report(simulator: SimulatorState, request: Request, body: Json) -> object:
    return simulator.gas.report.as_json()


def _reset_report(simulator: SimulatorState, request: Request, body: Json) -> object:
    simulator.gas.report = CallReport()
    return simulator.gas.report.as_json()
