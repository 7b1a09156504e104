"""Bodies of the contract endpoints, with invented values and nothing personal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Final

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import local_midnight
from worker.simulator.api.errors import Generation
from worker.simulator.homes.meters import Meter
from worker.simulator.homes.series import Direction

_TARIFF: Final = "Tarif BT<=36kVA Moyenne Utilisation heures pleines heures creuses"
_ROLL_OUT: Final = date(2015, 12, 1)  # Start of a contract that a recording does not state.


def _contract_start(meter: Meter) -> str:
    """Return the midnight at which the contract starts, such as ``2026-02-11T00:00:00+0100``."""
    return local_midnight(meter.activated_on or _ROLL_OUT).strftime("%Y-%m-%dT%H:%M:%S%z")


def _contracts_v5(usage_point: str, meter: Meter) -> Json:
    # v5 sends a date with an offset that has no meaning, such as 2013-08-14+01:00.
    start = local_midnight(meter.activated_on or _ROLL_OUT)
    offset = start.strftime("%z")
    day = f"{start.date()}{offset[:3]}:{offset[3:]}"
    contract = {
        "segment": "C5",
        "subscribed_power": "9 kVA",
        "last_activation_date": day,
        "distribution_tariff": "BTINFMUDT",
        "offpeak_hours": "HC (23h00-7h30)",
        "contract_status": "SERVC",
        "last_distribution_tariff_change_date": day,
    }
    point = {"usage_point_id": usage_point, "usage_point_status": "com", "meter_type": "AMM"}
    usage_points = [{"usage_point": point, "contracts": contract}]
    return {"customer": {"customer_id": "-1000000001", "usage_points": usage_points}}


def _situation_2026(usage_point: str, meter: Meter) -> Json:
    supply = {
        "usage_point_id": usage_point,
        "contract_start": _contract_start(meter),
        "contract_type": "Contrat GRD-F",
        "distribution_tariff": _TARIFF,
        "subscribed_power": {"unit": "kVA", "value": "9"},
        "segment": "C5",
    }
    if not meter.series.measures(Direction.PRODUCTION):
        return [supply]
    feed_in = {name: supply[name] for name in ("usage_point_id", "contract_start", "contract_type")}
    return [supply, feed_in | {"segment": "P4"}]


def _synthesis_2026(usage_point: str, meter: Meter) -> Json:
    start = _contract_start(meter)
    body = {
        "segments": [{"segment": "C5"}],
        "consumption_last_activation_date": start,
        "last_subscribed_power_change_date": start,
        "services_level": "Communicant (ouvert aux services)",
    }
    return body | ({"generation_last_activation_date": start} if meter.series.measures(Direction.PRODUCTION) else {})


def _metering_2026(usage_point: str, meter: Meter) -> Json:
    return {
        "dispositifComptage": {"typeComptage": {"code": "LINKY"}, "relais": {"plageHeuresCreuses": "HC (23h00-7h30)"}},
        "compteurs": [{"matricule": "000", "accessibilite": True}],
    }


BodyBuilder = Callable[[str, Meter], Json]
CONTRACT_PATHS: Final[Mapping[Generation, Mapping[str, BodyBuilder]]] = {
    Generation.V4: {"/v3/customers/usage_points/contracts": _contracts_v5},
    Generation.V5: {"/customers_upc/v5/usage_points/contracts": _contracts_v5},
    Generation.V2026: {
        "/situation_contrat_auto/v1/{prm}": _situation_2026,
        "/synth_contrat_auto/v1/{prm}": _synthesis_2026,
        "/comptage_auto/v1/{prm}": _metering_2026,
    },
}
