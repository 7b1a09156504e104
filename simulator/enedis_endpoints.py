"""Measure and contract endpoints of all generations of the Enedis API, which answer from the same meters and clock.

All that is personal in the answers about contracts is invented, for a reader to drop.

Source of the JSON of measures of 2026: Enedis, swagger of "Mesure synchrone auto" v2; of the registers' stamps, codes
and calendars in it, answers of the sibling service SGE and Enedis' index files.

Source of contracts: Enedis, swagger of "Customers usage points contracts" (v5; v4 wraps its answer in a list); swaggers
of "Situation contractuelle", "Synthèse contractuelle" and "Situation comptage" (2026).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from itertools import groupby
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulator.call_gate import (
    OLDER_API,
    RESOURCES,
    MeasureQuery,
    Resource,
    SeriesEndpoint,
    authorize_call,
    check_meter,
    check_query,
    gateway_route,
    read_query,
    read_usage_point,
)
from simulator.electricity_homes import Contract, Number, RegisterReading, to_label
from simulator.electricity_meters import Meter
from simulator.enedis_refusals import ERROR_TABLE, OUTSIDE_THE_SWAGGER, Generation, Refused
from simulator.running_state import HolderConsent, SimulatorState
from worker.domain.answers import Json
from worker.domain.series import Direction, Granularity, Series
from worker.domain.windows import DateWindow, local_midnight

# Value, stamp, and of a curve's points length, nature, likelihood and state.
Row = tuple[str, ...]
_POWER: Final = {"unit": "W", "measurement_kind": "power", "aggregate": "average"}
_ENERGY: Final = {"unit": "Wh", "measurement_kind": "energy", "aggregate": "sum", "measuring_period": "P1D"}
_READING_TYPES: Final = {
    Series.LOAD_CURVE: _POWER,
    Series.DAILY: _ENERGY,
    Series.PRODUCTION_LOAD_CURVE: _POWER,
    Series.PRODUCTION_DAILY: _ENERGY,
    Series.MAX_POWER: {
        "unit": "VA",
        "measurement_kind": "power",
        "aggregate": "maximum",
        "measuring_period": "P1D",
    },
}
# Names of a row's fields: a value of a day has the first two; v4 and v5 leave out two of the quality marks.
_FIELDS_V5: Final = ("value", "date", "interval_length", "measure_type")
_FIELDS_2026: Final = ("v", "d", "p", "n", "iv", "ec")
_PHYSICAL_QUANTITIES: Final = {"W": ("PA", "W"), "Wh": ("EA", "Wh"), "VA": ("PMA", "VA")}
_HEADS_2026: Final[Mapping[str, Mapping[str, str]]] = {
    "W": {"modeCalcul": "MESURE"},
    "Wh": {"typeValeur": "GLOBALE", "modeCalcul": "DIFF.INDEX", "pas": "P1D"},
    "VA": {"modeCalcul": "MESURE", "pas": "P1D"},
}
_DIRECTIONS_2026: Final = {Direction.CONSUMPTION: "CONS", Direction.PRODUCTION: "PROD"}
_REGISTER_CODES: Final = {Direction.CONSUMPTION: "IDX_EAS", Direction.PRODUCTION: "IDX_EAI"}
_DISTRIBUTOR_CALENDAR: Final = ("DI000001", "Sans différenciation temporelle")
# Recorded answers of Data Connect 2026 came with this type, so a client must not rely on it.
BINARY_CONTENT_TYPE: Final = "application/octet-stream"
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


def to_body_v5(query: MeasureQuery, rows: Sequence[Row]) -> Json:
    """Return a measure answer of v4 and v5, which share one body; nothing in it marks production."""
    return {
        "meter_reading": {
            "usage_point_id": query.usage_point,
            "start": query.start.isoformat(),
            "end": query.end.isoformat(),
            "quality": "BRUT",
            "reading_type": _READING_TYPES[query.resource.measure.series],
            "interval_reading": _name_fields(_FIELDS_V5, rows),
        }
    }


def to_body_2026(query: MeasureQuery, rows: Sequence[Row]) -> Json:
    """Return a measure answer of 2026; the pretend homes have one phase, so no quantity beside it."""
    measure = query.resource.measure
    physical_quantity, unit = _PHYSICAL_QUANTITIES[measure.series.description.quantity.unit]
    step = {"pas": query.further["mesuresPas"]} if "mesuresPas" in query.further else {}
    return {
        **_head_2026(query),
        "etapeMetier": "BRUT",
        **_HEADS_2026[measure.series.description.quantity.unit],
        **step,
        "grandeur": [
            {
                **_quantity_2026(measure, physical_quantity, unit),
                "points": _name_fields(_FIELDS_2026, rows),
                "calendrier": [],
            }
        ],
        "contexte": [],
    }


def to_index_body(query: MeasureQuery, readings: Sequence[tuple[date, RegisterReading]]) -> Json:
    """Return an answer of registers: a list of values for each register of each calendar, and for the total.

    A meter of production has only the total, as in Enedis' files.
    """
    measure = query.resource.measure
    code = _REGISTER_CODES[measure.direction]
    total = [_index(day, reading.total) for day, reading in readings]
    quantity = {
        **_quantity_2026(measure, "EA", "Wh"),
        "points": [],
        "calendrier": _calendars(code, readings, total),
        "cadranTotalisateur": {"codeCadran": f"{code}_T", "valeur": total},
    }
    context = {"etapeMetier": "BRUT", "contexteReleve": "COL", "typeReleve": "AQ", "grandeur": [quantity]}
    return {**_head_2026(query), "grandeur": [], "contexte": [context]}


def _calendars(code: str, readings: Sequence[tuple[date, RegisterReading]], total: list[Json]) -> list[Json]:
    """Return the calendars that were in force, and the distributor's, whose one register is the total."""
    contracts = [contract for _, reading in readings if (contract := reading.contract) is not None]
    if not contracts:
        return []
    number, label = _DISTRIBUTOR_CALENDAR
    register = _register("BASE", "Base", f"{code}_D1", total)
    in_force = {contract.tariff: contract for contract in contracts}.values()
    return [
        *(_calendar(contract, code, readings) for contract in in_force),
        {"idCalendrier": number, "libelleCalendrier": label, "classeTemporelle": [register]},
    ]


def _calendar(contract: Contract, code: str, readings: Sequence[tuple[date, RegisterReading]]) -> Json:
    days = [(day, one.registers) for day, one in readings if one.contract and one.contract.tariff is contract.tariff]
    registers = [
        _register(name, label, f"{code}_F{rank + 1}", [_index(day, values[rank]) for day, values in days])
        for rank, (name, label) in enumerate(contract.calendar.periods)
    ]
    number, label = contract.calendar.number, contract.calendar.label
    return {"idCalendrier": number, "libelleCalendrier": label, "classeTemporelle": registers}


def _register(name: str, label: str, code: str, values: list[Json]) -> Json:
    return {"idClasseTemporelle": name, "libelleClasseTemporelle": label, "codeCadran": code, "valeur": values}


def _index(day: date, wh: int) -> Json:
    """Return an index, stamped with the midnight that begins the day."""
    return {"d": f"{day} 00:00:00", "v": wh, "iv": 0}


def _head_2026(query: MeasureQuery) -> dict[str, Json]:
    period = {"dateDebut": query.start.isoformat(), "dateFin": query.end.isoformat()}
    return {"idPrm": query.usage_point, "periode": period}


def _quantity_2026(measure: SeriesEndpoint, physical_quantity: str, unit: str) -> dict[str, Json]:
    direction = _DIRECTIONS_2026[measure.direction]
    return {"grandeurMetier": direction, "grandeurPhysique": physical_quantity, "unite": unit}


def _name_fields(names: Sequence[str], rows: Sequence[Row]) -> list[Json]:
    return [dict(zip(names, row, strict=False)) for row in rows]


def data_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of the measure endpoints."""
    return [_data_route(simulator, resource) for resource in RESOURCES]


def _data_route(simulator: SimulatorState, resource: Resource) -> Route:
    generation, api = resource.generation, resource.api

    async def answer(request: Request) -> Response:
        consent = authorize_call(simulator, request, generation, api)
        try:
            query = read_query(resource, request.query_params)
            response: Response = JSONResponse(measures_of(simulator, query, consent))
        except Refused as refused:
            response = refused.refusal.respond(generation)
        if generation is Generation.V2026:
            response.headers["content-type"] = BINARY_CONTENT_TYPE
        return response

    return gateway_route(simulator, ["GET"], resource.path, answer, generation, api)


def measures_of(simulator: SimulatorState, query: MeasureQuery, consent: HolderConsent | None) -> Json:
    """Return the answer to a query; ``consent`` is that of a user's token. Raises Refused."""
    resource, meter = query.resource, check_query(simulator, query, consent)
    if resource.measure.series.description.granularity is Granularity.REGISTER:
        readings = meter.registers(DateWindow(query.start, query.end), resource.measure.direction)
        if readings:
            return to_index_body(query, list(readings.items()))
    elif rows := _read_rows(meter, query):
        return to_body_2026(query, rows) if resource.generation is Generation.V2026 else to_body_v5(query, rows)
    raise Refused(ERROR_TABLE["no_data_found"])


def _read_rows(meter: Meter, query: MeasureQuery) -> list[Row]:
    """Return the rows of the requested days; none if nothing is published."""
    measure, window = query.resource.measure, DateWindow(query.start, query.end)
    match measure.series.description.granularity:
        case Granularity.DAY:
            values = ((day, meter.daily(day, measure.direction)) for day in window.dates())
            return [(_to_text(wh), str(day)) for day, wh in values if wh is not None]
        case Granularity.INSTANT:
            return _read_peaks(meter, window, monthly=query.further.get("mesuresPas") == "P1M")
    return [
        (_to_text(point.watts), point.label, f"PT{point.minutes}M", point.nature, point.likelihood, point.state)
        for day in window.dates()
        for point in meter.curve(day, measure.direction)
    ]


def _read_peaks(meter: Meter, window: DateWindow, monthly: bool) -> list[Row]:
    """Return the maximum power of each day, or of the days of each month."""
    peaks = [peak for day in window.dates() if (peak := meter.max_power(day)) is not None]
    if monthly:
        months = groupby(peaks, key=lambda peak: to_label(peak.at)[:7])
        peaks = [max(of_month, key=lambda peak: peak.volt_amperes) for _, of_month in months]
    return [(str(peak.volt_amperes), to_label(peak.at)) for peak in peaks]


def _to_text(number: Number) -> str:
    """Return a number as Enedis sends it: text, without a decimal point if it is whole."""
    return str(int(number)) if number == int(number) else str(number)


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
