"""Endpoints of rights: declare one, list them, withdraw one, and send the proofs of a consent.

Source: GRDF, swagger of ADICT v2; the public client lowatt-grdf for the shapes of the list.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.domain.consent.rights import ProofState, RightState
from worker.domain.measures.answers import Json
from worker.simulator.api.errors import Generation
from worker.simulator.api.gas.bodies import respond_with_stream
from worker.simulator.api.gas.declarations import declare
from worker.simulator.api.gas.refusals import (
    DONE,
    WAITS,
    malformed_right,
    proof_refused,
    right_refused,
    treatment,
)
from worker.simulator.api.gas.requests import API, BASES, authorize_call, is_pce, is_sandbox
from worker.simulator.api.gas.rights_bodies import PROOF_STATES, to_record, without_accents
from worker.simulator.api.gateway import gateway_route
from worker.simulator.rights import BY_THIRD_PARTY, AccessRight
from worker.simulator.state import SimulatorState

_LONGEST_LIST: Final = 1_000
_MOST_PROOFS: Final = 3
_LARGEST_PROOF: Final = 4 * 1024 * 1024
# What proofs may be, by their first bytes: which formats GRDF takes is [U].
_FORMATS: Final = {".pdf": b"%PDF", ".png": b"\x89PNG", ".jpg": b"\xff\xd8", ".jpeg": b"\xff\xd8"}


def right_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of rights, of production and sandbox."""

    async def put(request: Request) -> Response:
        authorize_call(simulator, request)
        pce, body = str(request.path_params["pce"]), await _read_json(request)
        if not is_pce(pce):
            raise malformed_right("Le format du PCE est incorrect.")
        right = declare(simulator, pce, body)
        told = to_record(right, simulator.gas.switches)  # As it is before the holder does anything.
        right.sandbox = is_sandbox(request)
        code = WAITS if right.state is RightState.PENDING else DONE
        simulator.gas.rights.add(right)
        keys = ("id_droit_acces", "id_pce", "etat_droit_acces", "parcours")
        answer = {**body, **{key: told[key] for key in keys}, "date_creation_droit_acces": told["date_creation"]}
        return JSONResponse({**answer, **treatment(code)}, 201)

    async def listing(request: Request) -> Response:
        authorize_call(simulator, request)
        filters = await _read_json(request) if request.method == "POST" else {}
        rights = _chosen(simulator, _checked_filters(filters), is_sandbox(request))
        return _respond_with_rights(simulator, rights)

    async def patch(request: Request) -> Response:
        authorize_call(simulator, request)
        right = _find(simulator, request)
        if not right.is_open:
            raise right_refused("2000000003")
        right.end(RightState.REVOKED, BY_THIRD_PARTY, simulator.clock.now())
        return JSONResponse(treatment(DONE))

    async def proofs(request: Request) -> Response:
        authorize_call(simulator, request)
        right = _find(simulator, request)
        await _check_proofs(simulator, request, right)
        return JSONResponse(treatment(DONE))

    handlers = {
        "/pce/{pce}/droit_acces": (["PUT"], put),
        "/droits_acces": (["GET", "POST"], listing),
        "/droit_acces/{right}": (["PATCH"], patch),
        "/droit_acces/{right}/preuves": (["PUT"], proofs),
    }
    return [
        gateway_route(simulator, methods, base + path, handler, Generation.ADICT, API)
        for base in BASES
        for path, (methods, handler) in handlers.items()
    ]


async def _read_json(request: Request) -> Json:
    try:
        return json.loads(await request.body() or b"{}")
    except ValueError:
        raise malformed_right("La forme de la requête est incorrecte.") from None


def _find(simulator: SimulatorState, request: Request) -> AccessRight:
    right = simulator.gas.rights.find(str(request.path_params["right"]))
    if right is None:
        raise right_refused("1000000001")
    return right


def _checked_filters(body: Json) -> Mapping[str, Sequence[str]]:
    names = ("id_pce", "role_tiers", "etat_droit_acces", "statut_controle_preuve")
    if not isinstance(body, dict) or not body.keys() <= set(names):
        raise malformed_right("La forme de la requête est incorrecte.")
    filters = {name: value for name, value in body.items() if value}
    if not all(isinstance(value, list) and all(isinstance(one, str) for one in value) for value in filters.values()):
        raise malformed_right("La forme de la requête est incorrecte.")
    if len(filters.get("id_pce", ())) > _LONGEST_LIST:
        raise right_refused("2000000009")
    return filters


def _chosen(simulator: SimulatorState, filters: Mapping[str, Sequence[str]], sandbox: bool) -> list[AccessRight]:
    """Return the rights that pass all filters; accents don't count."""
    wanted = {name: {_plain(value) for value in values} for name, values in filters.items()}
    chosen = []
    for right in simulator.gas.rights.all(sandbox):
        record = to_record(right, simulator.gas.switches)
        record["statut_controle_preuve"] = right.proof and PROOF_STATES[right.proof]
        if all(_plain(record[name] or "") in values for name, values in wanted.items()):
            chosen.append(right)
    return chosen


def _plain(text: str) -> str:
    return without_accents(text).lower()


def _respond_with_rights(simulator: SimulatorState, rights: Sequence[AccessRight]) -> Response:
    switches = simulator.gas.switches
    records = [to_record(right, switches) for right in rights]
    status = treatment(DONE)
    if switches.rights == "wrapped":
        return JSONResponse({**status, "liste_acces": records})
    return respond_with_stream([*records, status], switches)


async def _check_proofs(simulator: SimulatorState, request: Request, right: AccessRight) -> None:
    """Take the proofs of a right that waits for them.  Raises Refused."""
    files: list[tuple[str, bytes]] = []
    async with request.form() as form:
        for value in form.getlist("preuves"):
            if isinstance(value, UploadFile):
                files.append((value.filename or "", await value.read()))
    if not files:
        raise malformed_right("La forme de la requête est incorrecte.")
    if simulator.gas.meters.get(right.pce).switches.contract_ended:
        raise right_refused("1000000004")
    rules = {
        "not_asked": right.proof is not ProofState.AWAITED,
        "too_many": len(files) > _MOST_PROOFS,
        "too_large": any(len(content) > _LARGEST_PROOF for _, content in files),
        "format": any(_magic_of(name) is None for name, _ in files),
        "corrupt": any(not content.startswith(_magic_of(name) or b"") for name, content in files),
    }
    for name, is_broken in rules.items():
        if is_broken:
            raise proof_refused(name)
    right.proof, right.proofs = ProofState.IN_REVIEW, right.proofs + len(files)


def _magic_of(name: str) -> bytes | None:
    return next((magic for ending, magic in _FORMATS.items() if name.lower().endswith(ending)), None)
