"""Bodies of the customer and contract endpoints, with invented names and addresses and nothing personal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Final

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import local_midnight
from worker.simulator.homes.meters import Meter
from worker.simulator.homes.series import Direction

_TARIFF: Final = "Tarif BT<=36kVA Moyenne Utilisation heures pleines heures creuses"
_ROLL_OUT: Final = date(2015, 12, 1)  # Start of a contract that a recording does not state.


def _to_moment(day: date) -> str:
    """Return a day's midnight, such as ``2026-02-11T00:00:00+0100``."""
    return local_midnight(day).strftime("%Y-%m-%dT%H:%M:%S%z")


def _to_date_with_offset(day: date) -> str:
    """Return a date with an offset as v5 sends it, such as ``2013-08-14+01:00``; the offset has no meaning."""
    offset = local_midnight(day).strftime("%z")
    return f"{day}{offset[:3]}:{offset[3:]}"


def _activated_on(meter: Meter) -> date:
    return meter.activated_on or _ROLL_OUT


def contracts_v5(usage_point: str, meter: Meter) -> Json:
    contract = {
        "segment": "C5",
        "subscribed_power": "9 kVA",
        "last_activation_date": _to_date_with_offset(_activated_on(meter)),
        "distribution_tariff": "BTINFMUDT",
        "offpeak_hours": "HC (23h00-7h30)",
        "contract_status": "SERVC",
        "last_distribution_tariff_change_date": _to_date_with_offset(_activated_on(meter)),
    }
    return {"customer": {"customer_id": "-1000000001", "usage_points": [_point(usage_point) | {"contracts": contract}]}}


def addresses_v5(usage_point: str, meter: Meter) -> Json:
    address = {"street": "1 rue de l'Exemple", "postal_code": "69003", "city": "LYON", "country": "France"}
    entry = {"usage_point": _point(usage_point)["usage_point"] | {"usage_point_addresses": address}}
    return {"customer": {"customer_id": "-1000000001", "usage_points": [entry]}}


def identity_v5(usage_point: str, meter: Meter) -> Json:
    person = {"title": "M.", "firstname": "Personne", "lastname": "EXEMPLE"}
    return {"customer_id": "-1000000001", "identity": {"natural_person": person}}


def contact_v5(usage_point: str, meter: Meter) -> Json:
    return {"customer_id": "-1000000001", "contact_data": {"email": "personne@example.invalid"}}


def _point(usage_point: str) -> dict[str, dict[str, Json]]:
    return {
        "usage_point": {
            "usage_point_id": usage_point,
            "usage_point_status": "com",
            "meter_type": "AMM",
        }
    }


def situation_2026(usage_point: str, meter: Meter) -> Json:
    supply = {
        "usage_point_id": usage_point,
        "contract_start": _to_moment(_activated_on(meter)),
        "contract_type": "Contrat GRD-F",
        "distribution_tariff": _TARIFF,
        "subscribed_power": {"unit": "kVA", "value": "9"},
        "segment": "C5",
    }
    if not meter.series.measures(Direction.PRODUCTION):
        return [supply]
    feed_in = {name: supply[name] for name in ("usage_point_id", "contract_start", "contract_type")}
    return [supply, feed_in | {"segment": "P4"}]


def synthesis_2026(usage_point: str, meter: Meter) -> Json:
    body = {
        "segments": [{"segment": "C5"}],
        "consumption_last_activation_date": _to_moment(_activated_on(meter)),
        "last_subscribed_power_change_date": _to_moment(_activated_on(meter)),
        "services_level": "Communicant (ouvert aux services)",
    }
    if meter.series.measures(Direction.PRODUCTION):
        body["generation_last_activation_date"] = _to_moment(_activated_on(meter))
    return body


def metering_2026(usage_point: str, meter: Meter) -> Json:
    return {
        "dispositifComptage": {"typeComptage": {"code": "LINKY"}, "relais": {"plageHeuresCreuses": "HC (23h00-7h30)"}},
        "compteurs": [{"matricule": "000", "accessibilite": True}],
    }


def general_2026(usage_point: str, meter: Meter) -> Json:
    return {"address": {"line4": "1 rue de l'Exemple", "line6": "69003 LYON"}}


def supply_2026(usage_point: str, meter: Meter) -> Json:
    return {"etatAlimentation": "ALIM", "niveauTension": "BT", "nombrePhases": "1", "puissanceRaccordement": "12"}


BodyBuilder = Callable[[str, Meter], Json]
V5_PATHS: Final[Mapping[str, BodyBuilder]] = {
    "/customers_upc/v5/usage_points/contracts": contracts_v5,
    "/customers_upa/v5/usage_points/addresses": addresses_v5,
    "/customers_i/v5/identity": identity_v5,
    "/customers_cd/v5/contact_data": contact_v5,
}
V3_PATHS: Final[Mapping[str, BodyBuilder]] = {
    "/v3/customers/usage_points/contracts": contracts_v5,
    "/v3/customers/usage_points/addresses": addresses_v5,
    "/v3/customers/identity": identity_v5,
    "/v3/customers/contact_data": contact_v5,
}
PATHS_2026: Final[Mapping[str, BodyBuilder]] = {
    "/situation_contrat_auto/v1/{prm}": situation_2026,
    "/synth_contrat_auto/v1/{prm}": synthesis_2026,
    "/comptage_auto/v1/{prm}": metering_2026,
    "/donnees_generales_auto/v1/{prm}": general_2026,
    "/alimentation_auto/v1/{prm}": supply_2026,
}
