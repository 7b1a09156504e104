"""Records of rights, as GRDF lists them, with its spellings and its typing error.

Source: GRDF, swagger of ADICT v2; a recorded list of the public client lowatt-grdf for the key with the typing error.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import date, datetime
from typing import Final

from worker.domain.consent.rights import ProofState, RightState
from worker.domain.measures.answers import Json
from worker.domain.measures.readings import PARIS
from worker.simulator.gas_switches import GasServiceSwitches
from worker.simulator.rights import AccessRight

STATES: Final[Mapping[RightState, str]] = {
    RightState.ACTIVE: "Active",
    RightState.PENDING: "A valider",
    RightState.REVOKED: "Révoquée",
    RightState.TO_CHECK: "A revérifier",
    RightState.OBSOLETE: "Obsolète",
    RightState.REFUSED: "Refusée",
}
PROOF_STATES: Final[Mapping[ProofState, str]] = {
    ProofState.AWAITED: "Preuve en attente",
    ProofState.IN_REVIEW: "Preuve en cours de vérification",
    ProofState.ACCEPTED: "Preuve Vérifiée OK",
    ProofState.REJECTED: "Preuve Vérifiée KO",
}
_SCOPES: Final = ("informatives", "contractuelles", "techniques", "publiees")


def to_record(right: AccessRight, switches: GasServiceSwitches) -> dict[str, Json]:
    """Return a right as a flat record."""
    flags = {f"perim_donnees_{scope}": _flag(scope in right.covers, switches) for scope in _SCOPES}
    if switches.key_typo:
        flags["perim_donnees_techniques:"] = flags.pop("perim_donnees_techniques")
    return {
        "id_droit_acces": right.id,
        "id_pce": right.pce,
        "role_tiers": right.role,
        "raison_sociale_du_tiers": "TIERS D'ESSAI",
        "nom_titulaire": right.name,
        "raison_sociale_du_titulaire": right.company,
        "courriel_titulaire": right.email,
        "code_postal": right.postcode,
        "numero_telephone_mobile_titulaire": right.phone,
        **flags,
        "perim_donnees_conso_debut": str(right.data_from),
        "perim_donnees_conso_fin": str(right.data_to),
        "perim_donnees_inj_debut": None,
        "perim_donnees_inj_fin": None,
        "date_creation": _stamp(right.created_at),
        "date_debut_droit_acces": str(right.first_day),
        "date_fin_droit_acces": str(right.last_day),
        "date_fin_autorisation": f"{right.last_day} 00:00:00",
        "etat_droit_acces": state_text(right.state, switches),
        **_end(right, RightState.REVOKED, "date_revocation", "source_revocation"),
        **_end(right, RightState.OBSOLETE, "date_passage_a_obsolete", "source_passage_a_obsolete"),
        **_end(right, RightState.REFUSED, "date_passage_a_refuse", "source_passage_a_refuse"),
        "parcours": right.journey,
        "statut_controle_preuve": right.proof and _spelled(PROOF_STATES[right.proof], switches),
        "date_limite_transmission_preuve": _day(right.proof_until),
    }


def state_text(state: RightState, switches: GasServiceSwitches) -> str:
    """Return a state in GRDF's words, spelled as the switch says."""
    text = STATES[state]
    return f"À{text[1:]}" if switches.states == "accents" and text.startswith("A ") else _spelled(text, switches)


def without_accents(text: str) -> str:
    """Return a text without its accents."""
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def _spelled(text: str, switches: GasServiceSwitches) -> str:
    return without_accents(text) if switches.states == "plain" else text


def _flag(is_covered: bool, switches: GasServiceSwitches) -> str:
    word = "Vrai" if is_covered else "Faux"
    return {"title": word, "upper": word.upper(), "lower": word.lower()}[switches.flags]


def _end(right: AccessRight, state: RightState, date_name: str, source_name: str) -> dict[str, Json]:
    is_it = right.state is state
    return {
        date_name: _stamp(right.ended_at) if is_it and right.ended_at else None,
        source_name: (right.ended_by or "GRDF") if is_it else None,
    }


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(PARIS):%Y-%m-%d %H:%M:%S}"


def _day(day: date | None) -> str | None:
    return None if day is None else str(day)
