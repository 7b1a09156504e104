"""The three generations of Enedis' API: hosts, paths, parameters, consent page, quotas, series, shapes of answers.

This module describes the differences between generations as data. Answers are expected in these shapes:

========================= =============================================================
v4, v5                    ``meter_reading.interval_reading[]``; gateways also send it without its envelope
older list under          ``usage_point[].meter_reading.interval_reading[]``
``usage_point``
2026                      ``grandeur[].points[]``; registers ``contexte[].grandeur[]``
contract                  as the client reduces it (``domain.parsing.contracts``)
========================= =============================================================

Source: Enedis, guide d'implémentation Data Connect v4 and v5, and the swaggers of v5 (v4 has the same JSON); the
swaggers of Data Connect 2026 (mesure_synchrone_auto v2, Services souscrits, Situation contractuelle, Synthèse
contractuelle, Situation comptage) and those of contracts; recorded answers. The path of contracts in v4 was taken from
the public client enedis-data-connect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from worker.clients.answer_shapes import AnswerPart, AnswerShape, check_scalar, fields_of
from worker.clients.endpoints import Preset, StateCall
from worker.domain.answers import DeviationKind, Json
from worker.domain.parsing.timestamps import parse_step_minutes
from worker.domain.parsing.values import QUANTITIES, ROOTS_2026
from worker.domain.series import Granularity, Series, of_supplier
from worker.domain.tariffs import parse_off_peak_hours

SUBSCRIBED_SERVICES: Final = "/subscribed_services/v1"
_CONSENT_HOST: Final = "https://mon-compte-particulier.enedis.fr"
_MEASURES_2026: Final = "/mesure_synchrone_auto/v2"
# The names of the measures in 2026, and further parameters that some of them need. Gateways use the same names.
MEASURES: Final[Mapping[Series, str]] = {
    Series.DAILY: "consommation_quotidienne",
    Series.LOAD_CURVE: "courbe_de_charge_consommation",
    Series.PRODUCTION_DAILY: "production_quotidienne",
    Series.PRODUCTION_LOAD_CURVE: "courbe_de_charge_production",
    Series.MAX_POWER: "puissance_conso_max_quotidienne",
    # Enedis' guide wrongly spells this name index_consumption; the swagger spells it as here.
    Series.REGISTERS: "index_consommation",
    Series.PRODUCTION_REGISTERS: "index_production",
}
MEASURE_PARAMETERS: Final[Mapping[Series, Mapping[str, str]]] = {
    Series.MAX_POWER: {"mesuresPas": "P1D", "grandeurPhysique": "PMA"}
}
_CONTRACTS: Final = "contracts"
# The series that a subscribed service (2026) covers, by the service's type of measure.
SERIES_OF_SERVICES: Final[Mapping[str, frozenset[Series]]] = {
    "ENERGIE": frozenset({Series.DAILY, Series.PRODUCTION_DAILY}),
    "CDC": frozenset({Series.LOAD_CURVE, Series.PRODUCTION_LOAD_CURVE}),
    "PMAX": frozenset({Series.MAX_POWER}),
    "IDX": frozenset({Series.REGISTERS, Series.PRODUCTION_REGISTERS}),
    "ITC": frozenset({Series.CONTRACT}),  # Technical and contractual information.
}
_VALUE: Final = re.compile(r"\s*(?:-?\d{1,12}(?:\.\d{0,12})?|null|)\s*", re.ASCII)


def _unit(known: str) -> AfterValidator:
    return check_scalar(lambda value: value is None or value == known, DeviationKind.UNIT)


def _step_of(series: Series) -> AfterValidator:
    if series.has_steps:
        return check_scalar(lambda value: parse_step_minutes(value) is not None, DeviationKind.CODE)
    return check_scalar(lambda value: value in (None, "", "P1D", "86400"), DeviationKind.CODE)


_Date = Annotated[str, Field(pattern=r"^\s*20[0-9]{2}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}.{0,16})?\s*$")] | None
_Value = Annotated[Any, check_scalar(lambda value: not isinstance(value, str) or bool(_VALUE.fullmatch(value)))]
_Scalar = Annotated[Any, check_scalar(lambda value: True)]
# So far Data Connect has sent B (raw) and no other letter. The others come from similar Enedis services (R63, R64).
_Nature = Literal["B", "R", "H", "E", "C", "K", "P", "S", "T", "F", "G", "D"] | None


def _data_connect(series: Series) -> Sequence[AnswerShape]:
    """Return the shapes of measure answers in v4, in v5 and from older versions."""
    quantity, step = QUANTITIES[series.description.quantity], _step_of(series)

    class _ReadingType(AnswerPart):
        unit: Annotated[Any, _unit(quantity.unit)] = None
        measurement_kind: Annotated[Any, _unit(quantity.kind)] = None
        aggregate: Annotated[Any, _unit(quantity.aggregate)] = None
        measuring_period: Literal["P1D"] | None = None
        interval_length: Annotated[Any, step] = None

    class _Interval(AnswerPart):
        value: _Value = None
        date: _Date = None
        interval_length: Annotated[Any, step] = None
        measure_type: Literal["B"] | None = None
        rank: _Scalar = None

    class _MeterReading(AnswerPart):
        usage_point_id: str | None = None
        start: _Date = None
        end: _Date = None
        quality: Literal["BRUT"] | None = None
        reading_type: _ReadingType | None = None
        interval_reading: list[_Interval]

    class _Envelope(AnswerPart):
        meter_reading: _MeterReading

    class _UsagePoint(_Envelope):
        usage_point_id: str | None = None

    class _UsagePoints(AnswerPart):
        # In the oldest answers, a single usage point isn't in a list.
        usage_point: Annotated[list[_UsagePoint] | None, BeforeValidator(_to_list), AfterValidator(_check_same_meter)]

    return (
        AnswerShape(("meter_reading",), _Envelope),
        AnswerShape(("interval_reading",), _MeterReading),
        AnswerShape(("usage_point",), _UsagePoints),
    )


def _to_list(value: Json) -> Json:
    return [value] if isinstance(value, dict) else value


def _check_same_meter(usage_points: Any) -> Any:
    if len({point.usage_point_id for point in usage_points or ()}) > 1:
        raise PydanticCustomError(DeviationKind.SHAPE.value, "several meters")
    return usage_points


class _Span(AnswerPart):
    dateDebut: _Date = None
    dateFin: _Date = None


def _measures_2026(series: Series) -> AnswerShape:
    quantity, step = QUANTITIES[series.description.quantity], _step_of(series)

    class _Point(AnswerPart):
        v: _Value = None
        d: _Date = None
        p: Annotated[Any, step] = None
        n: _Nature = None
        iv: _Scalar = None
        ec: _Scalar = None

    class _Quantity(AnswerPart):
        grandeurMetier: Literal["CONS", "PROD"] | None = None
        grandeurPhysique: Annotated[Any, _unit(quantity.name_2026)] = None
        unite: Annotated[Any, _unit(quantity.unit)] = None
        calendrier: Any = None
        points: list[_Point] | None = None

    class _Answer(AnswerPart):
        idPrm: str | None = None
        etapeMetier: Literal["BRUT", "BEST"] | None = None
        periode: _Span | None = None
        typeValeur: Literal["GLOBALE"] | None = None
        modeCalcul: Literal["MESURE", "DIFF.INDEX", "INTEG.COURBE"] | None = None
        pas: Literal["P1D", "PT5M", "PT10M", "PT15M", "PT30M", "PT60M"] | None = None
        contexte: Any = None
        grandeur: list[_Quantity] | None = None

    return AnswerShape(ROOTS_2026, _Answer)


def _registers_2026(series: Series) -> AnswerShape:
    quantity = QUANTITIES[series.description.quantity]

    class _Point(AnswerPart):
        v: _Value = None
        d: _Date = None
        iv: _Scalar = None

    class _Register(AnswerPart):
        idClasseTemporelle: str | None = None
        libelleClasseTemporelle: str | None = None
        codeCadran: str | None = None
        valeur: list[_Point] | None = None

    class _Calendar(AnswerPart):
        idCalendrier: str | None = None
        libelleCalendrier: str | None = None
        libelleGrille: str | None = None
        classeTemporelle: list[_Register] | None = None

    class _Quantity(AnswerPart):
        grandeurMetier: Literal["CONS", "PROD"] | None = None
        grandeurPhysique: Annotated[Any, _unit(quantity.name_2026)] = None
        unite: Annotated[Any, _unit(quantity.unit)] = None
        points: list[Any] | None = None
        calendrier: list[_Calendar] | None = None
        cadranTotalisateur: _Register | None = None

    class _Context(AnswerPart):
        etapeMetier: Literal["BRUT", "BEST"] | None = None
        contexteReleve: Literal["COL", "TOP", "FMR", "CRD", "CRI"] | None = None
        typeReleve: Literal["AP", "AQ", "AS", "AV", "LC", "RM", "RC"] | None = None
        motifReleve: _Scalar = None
        grandeur: list[_Quantity] | None = None

    class _Answer(AnswerPart):
        idPrm: str | None = None
        periode: _Span | None = None
        grandeur: list[Any] | None = None
        contexte: list[_Context] | None = None

    return AnswerShape(("contexte", *ROOTS_2026), _Answer)


# The contract: only the fields of these models leave the client.
_OffPeakHours = Annotated[Any, check_scalar(lambda value: value in (None, "") or bool(parse_off_peak_hours(value)))]
_Day = Annotated[str, Field(pattern=r"^(19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}[T0-9:+Z-]{0,20}$")] | None


class _Power(AnswerPart):
    unit: Annotated[Any, _unit("kVA")] = None
    value: _Value = None


class _UsagePointOfContract(AnswerPart):
    usage_point_id: str | None = None
    usage_point_status: Literal["com", "no_com"] | None = None


class _Contract(AnswerPart):
    segment: _Scalar = None
    subscribed_power: Annotated[str, Field(pattern=r"^[0-9.,]{1,6} kVA$")] | None = None
    last_activation_date: _Day = None
    distribution_tariff: _Scalar = None
    offpeak_hours: _OffPeakHours = None


class _ContractOfPoint(AnswerPart):
    usage_point: _UsagePointOfContract | None = None
    contracts: Annotated[list[_Contract] | None, BeforeValidator(_to_list)] = None


class _Customer(AnswerPart):
    usage_points: list[_ContractOfPoint] | None = None


class _ContractOfCustomer(AnswerPart):
    customer: _Customer


class _Contracts(AnswerPart):
    # This is a list in v4, otherwise a single object.
    contracts: Annotated[list[_ContractOfCustomer] | None, BeforeValidator(_to_list)]


class _Situation(AnswerPart):
    usage_point_id: str | None = None
    segment: _Scalar = None
    subscribed_power: _Power | None = None
    distribution_tariff: _Scalar = None


class _Summary(AnswerPart):
    consumption_last_activation_date: _Day = None
    generation_last_activation_date: _Day = None
    services_level: _Scalar = None


class _Relay(AnswerPart):
    plageHeuresCreuses: _OffPeakHours = None


class _Metering(AnswerPart):
    relais: _Relay | None = None


class _Contracts2026(AnswerPart):
    situation_contrat: list[_Situation] | None
    synth_contrat: _Summary | None = None
    comptage: _Metering | None = None


_V5: Final = Preset(
    name="enedis-v5",
    base_url="https://gw.ext.prod.api.enedis.fr",
    sandbox_base_url="https://gw.ext.prod-sandbox.api.enedis.fr",
    authorize_url=f"{_CONSENT_HOST}/dataconnect/v1/oauth2/authorize",
    token_path="/oauth2/v3/token",  # noqa: S106
    token_mode="application",  # noqa: S106
    paths={
        Series.DAILY: "/metering_data_dc/v5/daily_consumption",
        Series.LOAD_CURVE: "/metering_data_clc/v5/consumption_load_curve",
        Series.PRODUCTION_DAILY: "/metering_data_dp/v5/daily_production",
        Series.PRODUCTION_LOAD_CURVE: "/metering_data_plc/v5/production_load_curve",
        Series.MAX_POWER: "/metering_data_dcmp/v5/daily_consumption_max_power",
    },
    state_calls={
        Series.CONTRACT: (
            StateCall(_CONTRACTS, "/customers_upc/v5/usage_points/contracts", fields_of(_ContractOfCustomer)),
        )
    },
    usage_point_parameter="usage_point_id",
    start_parameter="start",
    end_parameter="end",
    domain="enedis.fr",
    sandbox_labels=frozenset({"hml", "prod-sandbox"}),
    consent_style="usage_point",
    consent_duration="P3Y",  # Enedis allows at most three years.
)
_V4: Final = replace(
    _V5,
    name="enedis-v4",
    base_url="https://gw.prd.api.enedis.fr",
    sandbox_base_url="https://gw.hml.api.enedis.fr",
    sandbox_authorize_url="https://gw.hml.api.enedis.fr/dataconnect/v1/oauth2/authorize",
    token_path="/v1/oauth2/token",  # noqa: S106
    # This is the token API's only path for revocation. Enedis doesn't publish whether the host of v4 serves it.
    revoke_path="/oauth2/v3/revoke",
    token_mode="user",  # noqa: S106
    # The last part of each path is the same as in v5, but in v4 all paths belong to one API.
    paths={series: f"/v4/metering_data/{path.rpartition('/')[2]}" for series, path in _V5.paths.items()},
    state_calls={
        Series.CONTRACT: (
            StateCall(_CONTRACTS, "/v3/customers/usage_points/contracts", fields_of(_ContractOfCustomer)),
        )
    },
)
_2026: Final = replace(
    _V5,
    name="enedis-2026",
    authorize_url=f"{_CONSENT_HOST}/dataconnect/v2/oauth2/authorize",
    paths={series: f"{_MEASURES_2026}/{name}" for series, name in MEASURES.items()},
    fixed_parameters=MEASURE_PARAMETERS,
    state_calls={
        Series.CONTRACT: (
            StateCall("situation_contrat", "/situation_contrat_auto/v1/{meter}", fields_of(_Situation)),
            StateCall("synth_contrat", "/synth_contrat_auto/v1/{meter}", fields_of(_Summary), required=False),
            StateCall("comptage", "/comptage_auto/v1/{meter}", fields_of(_Metering), required=False),
        )
    },
    usage_point_parameter="pointId",
    start_parameter="dateDebut",
    end_parameter="dateFin",
    consent_style="autorisation",
    consent_duration="P1095D",  # In days, because Enedis' portal may show an error for whole years.
    calls_per_hour=1_000,
    quota_by_api=True,
)
PRESETS: Final[Mapping[str, Preset]] = {preset.name: preset for preset in (_V4, _V5, _2026)}


def _shapes_of(series: Series) -> Sequence[AnswerShape]:
    """Return the shapes of a series' answers, in the order in which the parsers try them."""
    match series.description.granularity:
        case Granularity.STATE:
            return (AnswerShape(("situation_contrat",), _Contracts2026), AnswerShape(("contracts",), _Contracts))
        case Granularity.REGISTER:
            return (_registers_2026(series),)
        case _:
            return (_measures_2026(series), *_data_connect(series))


ANSWER_SHAPES: Final[Mapping[Series, Sequence[AnswerShape]]] = {
    series: _shapes_of(series) for series in of_supplier("enedis")
}
