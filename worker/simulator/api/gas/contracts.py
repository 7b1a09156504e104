"""Endpoints of contract and technical data: one object each; the latter has an invented address, for a reader to drop.

Source: GRDF, swagger of ADICT v2 (numbers) and the digest of its kit 1.9 (objects); recorded answers of lowatt-grdf.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.simulator.api.errors import Generation
from worker.simulator.api.gas import refusals
from worker.simulator.api.gas.requests import API, BASES, authorize_call, find_refusal, is_sandbox, read_pce
from worker.simulator.api.gateway import gateway_route
from worker.simulator.homes.gas.meters import GasMeter
from worker.simulator.state import SimulatorState

_SCOPES: Final = {"contractuelles": "donnees_contractuelles", "techniques": "donnees_techniques"}


def gas_contract_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of both endpoints, of production and sandbox."""
    return [_route(simulator, base, scope) for base in BASES for scope in _SCOPES]


def _route(simulator: SimulatorState, base: str, scope: str) -> Route:
    name = _SCOPES[scope]

    async def answer(request: Request) -> Response:
        authorize_call(simulator, request)
        pce = read_pce(request)
        meter = simulator.gas.meters.get(pce)
        code, _ = find_refusal(simulator, meter, scope, is_sandbox(request))
        if code == refusals.NO_RIGHT and simulator.gas.switches.no_right_status == 403:
            raise refusals.authentication_error(403, refusals.STATUSES[code])
        status = {"code": code, "message": refusals.STATUSES.get(code, "Une erreur est survenue.")} if code else None
        data = None if code else _contract(simulator, meter) if scope == "contractuelles" else _technical(meter)
        if data is not None and (wanted := set(request.query_params.getlist("filtre"))):
            data = {key: value for key, value in data.items() if key in wanted}
        return JSONResponse({"pce": {"id_pce": pce}, name: data, "statut_restitution": status})

    return gateway_route(simulator, ["GET"], f"{base}/pce/{{pce}}/{name}", answer, Generation.ADICT, API)


def _contract(simulator: SimulatorState, meter: GasMeter) -> dict[str, Json]:
    car = meter.annual_reference
    common = {"tarif_acheminement": meter.transport_tariff, "date_mes": str(meter.activated_on)}
    if simulator.gas.switches.car == "number":
        return {"car": car, "cja": 0, "profil": {"profil_type_actuel": "P012"}, **common}
    return {
        "car": {"car_actuelle": car, "car_future": None},
        "cja": {"cja": 0, "cja_journaliere": None, "cja_mensuelle": None},
        "profil": {
            "profil_type_actuel": "P012",
            "date_debut_profil_type_actuel": str(meter.activated_on),
            "date_fin_profil_type_actuel": None,
            "profil_type_futur": None,
        },
        **common,
    }


def _technical(meter: GasMeter) -> dict[str, Json]:
    return {
        "situation_compteur": {
            "numero_rue": "4",
            "nom_rue": "RUE INVENTEE",
            "complement_adresse": None,
            "code_postal": meter.postcode,
            "commune": "VILLE D'ESSAI",
        },
        "caracteristiques_compteur": {
            "frequence": meter.frequency,
            "client_sensible_mig": "Non",
            "matricule_compteur": f"GZ{meter.pce[-6:]}",
        },
        "pitd": {"identifiant_pitd": "GD0000", "libelle_pitd": "VILLE D'ESSAI"},
    }
