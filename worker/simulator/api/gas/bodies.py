"""Bodies of gas answers: one record a gas day or billed period, and the stream that they are sent as.

Source: GRDF, swagger of ADICT v2, and recorded answers of the public client lowatt-grdf.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal

from starlette.responses import Response

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import PARIS
from worker.simulator.api.gas.refusals import STATUSES
from worker.simulator.gas_switches import GasServiceSwitches
from worker.simulator.homes.gas.readings import GasReading, to_number

_MORNING = time(6)  # A gas day begins at six, local time.
_REASON_TEXTS = {"RNO": "Relevé normal"}


def to_daily_record(reading: GasReading, head: Mapping[str, Json]) -> dict[str, Json]:
    """Return the record of a gas day."""
    consumption = _consumption(reading, None if reading.energy is None else False)
    consumption |= {"journee_gaziere": str(reading.start), "type_conso": "Informative Journalier"}
    start = _state_of_meter("debut", reading.start, reading.index_start)
    end = _state_of_meter("fin", reading.end, reading.index_end)
    return {**head, "releve_debut": start, "releve_fin": end, "consommation": consumption, "statut_restitution": None}


def to_published_record(reading: GasReading, head: Mapping[str, Json]) -> dict[str, Json]:
    """Return the record of a billed period."""
    consumption = _consumption(reading, False) | {
        "volume_converti": 0,
        "journee_gaziere": None,
        "type_conso": "Publiée",
    }
    start = _reading_facts(None) | _state_of_meter("debut", reading.start, reading.index_start)
    end = _reading_facts("RNO") | _state_of_meter("fin", reading.end, reading.index_end)
    voucher = {"date_debut_bordereau": None, "date_fin_bordereau": None, "nb_jour_gazier": None}
    return {
        **head,
        "releve_debut": start,
        "releve_fin": end,
        "consommation": consumption,
        "bordereau_publication": voucher,
        "statut_restitution": None,
    }


def to_refusal_record(code: str, head: Mapping[str, Json]) -> dict[str, Json]:
    """Return the record that says why there is no data."""
    status = {"code": code, "message": STATUSES.get(code, "Une erreur est survenue.")}
    return {**head, "releve_debut": None, "releve_fin": None, "consommation": None, "statut_restitution": status}


def respond_with_stream(values: Sequence[Json], switches: GasServiceSwitches) -> Response:
    """Return the answer that sends JSON values one after another, as the switches say."""
    if switches.stream == "array":
        text = json.dumps(values, ensure_ascii=False)
    elif switches.stream == "folded":
        text = "\n".join(json.dumps(value, ensure_ascii=False, indent=2) for value in values)
    else:
        text = ("" if switches.stream == "glued" else "\n").join(json.dumps(one, ensure_ascii=False) for one in values)
    return Response(text + "\n", media_type=switches.content_type)


def _consumption(reading: GasReading, back_to_zero: bool | None) -> dict[str, Json]:
    return {
        "date_debut_consommation": _stamp(reading.start),
        "date_fin_consommation": _stamp(reading.end),
        "flag_retour_zero": back_to_zero,
        "volume_brut": to_number(reading.volume),
        "coeff_calcul": {"coeff_pta": None, "valeur_pcs": None, "coeff_conversion": to_number(reading.coefficient)},
        "volume_converti": None,
        "energie": to_number(reading.energy),
        "type_qualif_conso": reading.quality,
        "sens_flux_gaz": "Consommation",
        "statut_conso": reading.status,
    }


def _state_of_meter(which: str, day: date, index: Decimal | None) -> dict[str, Json]:
    """Return what the meter showed in the morning of a day; the moment is only told with the index."""
    stamp = None if index is None else _stamp(day)
    return {
        "date_releve": stamp,
        f"index_brut_{which}": {"valeur_index": to_number(index), "horodate_Index": stamp},
        f"index_converti_{which}": {"valeur_index": None, "horodate_Index": None},
    }


def _reading_facts(reason: str | None) -> dict[str, Json]:
    text = _REASON_TEXTS.get(reason or "")
    return {
        "date_releve": None,
        "raison_releve": reason,
        "libelle_raison_releve": text,
        "qualite_releve": "Mesure",
        "statut_releve": "Normal",
    }


def _stamp(day: date) -> str:
    return datetime.combine(day, _MORNING, PARIS).isoformat()
