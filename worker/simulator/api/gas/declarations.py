"""Declarations of a right: the fields that GRDF checks, in the order in which it names them.

Source: GRDF, swagger of ADICT v2 (the texts and the rules); the order is inferred.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Final

from worker.domain.consent.rights import RightState
from worker.domain.measures.answers import Json
from worker.simulator.api.gas.refusals import malformed_right, right_refused
from worker.simulator.homes.gas.meters import GasMeter
from worker.simulator.homes.gas.sandbox import ALL_SCOPES
from worker.simulator.rights import AUTHORIZED, OWN, AccessRight
from worker.simulator.state import SimulatorState

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


def declare(simulator: SimulatorState, pce: str, body: Json) -> AccessRight:
    """Return the new right that a declaration asks for.  Raises Refused."""
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
