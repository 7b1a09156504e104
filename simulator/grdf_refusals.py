"""Refusals of GRDF ADICT: texts in the operator's own words, with their codes.

Sources: GRDF, swagger of ADICT v2 and the digest of its kit (texts, most codes); the public clients of ADICT.
A code marked [U] is unknown and invented here; a client decides on those that are known and stops at any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from simulator.enedis_refusals import Refusal, Refused
from worker.domain.answers import Json

NDJSON: Final = "application/x-ndjson"
DONE: Final = "0000000000"
WAITS: Final = "0000000002"
MOVED_OUT: Final = "1000000"
EXPIRED: Final = "1000001"
NO_RIGHT: Final = "1000002"
NO_DATA: Final = "1000008"
PROOF_REJECTED: Final = "1000011"
OBSOLETE: Final = "1000012"  # [U]
REVOKED_BY_HOLDER: Final = "1000014"
REVOKED_BY_SUPPLIER: Final = "1000016"  # [U]
REVOKED_BY_US: Final = "1000017"  # [U]
FAILED: Final = "2000100"
_SCOPE: Final = "Le périmètre des données auxquelles vous avez accès pour ce PCE ne couvre pas les données"
# Why data is refused inside of HTTP 200, as ``statut_restitution`` says it.
STATUSES: Final[Mapping[str, str]] = {
    MOVED_OUT: "Le client semble avoir déménagé et n'est plus titulaire de ce PCE, vous ne pouvez donc plus accéder à "
    "ses données.",
    EXPIRED: "Votre droit d’accès sur ce PCE a expiré. Pour continuer à accéder aux données, vous devez faire une "
    "nouvelle demande d'accès et, le cas échéant, renouveler le consentement du titulaire.",
    NO_RIGHT: "Vous n'êtes pas ou plus autorisé à consulter les données de ce PCE.",
    NO_DATA: "Il n'y a pas de données correspondant à ce PCE sur la période demandée.",
    "1000009": f"{_SCOPE} de consommations publiées.",
    "1000010": f"{_SCOPE} de consommations informatives.",
    "1000018": f"{_SCOPE} contractuelles.",  # [U]
    "1000019": f"{_SCOPE} techniques.",  # [U]
    PROOF_REJECTED: "La preuve de consentement fournie lors du contrôle opéré par GRDF n’est pas valide.",
    OBSOLETE: "GRDF a passé le droit d'accès à l'état obsolète.",
    "1000013": "Votre contrat GRDF ADICT est expiré. Veuillez prendre contact avec GRDF pour le renouveler.",  # [U]
    REVOKED_BY_HOLDER: "Le client titulaire a révoqué son consentement, vous ne pouvez plus accéder aux données de ce "
    "PCE.",
    "1000015": "Vos droits d’accès aux données des PCE ont été suspendus en raison d’une mauvaise utilisation de la "
    "plateforme. Veuillez prendre contact avec GRDF.",  # [U]
    REVOKED_BY_SUPPLIER: "GRDF a révoqué votre droit d’accès aux données de ce PCE à la demande du client titulaire.",
    REVOKED_BY_US: "Vous avez révoqué votre droit d’accès aux données de ce PCE.",
    FAILED: "Le serveur a rencontré une erreur lors de l'exécution de la requête. Veuillez retenter votre appel sur la "
    "période mentionnée ci-dessus.",
}
# The code with which data outside of what a right covers is refused.
OUT_OF_SCOPE: Final = {
    "publiees": "1000009",
    "informatives": "1000010",
    "contractuelles": "1000018",
    "techniques": "1000019",
}
_DAY_RULE: Final = "est obligatoire et doit être renseigné au format YYYY-MM-DD."
# Requests that are malformed: HTTP 400. All codes but the first are [U].
BAD_REQUESTS: Final[Mapping[str, tuple[str, str]]] = {
    "pce": ("1000005", "L'identifiant du PCE n'est pas correctement formaté (GI+6 chiffres ou 14 chiffres)."),
    "day_format": ("1000020", "Le format du paramètre 'date_debut' et / ou 'date_fin' n’est pas au format YYYY-MM-DD."),
    "period_format": (
        "1000021",
        "Le format du paramètre 'periode' n’est pas à un format attendu valide (YYYY, YYYY-NN, YYYY-WNN, YYYY-NNN, "
        "PN-YYYY, PN-YYYY-NN, PN-YYYY-WNN, PN-YYYY-WMM-N).",
    ),
    "no_end": ("1000022", f"Le paramètre 'date_fin' {_DAY_RULE}"),
    "no_start": ("1000023", f"Le paramètre 'date_debut' {_DAY_RULE}"),
    "too_old": ("1000024", "Le paramètre 'date_debut' ne doit pas être antérieur à la date du jour - {years} ans."),
    "both": (
        "1000025",
        "Seul le paramètre 'periode' ou les paramètres 'date_debut' / 'date_fin' doivent être renseignés.",
    ),
    "neither": (
        "1000026",
        "Le paramètre 'periode' ou les paramètres 'date_debut' / 'date_fin' doivent être renseignés.",
    ),
    "start_after_end": ("1000027", "La date de début renseignée doit être antérieure à la date de fin."),
    "end_too_late": ("1000028", "Le paramètre 'date_fin' doit être inférieur ou égal à la date du jour."),
}
# Answers to calls about rights: HTTP status, and text, by code.
RIGHT_CODES: Final[Mapping[str, tuple[int, str]]] = {
    DONE: (200, "L'opération s'est déroulée avec succès."),
    WAITS: (201, "La demande d'accès est en attente de la validation du titulaire du PCE."),
    "1000000001": (404, "Aucun droit d’accès trouvé."),
    "1000000003": (409, "Un droit d'accès existe déjà."),
    "1000000004": (409, "Le contrat de fourniture de gaz est échu."),
    "1000000005": (409, "Le code postal ne correspond pas à l'adresse du PCE."),
    "1000000006": (404, "Le PCE est inconnu."),
    "1000000013": (409, "Le droit d'accès est révoqué."),
    "1000000022": (409, "La demande d'accès est incohérente."),
    "1000000026": (400, "Le nom ou la raison sociale du titulaire doit être renseigné."),
    "2000000001": (500, "Une erreur technique est survenue."),
    "2000000003": (409, "La demande est incohérente."),
    "2000000007": (500, "Une erreur technique est survenue."),
    "2000000009": (409, "Le nombre maximal autorisé de 1000 PCE est dépassé."),
}
_MALFORMED_RIGHT: Final = "1000000027"  # [U]
# Why proofs are refused; the codes are [U].
PROOF_CODES: Final[Mapping[str, tuple[str, str]]] = {
    "too_many": ("1000000030", "Le nombre maximal autorisé de 3 preuves est dépassé."),
    "format": ("1000000031", "Une ou plusieurs preuves ne possèdent pas un format autorisé."),
    "not_asked": ("1000000032", "GRDF ne demande pas de preuve sur ce droit d'accès."),
    "too_large": ("1000000033", "La taille maximale autorisée de 4Mo d’une ou plusieurs preuves est dépassée."),
    "corrupt": (
        "1000000034",
        "Le traitement n'a pu aboutir car une ou plusieurs preuves sont corrompues et présentent un risque de "
        "sécurité.",
    ),
}


def bad_request(name: str, years: int = 0) -> Refused:
    """Return the refusal of a malformed request for data."""
    code, text = BAD_REQUESTS[name]
    body = {"statut_restitution": {"code": code, "message": text.format(years=years)}}
    return Refused(Refusal(400, body, NDJSON, code=code))


def treatment(code: str, text: str | None = None) -> dict[str, Json]:
    """Return the two fields that tell what became of a call about rights."""
    return {"code_statut_traitement": code, "message_retour_traitement": text or RIGHT_CODES[code][1]}


def right_refused(code: str, text: str | None = None) -> Refused:
    """Return the refusal of a call about rights."""
    return Refused(Refusal(RIGHT_CODES[code][0], treatment(code, text), code=code))


def malformed_right(text: str) -> Refused:
    """Return the refusal of a declaration that lacks a field or has a malformed one."""
    return Refused(Refusal(400, treatment(_MALFORMED_RIGHT, text), code=_MALFORMED_RIGHT))


def proof_refused(name: str) -> Refused:
    """Return the refusal of proofs."""
    code, text = PROOF_CODES[name]
    return Refused(Refusal(409, treatment(code, text), code=code))


def authentication_error(status: int, text: str) -> Refused:
    """Return the refusal of a call whose token is missing, malformed or not enough; the shape is [U]."""
    return Refused(Refusal(status, {"code": str(status), "message": text}))
