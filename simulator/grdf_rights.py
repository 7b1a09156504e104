"""Endpoints of rights: declare one, list them, withdraw one, and send the proofs of a consent.

The fields of a declaration are checked in the order in which GRDF names them.

Source: GRDF, swagger of ADICT v2 (the texts and the rules); the order is inferred. The public client lowatt-grdf for
the shapes of the list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulator.call_gate import gateway_route
from simulator.enedis_refusals import Generation
from simulator.gas_meters import GasMeter
from simulator.gas_recordings import ALL_SCOPES
from simulator.grdf_endpoints import (
    API,
    BASES,
    PROOF_STATES,
    authorize_call,
    is_pce,
    is_sandbox,
    respond_with_stream,
    to_record,
    without_accents,
)
from simulator.grdf_refusals import DONE, WAITS, malformed_right, proof_refused, right_refused, treatment
from simulator.running_state import AUTHORIZED, BY_THIRD_PARTY, OWN, AccessRight, SimulatorState
from worker.domain.access_right import ProofState, RightState
from worker.domain.answers import Json

_ROLES: Final = (AUTHORIZED, OWN)  # Those of injection are not simulated.
_POSTCODE: Final = re.compile(r"[0-9]{5}", re.ASCII)
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_MOBILE: Final = re.compile(r"(?:0|\+33)[67][0-9]{8}", re.ASCII)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_FIELDS: Final = {
    "date_debut_droit_acces": "La date de début du droit d’accès",
    "date_fin_droit_acces": "La date de fin du droit d’accès",
    "perim_donnees_conso_debut": "La date de début du périmètre relatif aux données de consommation",
    "perim_donnees_conso_fin": "La date de fin du périmètre relatif aux données de consommation",
}
_LONGEST_LIST: Final = 1_000
_MOST_PROOFS: Final = 3
_LARGEST_PROOF: Final = 4 * 1024 * 1024
# What proofs may be, by their first bytes: which formats GRDF takes is [U].
_FORMATS: Final = {".pdf": b"%PDF", ".png": b"\x89PNG", ".jpg": b"\xff\xd8", ".jpeg": b"\xff\xd8"}


def declare(simulator: SimulatorState, pce: str, body: Json) -> AccessRight:
    """Return the new right that a declaration requests.  Raises Refused."""
    if not isinstance(body, dict) or not all(value is None or isinstance(value, str) for value in body.values()):
        raise malformed_right("La forme de la requête est incorrecte.")
    fields = {name: value.strip() for name, value in body.items() if value and value.strip()}
    if not simulator.gas.meters.knows(pce):
        raise right_refused("1000000006")
    meter = simulator.gas.meters.get(pce)
    if meter.switches.declaration_refusal is not None:
        raise right_refused(meter.switches.declaration_refusal)
    right = _read_right(simulator, pce, fields)
    _check_conflicts(simulator, meter, right)
    return right


def _read_right(simulator: SimulatorState, pce: str, fields: Mapping[str, str]) -> AccessRight:
    role = fields.get("role_tiers")
    if role not in _ROLES:
        raise malformed_right("Votre rôle dans la demande d'accès n'est pas renseigné.")
    name, company = fields.get("nom_titulaire"), fields.get("raison_sociale")
    if not name and not company:
        raise right_refused("1000000026")
    if name and company:
        raise right_refused("1000000026", "Seul le nom ou la raison sociale du titulaire doit être renseigné.")
    _check_contact(fields, role)
    first_day, last_day, data_from, data_to = (_read_day(fields, field) for field in _FIELDS)
    return AccessRight(
        pce=pce,
        created_at=simulator.clock.now(),
        state=RightState.ACTIVE if role == OWN else RightState.PENDING,
        role=role,
        name=name,
        company=company,
        email=fields.get("courriel_titulaire"),
        phone=fields.get("numero_telephone_mobile_titulaire"),
        postcode=fields["code_postal"],
        first_day=first_day,
        last_day=last_day,
        data_from=data_from,
        data_to=data_to,
        covers=frozenset(scope for scope in ALL_SCOPES if _read_flag(fields, scope)),
    )


def _check_contact(fields: Mapping[str, str], role: str) -> None:
    postcode, email = fields.get("code_postal"), fields.get("courriel_titulaire")
    mobile = fields.get("numero_telephone_mobile_titulaire")
    rules = {
        "Le code postal n'est pas renseigné.": not postcode,
        "Le format du code postal est incorrect.": bool(postcode) and not _POSTCODE.fullmatch(postcode or ""),
        # Without an address nobody could be asked; the holder of an own contract is not asked.
        "Le courriel du titulaire n'est pas renseigné.": not email and role == AUTHORIZED,
        "Le format du courriel du titulaire est incorrect.": bool(email) and not _EMAIL.fullmatch(email or ""),
        "Le numéro de téléphone mobile du titulaire renseigné n'est pas correctement formaté.": bool(mobile)
        and not _MOBILE.fullmatch(mobile or ""),
    }
    for text, is_broken in rules.items():
        if is_broken:
            raise malformed_right(text)


def _read_day(fields: Mapping[str, str], name: str) -> date:
    text = fields.get(name, "")
    try:
        return date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError:
        raise malformed_right(
            f"{_FIELDS[name]} est obligatoire et doit être renseignée au format YYYY-MM-DD."
        ) from None


def _read_flag(fields: Mapping[str, str], scope: str) -> bool:
    flag = fields.get(f"perim_donnees_{scope}", "").lower()
    if flag not in ("vrai", "faux"):
        name = scope.replace("publiees", "publiées")
        raise malformed_right(f"Le périmètre d'accès aux données {name} doit être renseigné à Vrai ou Faux.")
    return flag == "vrai"


def _check_conflicts(simulator: SimulatorState, meter: GasMeter, right: AccessRight) -> None:
    today = simulator.clock.today()
    if meter.switches.contract_ended:
        raise right_refused("1000000004")
    if right.postcode != meter.postcode:
        raise right_refused("1000000005")
    others = [one for one in simulator.gas.rights.of_pce(meter.pce) if one.is_open and one.role == right.role]
    if others:
        waits = others[0].state is RightState.PENDING
        raise right_refused(
            "1000000003", "La demande d'accès est en attente de la validation du titulaire du PCE." if waits else None
        )
    incoherent = {
        f"{_FIELDS['date_fin_droit_acces']} doit être supérieure ou égale à la date du jour.": right.last_day < today,
        f"{_FIELDS['date_debut_droit_acces']} doit être inférieure ou égale à la date du jour.": right.first_day
        > today,
        f"{_FIELDS['perim_donnees_conso_debut']} doit être inférieure ou égale à la date du jour.": right.data_from
        > today,
        "La date de fin du périmètre doit être supérieure ou égale à sa date de début.": right.data_to
        < right.data_from,
        "La date de fin du périmètre doit être inférieure ou égale à la date de fin du droit d’accès.": right.data_to
        > right.last_day,
    }
    for text, is_broken in incoherent.items():
        if is_broken:
            raise right_refused("1000000022", text)


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
