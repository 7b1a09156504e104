"""Contract endpoints of all generations; all that is personal in their answers is invented, for a reader to drop.

Source: Enedis, swagger of "Customers usage points contracts" (v5; v4 wraps its answer in a list); swaggers of
"Situation contractuelle", "Synthèse contractuelle" and "Situation comptage" (2026).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import local_midnight
from worker.simulator.api.errors import ERROR_TABLE, OUTSIDE_THE_SWAGGER, Generation, Refused
from worker.simulator.api.gateway import authorize_call, gateway_route
from worker.simulator.api.requests import OLDER_API, check_meter, read_usage_point
from worker.simulator.homes.contracts import Contract
from worker.simulator.homes.meters import Meter
from worker.simulator.state import SimulatorState

_SEGMENT_OF_HOMES: Final = "C5"
_SEGMENT_OF_PRODUCTION: Final = "P4"
_CUSTOMER_ID: Final = "-1000000001"
# Nobody's: no such town, and numbers that are never given out.
_HOLDER: Final = {
    "customer": {
        "customer": {"adress": {"line1": "M DUPONT-ESSAI Camille", "line4": "1 RUE INVENTEE", "line6": "00000"}}
    },
    "contact_data": {"email": "camille.dupont-essai@example.org", "landline": "0100000000", "phone": "0600000000"},
    "person": {"title": "M", "lastname": "DUPONT-ESSAI", "firstname": "Camille"},
}


class MeterContract(NamedTuple):
    """Meter, its number, and the contract in force."""

    usage_point: str
    meter: Meter
    contract: Contract


def _to_situation(of: MeterContract) -> Json:
    """Return an entry for each direction; that of production has no power."""
    contract = of.contract
    consumption = {
        "usage_point_id": of.usage_point,
        "contract_start": _to_stamp(contract.since),
        "contract_type": "Contrat GRD-F",
        "contractor": "Fournisseur d'essai",
        "distribution_tariff": contract.calendar.tariff_label,
        "subscribed_power": {"unit": "kVA", "value": str(contract.subscribed_kva)},
        "segment": _SEGMENT_OF_HOMES,
        **_HOLDER,
    }
    production = {
        "usage_point_id": of.usage_point,
        "contract_start": _to_stamp(of.meter.activated_on or contract.since),
        "contract_type": "Contrat GRD-A",
        "contractor": "Acheteur d'essai",
        "segment": _SEGMENT_OF_PRODUCTION,
        **_HOLDER,
    }
    series = of.meter.series
    return [entry for entry, has in ((consumption, series.consumes), (production, series.feeds_in)) if has]


def _to_synthesis(of: MeterContract) -> Json:
    series, activated_on = of.meter.series, _to_stamp(of.meter.activated_on or of.contract.since)
    segments = ((_SEGMENT_OF_HOMES, series.consumes), (_SEGMENT_OF_PRODUCTION, series.feeds_in))
    return {
        "segments": [{"segment": segment} for segment, has in segments if has],
        **({"consumption_last_activation_date": activated_on} if series.consumes else {}),
        **({"generation_last_activation_date": activated_on} if series.feeds_in else {}),
        "last_subscribed_power_change_date": _to_stamp(of.contract.since),
        "services_level": "Communicant (ouvert aux services)",
    }


def _to_metering(of: MeterContract) -> Json:
    hours = of.contract.off_peak_hours
    return {
        "dispositifComptage": {"typeComptage": {"code": "AMM", "libelle": "Compteur Linky"}},
        "compteurs": [{"numeroSerie": "000000000000", "regimePropriete": {"code": "PROP"}}],
        "relais": {"plageHeuresCreuses": hours} if hours else {},
    }


def _to_contracts_v5(of: MeterContract) -> Json:
    contract = of.contract
    drawing = {
        "segment": _SEGMENT_OF_HOMES,
        "subscribed_power": f"{contract.subscribed_kva} kVA",
        "last_activation_date": _to_day_with_offset(of.meter.activated_on or contract.since),
        "distribution_tariff": contract.calendar.tariff_code,
        **({"offpeak_hours": contract.off_peak_hours} if contract.off_peak_hours else {}),
        "contract_type": "Contrat GRD-F",
        "contract_status": "SERVC",
        "last_distribution_tariff_change_date": _to_day_with_offset(contract.since),
    }
    feeding_in = {
        "segment": _SEGMENT_OF_PRODUCTION,
        "last_activation_date": _to_day_with_offset(of.meter.activated_on or contract.since),
        "contract_type": "Contrat GRD-A",
        "contract_status": "SERVC",
    }
    usage_point = {"usage_point_id": of.usage_point, "usage_point_status": "com", "meter_type": "AMM"}
    contracts = drawing if of.meter.series.consumes else feeding_in
    return {
        "customer": {
            "customer_id": _CUSTOMER_ID,
            "usage_points": [{"usage_point": usage_point, "contracts": contracts}],
        }
    }


def _to_contracts_v4(of: MeterContract) -> Json:
    return [_to_contracts_v5(of)]


# The APIs of 2026 by name, each with a quota of its own.
_APIS_2026: Final[Mapping[str, Callable[[MeterContract], Json]]] = {
    "situation_contrat_auto": _to_situation,
    "synth_contrat_auto": _to_synthesis,
    "comptage_auto": _to_metering,
}


def contract_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of the contract endpoints."""
    routes = [
        _route(simulator, Generation.V4, "/v3/customers/usage_points/contracts", OLDER_API, _to_contracts_v4),
        _route(simulator, Generation.V5, "/customers_upc/v5/usage_points/contracts", OLDER_API, _to_contracts_v5),
    ]
    for api, to_body in _APIS_2026.items():
        # Without a meter in the path the call is outside the swagger, whatever its query says.
        routes += [
            _route(simulator, Generation.V2026, f"/{api}/v1{meter}", api, to_body) for meter in ("/{prm}", "", "/")
        ]
    return routes


def _route(
    simulator: SimulatorState, generation: Generation, path: str, api: str, to_body: Callable[[MeterContract], Json]
) -> Route:
    async def answer(request: Request) -> Response:
        consent = authorize_call(simulator, request, generation, api)
        if generation is Generation.V2026 and (request.query_params or "prm" not in request.path_params):
            raise Refused(OUTSIDE_THE_SWAGGER)
        named = request.path_params.get("prm") or request.query_params.get("usage_point_id")
        usage_point = read_usage_point(named)
        meter = check_meter(simulator, usage_point, consent)
        contract = meter.contract(simulator.clock.today())
        if contract is None:
            raise Refused(ERROR_TABLE["no_data_found"])
        return JSONResponse(to_body(MeterContract(usage_point, meter, contract)))

    return gateway_route(simulator, ["GET"], path, answer, generation, api)


def _to_stamp(day: date) -> str:
    """Return the beginning of a day as 2026 writes it: ``2026-02-11T00:00:00+0100``."""
    return local_midnight(day).strftime("%Y-%m-%dT%H:%M:%S%z")


def _to_day_with_offset(day: date) -> str:
    """Return a day as v4 and v5 write it: ``2013-08-14+02:00``."""
    offset = local_midnight(day).isoformat()[-6:]
    return f"{day}{offset}"
