"""Answers of GRDF ADICT, as the API sends them: records of gas days and billed periods, refusals, rights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from typing import Any, Final

from worker.domain.windows import ONE_DAY, PARIS

METER: Final = "09900000000001"
SIX: Final = time(6)


def six_o_clock(day: date | str) -> str:
    """Return six in the morning of a day, as GRDF writes it, with the offset of Europe/Paris."""
    return datetime.combine(date.fromisoformat(str(day)), SIX, PARIS).isoformat()


def record(
    first: date | str, end: date | str, energy: Any, *, is_daily: bool, meter: str = METER, **fields: Any
) -> dict[str, Any]:
    """Return one record; ``fields`` replace those of ``consommation``, and ``index`` is (start, end) of the meter."""
    start, after = six_o_clock(first), six_o_clock(end)
    index_start, index_end = fields.pop("index", (None, None))
    coefficient = fields.pop("coefficient", 11.16)
    consumption = {
        "date_debut_consommation": start,
        "date_fin_consommation": after,
        "flag_retour_zero": False,
        "volume_brut": None,
        "coeff_calcul": {"coeff_pta": None, "valeur_pcs": None, "coeff_conversion": coefficient},
        "volume_converti": None,
        "energie": energy,
        "type_qualif_conso": "Mesuré",
        "sens_flux_gaz": "Consommation",
        "statut_conso": "Provisoire" if is_daily else "Définitive",
        "journee_gaziere": str(first) if is_daily else None,
        "type_conso": "Informative Journalier" if is_daily else "Publiée",
        **fields,
    }
    return {
        "pce": {"id_pce": meter},
        "periode": {"valeur": None, "date_debut": str(first), "date_fin": str(end)},
        "releve_debut": _meter_reading("debut", start, index_start),
        "releve_fin": _meter_reading("fin", after, index_end),
        "consommation": consumption,
        "statut_restitution": None,
    }


def day(first: date | str, energy: Any, **fields: Any) -> dict[str, Any]:
    """Return the record of a gas day."""
    return record(first, date.fromisoformat(str(first)) + ONE_DAY, energy, is_daily=True, **fields)


def period(first: date | str, end: date | str, energy: Any, **fields: Any) -> dict[str, Any]:
    """Return the record of a billed period, whose end is excluded."""
    slip = {"date_debut_bordereau": None, "date_fin_bordereau": None, "nb_jour_gazier": None}
    return {**record(first, end, energy, is_daily=False, **fields), "bordereau_publication": slip}


def absent(first: date | str) -> dict[str, Any]:
    """Return the record of a gas day without a reading."""
    return day(first, None, type_qualif_conso="Absence de Données", coefficient=None)


def refusal(code: Any, message: str = "", meter: str = METER) -> dict[str, Any]:
    """Return a business error, which comes with a success status."""
    nothing = {"releve_debut": None, "releve_fin": None, "consommation": None}
    return {
        "pce": {"id_pce": meter},
        "periode": None,
        **nothing,
        "statut_restitution": {"code": code, "message": message},
    }


def right(meter: str = METER, state: str = "Active", **fields: Any) -> dict[str, Any]:
    """Return a right as in the list of rights, with personal data that must not leave the client."""
    return {
        "id_droit_acces": f"right-of-{meter}",
        "id_pce": meter,
        "role_tiers": "AUTORISE_CONTRAT_FOURNITURE",
        "nom_titulaire": "Dupond",
        "courriel_titulaire": "dupond@example.invalid",
        "code_postal": "99099",
        "numero_telephone_mobile_titulaire": "0600000000",
        "perim_donnees_informatives": "Vrai",
        "perim_donnees_contractuelles": "Vrai",
        "perim_donnees_techniques": "Vrai",
        "perim_donnees_publiees": "Vrai",
        "date_creation": "2024-07-02 16:41:14",
        "date_debut_droit_acces": "2024-07-02",
        "date_fin_droit_acces": "2027-07-01",
        "etat_droit_acces": state,
        "parcours": "TIERS_DIRECT",
        "statut_controle_preuve": None,
        "date_limite_transmission_preuve": None,
        **fields,
    }


def done(code: str = "0000000000", message: str = "L'opération s'est déroulée avec succès.") -> dict[str, Any]:
    """Return the status of a call about rights."""
    return {"code_statut_traitement": code, "message_retour_traitement": message}


def ndjson(records: Iterable[Mapping[str, Any]]) -> bytes:
    """Return records as a stream, one per line."""
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in records).encode()


def _meter_reading(end: str, at: str, index: Any) -> dict[str, Any]:
    return {
        "date_releve": at,
        f"index_brut_{end}": {"valeur_index": index, "horodate_Index": at if index is not None else None},
        f"index_converti_{end}": {"valeur_index": None, "horodate_Index": None},
    }
