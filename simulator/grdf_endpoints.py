"""Endpoints of gas data: daily values (informatives), billed periods (publiées), contract and technical data.

A request is checked for token, quota, PCE, days and right, in this order; the order itself is inferred.  Measures are
answered with a stream of records, one a gas day or billed period; contract and technical data with one object each.
The latter has an invented address, for a reader to drop.  Records of rights are as GRDF lists them, with its spellings
and its typing error.

Source: GRDF, swagger of ADICT v2; its kit's digest for the answers to a missing or malformed token.  Of contract and
technical data the swagger has the numbers, and the digest of kit 1.9 the objects.  Recorded answers of the public
client lowatt-grdf, and its recorded list for the key with the typing error.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Final, NamedTuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from simulator import grdf_refusals
from simulator.call_gate import gateway_route
from simulator.enedis_refusals import Generation, Refused, throttled_by_grdf
from simulator.gas_homes import GasReading, GasServiceSwitches, first_of_next_month, to_number
from simulator.gas_meters import GasMeter
from simulator.grdf_refusals import STATUSES, authentication_error, bad_request
from simulator.running_state import BY_HOLDER, BY_THIRD_PARTY, AccessRight, SimulatorState
from worker.domain.access_right import ProofState, RightState
from worker.domain.answers import Json
from worker.domain.windows import ONE_DAY, PARIS, DateWindow

API: Final = "adict"  # All calls share one quota.
BASES: Final = ("/adict/v2", "/adict/bas/v6")
SANDBOX_BASE: Final = BASES[1]
_PCE: Final = re.compile(r"GI[0-9]{6}|[0-9]{14}", re.ASCII)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
# Of the eight forms, those of a year or month.
_PERIOD: Final = re.compile(r"([0-9]{4})(?:-(0[1-9]|1[0-2]))?", re.ASCII)
_REASON_TEXTS = {"RNO": "Relevé normal"}
_OBJECT_NAMES: Final = {"contractuelles": "donnees_contractuelles", "techniques": "donnees_techniques"}
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


class GasQuery(NamedTuple):
    """Well-formed request for the days of a meter; ``period`` is that of the query, if it named no days."""

    pce: str
    window: DateWindow
    period: str | None


def is_pce(text: str) -> bool:
    """Return whether the text is a meter number of gas: 14 digits, or GI and six digits."""
    return _PCE.fullmatch(text) is not None


def is_sandbox(request: Request) -> bool:
    """Return whether the call is one for the sandbox."""
    return request.url.path.startswith(SANDBOX_BASE)


def authorize_call(simulator: SimulatorState, request: Request) -> None:
    """Check the token, then the quota.  Raises Refused."""
    header = request.headers.get("authorization", "")
    scheme, blank, secret = header.partition(" ")
    if header and (not blank or scheme.lower() != "bearer"):
        raise authentication_error(400, "L'en-tête Authorization n'est pas correctement formaté.")
    token = simulator.gas.tokens.find(secret.strip())
    if token is None:
        raise authentication_error(401, "Une authentification est nécessaire pour accéder à la ressource.")
    if token.consent is not None:  # A user's token only brings the id_token.
        status = simulator.gas.switches.user_token_status
        raise authentication_error(status, "Vous n'êtes pas autorisé à accéder à la ressource.")
    if simulator.gas.quota.take(API, simulator.clock.now()) is not None:
        raise Refused(throttled_by_grdf())


def read_pce(request: Request) -> str:
    """Return the PCE of the path.  Raises Refused for a malformed one."""
    pce = str(request.path_params["pce"])
    if not is_pce(pce):
        raise bad_request("pce")
    return pce


def read_query(request: Request, today: date, years: int) -> GasQuery:
    """Return the query for days; ``years``: how far back they may be.  Raises Refused for a malformed one."""
    pce, parameters = read_pce(request), request.query_params
    start_text, end_text, period = (parameters.get(name) for name in ("date_debut", "date_fin", "periode"))
    if period:
        if start_text or end_text:
            raise bad_request("both")
        return GasQuery(pce, _read_period(period, today), period)
    if not start_text or not end_text:
        raise bad_request("neither" if not (start_text or end_text) else "no_end" if start_text else "no_start")
    start, end = _read_day(start_text), _read_day(end_text)
    rules = {
        "start_after_end": start >= end,
        "end_too_late": end > today,
        "too_old": start < _years_before(today, years),
    }
    for name, is_broken in rules.items():
        if is_broken:
            raise bad_request(name, years)
    return GasQuery(pce, DateWindow(start, end), None)


def _read_day(text: str) -> date:
    try:
        return date.fromisoformat(text if _DAY.fullmatch(text) else "")
    except ValueError:
        raise bad_request("day_format") from None


def _read_period(text: str, today: date) -> DateWindow:
    match = _PERIOD.fullmatch(text)
    if match is None:
        raise bad_request("period_format")
    year, month = int(match[1]), match[2]
    start = date(year, int(month or 1), 1)
    end = first_of_next_month(start) if month else date(year + 1, 1, 1)
    if start >= today:
        raise bad_request("end_too_late")
    return DateWindow(start, min(end, today))


def _years_before(day: date, years: int) -> date:
    return day.replace(year=day.year - years, day=min(day.day, 28) if day.month == 2 else day.day)


def find_refusal(
    simulator: SimulatorState, meter: GasMeter, scope: str, sandbox: bool
) -> tuple[str, AccessRight | None]:
    """Return the code with which data of a scope is refused, or ``""`` with the right that allows it."""
    if meter.switches.refusal is not None:
        return meter.switches.refusal, None
    rights = simulator.gas.rights.of_pce(meter.pce, sandbox)
    active = [right for right in rights if _is_valid(right, simulator.clock.today())]
    if not active:
        return (_why_not_active(rights[0]) if rights else grdf_refusals.NO_RIGHT), None
    if meter.switches.moved_out:
        return grdf_refusals.MOVED_OUT, None
    covering = next((right for right in active if scope in right.covers), None)
    return ("", covering) if covering else (grdf_refusals.OUT_OF_SCOPE[scope], None)


def clip(window: DateWindow, right: AccessRight) -> DateWindow | None:
    """Return the days of a window whose consumption the right allows to read; None for none."""
    start, end = max(window.start, right.data_from), min(window.end, right.data_to + ONE_DAY)
    return DateWindow(start, end) if start < end else None


def _is_valid(right: AccessRight, today: date) -> bool:
    is_active = right.state is RightState.ACTIVE and right.proof is not ProofState.REJECTED
    return is_active and right.first_day <= today <= right.last_day


def _why_not_active(right: AccessRight) -> str:
    if right.proof is ProofState.REJECTED:
        return grdf_refusals.PROOF_REJECTED
    if right.state is RightState.REVOKED:
        codes = {BY_HOLDER: grdf_refusals.REVOKED_BY_HOLDER, BY_THIRD_PARTY: grdf_refusals.REVOKED_BY_US}
        return codes.get(right.ended_by or "", grdf_refusals.REVOKED_BY_SUPPLIER)
    if right.has_expired:
        return grdf_refusals.EXPIRED
    if right.state is RightState.OBSOLETE:
        return grdf_refusals.PROOF_REJECTED if right.proof is ProofState.AWAITED else grdf_refusals.OBSOLETE
    return grdf_refusals.NO_RIGHT


def echo(query: GasQuery) -> Mapping[str, object]:
    """Return the two fields with which every record begins: the meter, and the requested period."""
    days = (None, None) if query.period else (str(query.window.start), str(query.window.end))
    period = {"valeur": query.period, "date_debut": days[0], "date_fin": days[1]}
    return {"pce": {"id_pce": query.pce}, "periode": period}


_MORNING = time(6)  # A gas day begins at six, local time.


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
    """Return what the meter showed in the morning of a day; the moment is only given with the index."""
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


def gas_contract_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of both endpoints, of production and sandbox."""
    return [_contract_route(simulator, base, scope) for base in BASES for scope in _OBJECT_NAMES]


def _contract_route(simulator: SimulatorState, base: str, scope: str) -> Route:
    name = _OBJECT_NAMES[scope]

    async def answer(request: Request) -> Response:
        authorize_call(simulator, request)
        pce = read_pce(request)
        meter = simulator.gas.meters.get(pce)
        code, _ = find_refusal(simulator, meter, scope, is_sandbox(request))
        if code == grdf_refusals.NO_RIGHT and simulator.gas.switches.no_right_status == 403:
            raise grdf_refusals.authentication_error(403, grdf_refusals.STATUSES[code])
        status = (
            {"code": code, "message": grdf_refusals.STATUSES.get(code, "Une erreur est survenue.")} if code else None
        )
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
        "date_creation": _to_moment(right.created_at),
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
        date_name: _to_moment(right.ended_at) if is_it and right.ended_at else None,
        source_name: (right.ended_by or "GRDF") if is_it else None,
    }


def _to_moment(moment: datetime) -> str:
    return f"{moment.astimezone(PARIS):%Y-%m-%d %H:%M:%S}"


def _day(day: date | None) -> str | None:
    return None if day is None else str(day)


class _Endpoint(NamedTuple):
    """One endpoint; ``years``: how far back it goes."""

    name: str
    scope: str
    years: int
    to_record: Callable[[GasReading, dict[str, Json]], dict[str, Json]]


_DAILY: Final = _Endpoint("donnees_consos_informatives", "informatives", 3, to_daily_record)
_PUBLISHED: Final = _Endpoint("donnees_consos_publiees", "publiees", 5, to_published_record)


def gas_data_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of both endpoints, of production and sandbox."""
    return [_data_route(simulator, base, endpoint) for base in BASES for endpoint in (_DAILY, _PUBLISHED)]


def _data_route(simulator: SimulatorState, base: str, endpoint: _Endpoint) -> Route:
    async def answer(request: Request) -> Response:
        authorize_call(simulator, request)
        query = read_query(request, simulator.clock.today(), endpoint.years)
        records = _records(simulator, endpoint, query, is_sandbox(request))
        return respond_with_stream(_with_quirks(simulator, query, records), simulator.gas.switches)

    return gateway_route(simulator, ["GET"], f"{base}/pce/{{pce}}/{endpoint.name}", answer, Generation.ADICT, API)


def _records(simulator: SimulatorState, endpoint: _Endpoint, query: GasQuery, sandbox: bool) -> list[dict[str, Json]]:
    head = dict(echo(query))
    meter = simulator.gas.meters.get(query.pce)
    code, right = find_refusal(simulator, meter, endpoint.scope, sandbox)
    if right is None and code == grdf_refusals.NO_RIGHT and simulator.gas.switches.no_right_status == 403:
        raise grdf_refusals.authentication_error(403, grdf_refusals.STATUSES[code])
    if endpoint is _DAILY and not code and meter.daily_refusal is not None:
        code = meter.daily_refusal
    if code or right is None:
        return [to_refusal_record(code, head)]
    readings = _readings(simulator, endpoint, meter, query.window, right)
    records = [
        _failed(reading, head) if reading.start in meter.switches.failing_days else endpoint.to_record(reading, head)
        for reading in readings
    ]
    return records or [to_refusal_record(grdf_refusals.NO_DATA, head)]


def _readings(
    simulator: SimulatorState, endpoint: _Endpoint, meter: GasMeter, window: DateWindow, right: AccessRight
) -> Sequence[GasReading]:
    allowed = clip(window, right)
    if allowed is None:
        return []
    if endpoint is _DAILY:
        return meter.days(allowed)
    which = simulator.gas.switches.periods
    return [period for period in meter.periods() if _is_asked_for(period, allowed, which)]


def _is_asked_for(period: GasReading, window: DateWindow, which: str) -> bool:
    """Return whether an answer holds a period; how GRDF chooses them is unknown, so it is a switch."""
    begins = window.start <= period.start < window.end
    if which == "overlap":
        return period.start < window.end and window.start < period.end
    return begins and (which == "begin" or period.end <= window.end)


def _failed(reading: GasReading, head: dict[str, Json]) -> dict[str, Json]:
    """Return the record that stands for a period that the server couldn't read."""
    period = {"valeur": None, "date_debut": str(reading.start), "date_fin": str(reading.end)}
    return to_refusal_record(grdf_refusals.FAILED, {**head, "periode": period})


def _with_quirks(simulator: SimulatorState, query: GasQuery, records: list[dict[str, Json]]) -> list[Json]:
    switches = simulator.gas.switches
    if switches.duplicate_day and records[0]["consommation"]:
        start = date.fromisoformat(records[0]["consommation"]["date_debut_consommation"][:10])
        absent = to_daily_record(GasReading.absent(start, start + ONE_DAY), dict(echo(query)))
        records = [records[0], absent, *records[1:]]
    if switches.energy_as_text:
        for record in records:
            if record["consommation"] and record["consommation"]["energie"] is not None:
                record["consommation"]["energie"] = str(record["consommation"]["energie"])
    rights = simulator.gas.rights.of_pce(query.pce, sandbox=True) if switches.right_in_stream else []
    return [
        *records,
        *(to_record(right, switches) | grdf_refusals.treatment(grdf_refusals.DONE) for right in rights[:1]),
    ]
